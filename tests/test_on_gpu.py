from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("on_gpu.py")


def run(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *options],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}, capture_output=True, text=True,
    )  # fmt: skip


def test_without_a_gpu_the_command_says_so_and_what_to_run() -> None:
    done = run()
    assert done.returncode == 2
    assert "nothing was tested: torch" in done.stderr
    assert "make test runs the same kernels in Triton's interpreter" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("processes", [(), ("-n", "0")])
def test_it_takes_all_tests_of_gpus_and_no_others(processes: tuple[str, ...]) -> None:
    done = run("--collect-only", "-q", *processes)
    assert done.returncode == 0, done.stdout + done.stderr
    files = {line.partition("::")[0] for line in done.stdout.splitlines() if "::" in line}
    here = SCRIPT.parent
    checks = {str(path.relative_to(here.parent)) for path in here.rglob("check_*.py")}
    marked = {
        str(path.relative_to(here.parent))
        for path in here.rglob("test_*.py")
        if "mark.gpu" in path.read_text() and path != Path(__file__)
    }
    assert files == checks | marked
