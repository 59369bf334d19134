"""Curves and model cards, which need no PyLate; and what says so when it is not there."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import yaml

from colmodern.config.load import build
from colmodern.config.train import TrainConfig
from colmodern.errors import ConfigError, MissingExtraError, StorageError
from colmodern.files import write_json
from colmodern.training.curves import draw_curves, read_curves, write_curves
from colmodern.training.model import find_initial_checkpoint
from colmodern.training.model_card import write_model_card
from colmodern.training.run import run_train

LOG = [
    {"step": 0, "epoch": 0.0, "measures": {"a": {"nDCG@10": 0.25, "R@100": 0.5}}},
    {"step": 5, "epoch": 0.5, "loss": 2.0, "learning_rate": 1e-3, "grad_norm": 1.0},
    {"step": 10, "epoch": 1.0, "loss": 1.0, "learning_rate": 0.0, "grad_norm": 0.5},
    {"step": 10, "epoch": 1.0, "measures": {"a": {"nDCG@10": 0.75, "R@100": 1.0}}},
    {"step": 10, "epoch": 1.0, "train_runtime": 3.0},
]
VALUES = {
    "name": "small",
    "encoder": {"model": "answerdotai/ModernBERT-base", "revision": "abc"},
    "objective": {"kind": "contrastive"},
    "data": [{"path": "pairs.jsonl", "kind": "pairs"}, {"path": "org/set", "kind": "triples"}],
    "card": {"licence": "mit", "language": ["en"], "about": "For trying things out."},
}
RESULT = {
    "start": {
        "model": "answerdotai/ModernBERT-base",
        "revision": "abc",
        "kind": "plain",
        "weights_sha256": "f" * 64,
    },
    "data": [
        {
            "path": "a|b.jsonl",
            "kind": "pairs",
            "rows": 1234,
            "rows_in_an_epoch": 617,
            "sha256": "0" * 64,
        },
        {"path": "org/set", "kind": "triples", "rows": 5, "rows_in_an_epoch": 5, "revision": None},
    ],
    "steps": 10,
    "step_of_the_model": 10,
    "measures": {"a": {"nDCG@10": 0.75}},
    "measures_at_start": {"a": {"nDCG@10": 0.25}},
}
ENVIRONMENT = {
    "colmodern": "0.1.0",
    "commit": None,
    "packages": {"pylate": "1.6.0", "torch": "2.9.0"},
    "hardware": {"gpus": [], "processor": "a processor"},
}


def config(**more: object) -> TrainConfig:
    return build(TrainConfig, {**VALUES, **more}, source="test")


def test_curves_have_a_row_a_step_and_gaps_where_nothing_was_measured(tmp_path: Path) -> None:
    write_curves(tmp_path, LOG)
    lines = (tmp_path / "curves.csv").read_text().splitlines()
    assert lines == [
        "step,epoch,loss,learning_rate,grad_norm,a nDCG@10,a R@100",
        "0,0.0,,,,0.25,0.5",
        "5,0.5,2.0,0.001,1.0,,",
        "10,1.0,1.0,0.0,0.5,0.75,1.0",
    ]
    assert read_curves(tmp_path)["a nDCG@10"] == [(0, 0.25), (10, 0.75)]


def test_curves_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    write_curves(tmp_path, LOG)
    draw_curves(tmp_path, "small")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_card_tells_the_facts_of_the_run(pylate_bert: Path, tmp_path: Path) -> None:
    for file in pylate_bert.rglob("*"):
        target = tmp_path / file.relative_to(pylate_bert)
        target.mkdir() if file.is_dir() else target.write_bytes(file.read_bytes())
    write_model_card(tmp_path, config(), RESULT, ENVIRONMENT)
    card = (tmp_path / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["license"] == "mit"
    assert front["base_model"] == "answerdotai/ModernBERT-base"
    assert front["datasets"] == ["org/set"]
    assert front["language"] == ["en"]
    for fact in (
        "For trying things out.",
        "8 dimensions for each token",
        "| a\\|b.jsonl | pairs | 1,234 | 617 | sha256 000000000000 |",
        "revision not pinned",
        "| a | nDCG@10 | 0.2500 | 0.7500 |",
        "at revision abc (weights ffffffffffff)",
        "| pylate | 1.6.0 |",
        "| machine | a processor |",
    ):
        assert fact in card, fact


def test_a_card_claims_no_measures_that_were_not_taken(pylate_bert: Path, tmp_path: Path) -> None:
    from colmodern.training.model_card import model_card

    unmeasured = {**RESULT, "measures": {}, "measures_at_start": {}}
    del tmp_path
    text = model_card(pylate_bert, config(card={}), unmeasured, ENVIRONMENT)
    assert "Not measured during training." in text
    assert "license" not in text


def test_without_pylate_modules_load_and_training_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "pylate", None)
    for name in ("run", "losses", "trainer", "model", "callbacks"):
        importlib.reload(importlib.import_module(f"colmodern.training.{name}"))
    with pytest.raises(MissingExtraError, match=r"pip install 'colmodern\[train\]'"):
        run_train(config(output=str(tmp_path)))
    assert not list(tmp_path.iterdir())


def test_a_folder_of_something_else_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("colmodern.training.run.pylate", lambda part: None)
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "thesis.txt").write_text("mine")
    with pytest.raises(StorageError, match="exists and is not a training"):
        run_train(config(output=str(tmp_path)))


def test_what_pylate_cannot_train_is_refused(tmp_path: Path, pylate_bert: Path) -> None:
    import checkpoints

    folder = checkpoints.sentence_transformers(tmp_path, "bert", expansion=None)
    with pytest.raises(ConfigError, match=r"which PyLate 1\.6 cannot train"):
        find_initial_checkpoint(config(encoder={"model": str(folder)}).encoder)
    with pytest.raises(ConfigError, match="with its own projection"):
        find_initial_checkpoint(
            config(encoder={"model": str(pylate_bert), "projection_dim": 8}).encoder
        )


def test_the_latest_of_weights_that_measure_the_same_are_the_best(tmp_path: Path) -> None:
    from colmodern.training.callbacks import FACTS, best_weights

    for step, value in ((0, 0.5), (5, 0.25), (10, 0.5), (100, 0.5), (200, 0.49)):
        (tmp_path / f"best-{step}").mkdir()
        write_json(tmp_path / f"best-{step}" / FACTS, {"step": step, "value": value})
    assert best_weights(tmp_path) == (100, tmp_path / "best-100")


def test_a_card_says_when_training_gained_nothing(pylate_bert: Path) -> None:
    from colmodern.training.model_card import model_card

    measures = {"a": {"nDCG@10": 0.25}}
    unchanged = {**RESULT, "step_of_the_model": 0, "measures": measures}
    sentence = "weights that training started from (step 0 of 10)"
    assert sentence in model_card(pylate_bert, config(), unchanged, ENVIRONMENT)
    assert sentence not in model_card(pylate_bert, config(), RESULT, ENVIRONMENT)
