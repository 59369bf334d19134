"""Fusion beside its formulas, and what it refuses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colmodern import ScoredDoc, fuse
from colmodern.errors import InputError

A = {"q": [ScoredDoc("a", 9.0), ScoredDoc("b", 5.0), ScoredDoc("c", 1.0)]}
B = {"q": [ScoredDoc("c", 0.8), ScoredDoc("d", 0.6)], "p": [ScoredDoc("x", 1.0)]}


def ranked(run: Mapping[str, Any], query_id: str = "q") -> list[str]:
    return [doc_id for doc_id, _ in run[query_id]]


def test_reciprocal_ranks_add_up() -> None:
    fused = fuse([A, B], rrf_k=60)
    expected = {"a": Fraction(1, 61), "b": Fraction(1, 62), "d": Fraction(1, 62)}
    expected["c"] = Fraction(1, 63) + Fraction(1, 61)
    assert dict(fused["q"]) == pytest.approx({d: float(s) for d, s in expected.items()})
    assert ranked(fused) == ["c", "a", "b", "d"]  # ties by id
    assert dict(fused["p"]) == {"x": pytest.approx(1 / 61)}


def test_weights_count() -> None:
    fused = fuse([A, B], weights=[1, 0.5], rrf_k=1)
    assert dict(fused["q"])["c"] == pytest.approx(1 / 4 + 0.5 / 2)
    assert ranked(fuse([A, B], weights=[0, 1])) == ["c", "d", "a", "b"]


def test_weighted_scores_are_mapped_to_the_range_from_0_to_1() -> None:
    fused = fuse([A, B], fusion="weighted", weights=[0.3, 0.7])
    assert dict(fused["q"]) == pytest.approx({"a": 0.3, "b": 0.15, "c": 0.7, "d": 0.0})
    assert dict(fused["p"]) == {"x": 0.7}  # one score is the best there is
    unusual = {"q": [ScoredDoc("a", 2.0), ScoredDoc("b", 1.0), ScoredDoc("c", -math.inf)]}
    assert dict(fuse([unusual, {}], fusion="weighted")["q"]) == {"a": 1.0, "b": 0.0, "c": 0.0}


def test_interleaved_runs_take_turns() -> None:
    assert ranked(fuse([A, B], fusion="interleave")) == ["a", "c", "b", "d"]
    assert ranked(fuse([B, A], fusion="interleave")) == ["c", "a", "d", "b"]
    scores = [score for _, score in fuse([A, B], fusion="interleave")["q"]]
    assert scores == sorted(scores, reverse=True)


def test_depth_cuts_before_and_k_after() -> None:
    assert ranked(fuse([A, B], depth=1)) == ["a", "c"]
    assert ranked(fuse([A, B], 2)) == ["c", "a"]


runs = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(-5, 5), max_size=8).map(
    lambda scores: {
        "q": [ScoredDoc(d, s) for d, s in sorted(scores.items(), key=lambda p: (-p[1], p[0]))]
    }
)


@given(st.lists(runs, min_size=2, max_size=4), st.sampled_from(["rrf", "weighted", "interleave"]))
def test_fused_runs_have_every_document_once_in_falling_order(runs: Any, fusion: Any) -> None:
    fused = fuse(runs, fusion=fusion)["q"]
    ids = [doc_id for doc_id, _ in fused]
    assert sorted(ids) == sorted({doc_id for run in runs for doc_id, _ in run["q"]})
    if fusion == "interleave":
        assert ids == [d for d, _ in sorted(fused, key=lambda r: -r.score)]
    else:
        assert list(fused) == sorted(fused, key=lambda r: (-r.score, r.doc_id))
        reverse = fuse(runs[::-1], fusion=fusion)["q"]
        assert dict(fused) == pytest.approx(dict(reverse))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ([[A]], {}, "runs=.* are not two runs or more"),
        ([A], {}, "runs is a dict"),
        ([[A, [1]]], {}, "are not two runs or more"),
        (
            [[A, B]],
            {"fusion": "sum"},
            "fusion='sum'; choose one of 'rrf', 'weighted', 'interleave'",
        ),
        ([[A, B]], {"weights": [1]}, "weights has 1 numbers for 2 runs"),
        ([[A, B]], {"weights": [1, -1]}, r"weights=\[1, -1\] has -1; pass numbers from 0"),
        ([[A, B]], {"weights": [1, math.nan]}, "has nan"),
        ([[A, B]], {"weights": [0, 0]}, "are all 0"),
        ([[A, B]], {"weights": ["1", 1]}, "has '1'"),
        ([[A, B]], {"weights": [1, 1], "fusion": "interleave"}, "interleave has no weights"),
        ([[A, B]], {"rrf_k": 0}, "rrf_k=0; pass a whole number"),
        ([[A, B]], {"depth": 0}, "depth=0"),
        ([[A, B], 0], {}, "k=0"),
    ],
)
def test_what_cannot_be_fused_is_refused(
    arguments: list[Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        fuse(*arguments, **options)
