"""What is in the folder of a run is kept: earlier runs, and the files of others."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import yaml
from pipeline.evaluate.test_run import run

from colmodern.errors import CheckpointError, StorageError
from colmodern.pipeline.open.artifacts import snippets, store_of


def test_results_of_another_config_are_kept(eval_config) -> None:
    first, _ = run(eval_config())
    before = (first.folder / "metrics.json").read_text()
    second, said = run(eval_config(), "search.k=101")
    kept = first.folder.with_name("small.1")
    assert (kept / "metrics.json").read_text() == before
    assert yaml.safe_load((second.folder / "config.yaml").read_text())["search"]["k"] == 101
    assert any("kept as" in note for note in said)
    run(eval_config(), "search.k=101")
    assert not first.folder.with_name("small.2").exists()


def test_a_failing_run_leaves_the_earlier_one_alone(eval_config) -> None:
    result, _ = run(eval_config())
    before = {file.name: file.read_bytes() for file in result.folder.iterdir()}
    with pytest.raises(CheckpointError):
        run(eval_config(), "encoder.model=./nowhere")
    assert {file.name: file.read_bytes() for file in result.folder.iterdir()} == before
    assert not [p for p in result.folder.parent.iterdir() if p.name.endswith((".tmp", ".old"))]


def test_a_folder_that_is_no_run_is_never_replaced(eval_config, tmp_path: Path) -> None:
    mine = tmp_path / "runs" / "small"
    mine.mkdir(parents=True)
    (mine / "thesis.tex").write_text("precious")
    with pytest.raises(StorageError, match="is not a run of colmodern"):
        run(eval_config())
    assert (mine / "thesis.tex").read_text() == "precious"
    assert not (tmp_path / "runs" / ".cache").exists()


def test_a_run_can_be_moved_with_its_cache_and_searched_from_elsewhere(
    eval_config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(eval_config(), "output=here")
    (tmp_path / "here").rename(tmp_path / "there")
    monkeypatch.chdir("/")
    folder = tmp_path / "there" / "small"
    assert store_of(folder).n_docs == 6
    assert snippets(folder, {"d4"}) == {"d4": "sort the list of names"}


def test_a_persons_files_in_a_run_folder_are_kept(eval_config) -> None:
    result, _ = run(eval_config())
    (result.folder / "notes.md").write_text("mine")
    run(eval_config())
    assert (result.folder / "notes.md").read_text() == "mine"
    run(eval_config(), "search.k=101")
    assert (result.folder.with_name("small.1") / "notes.md").read_text() == "mine"


def test_a_folder_with_only_a_config_is_no_run(eval_config, tmp_path: Path) -> None:
    mine = tmp_path / "runs" / "small"
    mine.mkdir(parents=True)
    (mine / "config.yaml").write_text("of something else")
    with pytest.raises(StorageError, match="is not a run of colmodern"):
        run(eval_config())


@pytest.mark.parametrize("override", ["search.k=100", "search.k=101"])
def test_a_failure_between_the_renames_keeps_the_earlier_run(
    eval_config, override: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, _ = run(eval_config())
    (result.folder / "notes.md").write_text("mine")
    before = {file.name: file.read_bytes() for file in result.folder.iterdir()}
    replace, target = os.replace, result.folder

    def failing(source: Path, destination: Path) -> None:
        if destination == target and Path(source).name == "new":
            raise OSError(errno.EIO, "made for this test")
        replace(source, destination)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OSError, match="made for this test"):
        run(eval_config(), override)
    assert {file.name: file.read_bytes() for file in result.folder.iterdir()} == before
