from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

GRID = "index: {kind: plaid}\nsweep: {nbits: [1, 4], document_length: [8, 24]}\n"


@pytest.fixture
def grid(eval_config: Callable[..., Path]) -> Path:
    """The config of a small sweep."""
    return eval_config("grid", extra=GRID)


def test_the_table_and_the_folder_are_printed(run, grid: Path) -> None:
    status, out, _ = run("sweep", grid)
    assert status == 0
    folder = Path(out.splitlines()[-1])
    assert len(json.loads((folder / "sweep.json").read_text())["points"]) == 4
    assert "nDCG@10" in out
    assert "Document length" in out


def test_a_bad_grid_is_one_message_before_anything_runs(run, grid: Path, tmp_path: Path) -> None:
    status, out, said = run("sweep", grid, "sweep.nbits=[3]")
    assert (status, out) == (2, "")
    assert said.count("error: ") == 1
    assert "sweep.nbits" in said
    assert not (tmp_path / "runs").exists()


def test_of_many_sets_those_that_fail_do_not_stop_the_others(run, grid: Path, beir: Path) -> None:
    nowhere = beir.with_name("nowhere")
    grid.write_text(
        f"{grid.read_text()}sets:\n  gone: {{dataset: {{name: {nowhere}}}}}\n"
        f"  here: {{dataset: {{name: {beir}}}}}\n"
    )
    status, out, said = run("sweep", grid)
    assert status == 3
    assert out.splitlines()[-1].endswith("grid.here")
    assert "failed: grid.gone" in said
