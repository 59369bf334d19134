"""Evaluations and commands that search on a GPU."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cli.test_main import Run
from cli.test_main import run as run_command
from pipeline.evaluate.test_run import reused, run

from colmodern import PlaidIndex

run_cli = run_command  # the fixture


def scores(folder: Path) -> dict[tuple[str, str], float]:
    lines = (folder / "run.trec").read_text().splitlines()
    return {(fields[0], fields[2]): float(fields[4]) for fields in map(str.split, lines)}


@pytest.mark.parametrize("kind", ["exact", "plaid"])
def test_an_evaluation_on_a_gpu_is_that_of_the_cpu(
    eval_config: Callable[..., Path], kind: str
) -> None:
    path = eval_config(extra=f"index: {{kind: {kind}}}\n")
    on_cpu, _ = run(path, "name=cpu", "index.device=cpu")
    on_gpu, _ = run(path, "name=gpu", "index.device=cuda", "index.device_max_memory=1G")
    # the same bytes of an index, searched elsewhere
    searches = {"search", "exact search"} & on_gpu.timings.keys()
    assert {stage for stage, was in reused(on_gpu).items() if not was} == searches
    assert scores(on_gpu.folder) == pytest.approx(scores(on_cpu.folder), abs=2e-3)
    for result, device in ((on_cpu, "cpu"), (on_gpu, "cuda")):
        metrics = json.loads((result.folder / "metrics.json").read_text())
        environment = json.loads((result.folder / "environment.json").read_text())
        assert metrics["search_device"] == environment["search"]["device"] == device
    again, _ = run(path, "name=gpu", "index.device=cuda", "index.device_max_memory=2G")
    assert all(reused(again).values())


def test_commands_build_and_search_on_a_gpu(
    run_cli: Run, eval_config: Callable[..., Path], tmp_path: Path
) -> None:
    result, _ = run(eval_config())
    for device in ("cpu", "cuda"):
        options = ("--n-centroids", 4, "--device", device)
        assert run_cli("index", "build", result.folder, tmp_path / device, *options)[0] == 0
    manifests = [(tmp_path / device / "manifest.json").read_bytes() for device in ("cpu", "cuda")]
    assert manifests[0] == manifests[1]
    PlaidIndex.check(tmp_path / "cuda")
    for index in ((), ("--index", tmp_path / "cuda")):
        asked = ("search", result.folder, "read the file", "-k", 3, *index)
        on_gpu = run_cli(*asked, "--index-device", "cuda", "--device-max-memory", "1G")
        assert on_gpu[0] == 0
        assert on_gpu[1].count("d") >= 3
