"""Tuned weights are the best of all tenths."""

from __future__ import annotations

import random

import pytest

from colmodern.errors import InputError
from colmodern.evaluation.measures import evaluate
from colmodern.evaluation.tuning import tune_weights
from colmodern.fusion import fuse
from colmodern.types import ScoredDoc

DOCS = [f"d{number:02d}" for number in range(20)]
QRELS = {f"q{number}": {f"d{number:02d}": 1} for number in range(8)}


def run_of(seed: int, quality: float) -> dict[str, list[ScoredDoc]]:
    """Random scores; the relevant document gets ``quality`` more."""
    draw = random.Random(seed)
    run = {}
    for query_id, grades in QRELS.items():
        scores = {doc_id: draw.random() + quality * (doc_id in grades) for doc_id in DOCS}
        run[query_id] = [ScoredDoc(*p) for p in sorted(scores.items(), key=lambda p: -p[1])]
    return run


def test_no_other_weights_are_better() -> None:
    runs = [run_of(1, 0.3), run_of(2, 0.5)]
    tuned = tune_weights(runs, QRELS, measure="RR@10")
    values = {}
    for tenth in range(11):
        weights = [tenth / 10, 1 - tenth / 10]
        fused = fuse(runs, fusion="weighted", weights=weights)
        values[tenth] = evaluate(fused, QRELS, ["RR@10"]).mean["RR@10"]
    assert tuned.value == pytest.approx(max(values.values()))
    assert values[round(tuned.weights[0] * 10)] == pytest.approx(tuned.value)
    assert tuned.equal == pytest.approx(values[5])
    assert (sum(tuned.weights), tuned.n_queries) == (pytest.approx(1), 8)


def test_equal_weights_win_ties() -> None:
    run = run_of(3, 2.0)
    assert tune_weights([run, run], QRELS).weights == (0.5, 0.5)
    assert tune_weights([run, run_of(4, -5.0), run], QRELS).value == 1.0


def test_what_cannot_be_tuned_is_refused() -> None:
    run = run_of(1, 0.3)
    with pytest.raises(InputError, match="none of the judged queries"):
        tune_weights([run, run], {"other": {"d00": 1}})
    with pytest.raises(InputError, match="7 runs are too many"):
        tune_weights([run] * 7, QRELS)
