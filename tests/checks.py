"""Runs files of tests named check_*.py, each in a process of its own.

Triton decides when it is imported whether it compiles kernels for a GPU or interprets them on the CPU.
Tests of kernels and searches on GPUs are therefore no test_*.py: an ordinary test collects the files of
a folder and runs them in the interpreter, and with the mark ``gpu`` on a GPU.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

INTERPRETED = {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
ON_GPU = {"TRITON_INTERPRET": "0"}


def checks_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("check_*.py"))


def run_checks(path: Path, environment: dict[str, str], *, marks: str | None = None) -> None:
    """Run a file of tests; ``marks`` instead of those that a plain run takes."""
    if find_spec("triton") is None and platform.system() != "Linux":
        pytest.skip("Triton has no build for this system")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(path)]
    done = subprocess.run(
        command + (["-m", marks] if marks else []),
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
