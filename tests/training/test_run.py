from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from colmodern.config.load import build
from colmodern.config.train import TrainConfig, load_train_config
from colmodern.errors import MissingExtraError, StorageError
from colmodern.training import run

VALUES = {
    "name": "small",
    "encoder": {"model": "answerdotai/ModernBERT-base"},
    "objective": {"kind": "contrastive"},
    "data": [{"path": "pairs.jsonl", "kind": "pairs"}],
}


def config(**more: object) -> TrainConfig:
    return build(TrainConfig, {**VALUES, **more}, source="test")


@pytest.mark.parametrize(
    "text",
    ["name: [x", "- a", "a: 1\na: 2", "a: &a [*a]", "\0", "x: !!int y", "[" * 3000],
    ids=range(7),
)
def test_a_damaged_config_of_a_begun_training_is_named_with_its_cure(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "pylate", lambda name: None)  # not needed to read a folder
    config = tmp_path / "c.yaml"
    config.write_text(
        f"name: x\noutput: {tmp_path}\nencoder: {{model: colmodern/tiny}}\n"
        "data: [{path: a.jsonl, kind: pairs}]\nobjective: {kind: contrastive}\n"
    )
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "train.yaml").write_text(text)
    with pytest.raises(StorageError, match=r"(?s)train\.yaml.*remove .*x to train anew") as raised:
        run.run_train(load_train_config(config))
    assert len(str(raised.value)) < 1000


def test_without_pylate_modules_load_and_training_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "pylate", None)
    for name in ("run", "losses", "trainer", "model", "callbacks"):
        importlib.reload(importlib.import_module(f"colmodern.training.{name}"))
    with pytest.raises(MissingExtraError, match=r"pip install 'colmodern\[train\]'"):
        run.run_train(config(output=str(tmp_path)))
    assert not list(tmp_path.iterdir())


def test_a_folder_of_something_else_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(run, "pylate", lambda module: None)
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "thesis.txt").write_text("mine")
    with pytest.raises(StorageError, match="exists and is not a training"):
        run.run_train(config(output=str(tmp_path)))
