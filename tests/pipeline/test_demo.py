"""The demo as a new user runs it, with the model that colmodern brings along."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from colmodern.config.load import load_eval_config
from colmodern.pipeline.evaluate.run import run_eval

pytestmark = pytest.mark.slow

CONFIG = Path(__file__).parents[2] / "configs" / "demo.yaml"


def test_the_demo_finds_what_sentences_describe(tmp_path: Path) -> None:
    result = run_eval(load_eval_config(CONFIG, [f"output={tmp_path}"]))
    # well below what it reaches, well above chance: one right document among thousands
    assert result.evaluation.mean["nDCG@10"] > 0.4
    assert result.evaluation.mean["R@100"] > 0.8
    assert result.fidelity is not None
    assert result.fidelity.overlap["overlap@10"] > 0.95
    environment = json.loads((result.folder / "environment.json").read_text())
    assert "known-item search" in environment["dataset"]["description"]
