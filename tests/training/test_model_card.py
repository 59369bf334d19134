from __future__ import annotations

from pathlib import Path

import yaml

from colmodern.config.load import build
from colmodern.config.train import TrainConfig
from colmodern.training.model_card import model_card, write_model_card

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


def test_a_card_claims_no_measures_that_were_not_taken(pylate_bert: Path) -> None:
    unmeasured = {**RESULT, "measures": {}, "measures_at_start": {}}
    text = model_card(pylate_bert, config(card={}), unmeasured, ENVIRONMENT)
    assert "Not measured during training." in text
    assert "license" not in text


def test_a_card_says_when_training_gained_nothing(pylate_bert: Path) -> None:
    measures = {"a": {"nDCG@10": 0.25}}
    unchanged = {**RESULT, "step_of_the_model": 0, "measures": measures}
    sentence = "weights that training started from (step 0 of 10)"
    assert sentence in model_card(pylate_bert, config(), unchanged, ENVIRONMENT)
    assert sentence not in model_card(pylate_bert, config(), RESULT, ENVIRONMENT)
