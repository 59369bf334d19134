from __future__ import annotations

from pathlib import Path

import pytest

from colmodern.training.curves import draw_curves, read_curves, write_curves

LOG = [
    {"step": 0, "epoch": 0.0, "measures": {"a": {"nDCG@10": 0.25, "R@100": 0.5}}},
    {"step": 5, "epoch": 0.5, "loss": 2.0, "learning_rate": 1e-3, "grad_norm": 1.0},
    {"step": 10, "epoch": 1.0, "loss": 1.0, "learning_rate": 0.0, "grad_norm": 0.5},
    {"step": 10, "epoch": 1.0, "measures": {"a": {"nDCG@10": 0.75, "R@100": 1.0}}},
    {"step": 10, "epoch": 1.0, "train_runtime": 3.0},
]


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
