"""Stages of a search on a handful of judgments."""

from __future__ import annotations

import pytest

from colmodern.evaluation.stages import measure_stages
from colmodern.types import ScoredDoc

QRELS = {"q1": {"a": 1, "b": 2, "c": 0}, "q2": {"d": 1}, "q3": {"x": 0}}


def run_of(**ids: str) -> dict[str, list[ScoredDoc]]:
    return {q: [ScoredDoc(d, -float(i)) for i, d in enumerate(docs)] for q, docs in ids.items()}


def test_each_stage_is_counted_by_what_reached_it() -> None:
    first = {"bm25": run_of(q1="ac", q2="d"), "plaid": run_of(q1="b", q2="x")}
    stages = measure_stages(first, run_of(q1="a", q2="xz"), "hybrid", QRELS, ["P@1"])
    assert [stage.name for stage in stages] == ["bm25", "plaid", "hybrid"]
    assert [(s.n_relevant, s.n_kept, s.n_lost) for s in stages] == [(3, 2, 1), (3, 1, 2), (3, 1, 2)]
    assert [s.recall for s in stages] == pytest.approx([0.75, 0.25, 0.25])
    assert [s.per_query for s in stages] == pytest.approx([1, 2 / 3, 1])
    assert [s.measures["P@1"] for s in stages] == pytest.approx([2 / 3, 1 / 3, 1 / 3])


def test_the_last_stage_answers_only_for_what_reached_it() -> None:
    [first, last] = measure_stages(
        {"run": run_of(q1="a")}, run_of(q1="a"), "rerank", QRELS, ["P@1"]
    )
    assert (first.n_relevant, first.n_lost) == (3, 2)
    assert (last.n_relevant, last.n_kept, last.n_lost) == (1, 1, 0)
    assert last.as_json()["n_lost"] == 0


def test_a_run_may_be_empty() -> None:
    [first, last] = measure_stages({"run": {}}, {}, "rerank", QRELS, ["P@1"])
    assert (first.recall, first.per_query, last.n_relevant, last.recall) == (0, 0, 0, 0)
