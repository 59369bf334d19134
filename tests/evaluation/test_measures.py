from __future__ import annotations

import itertools
import math
import random
from typing import Any

import ir_measures
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colmodern import evaluate
from colmodern.errors import ConfigError, InputError
from colmodern.evaluation.measures import untied
from colmodern.types import RankedDoc, ScoredDoc

QRELS = {"q1": {"a": 1}, "q2": {"b": 2, "c": 1}, "q3": {"d": 1}}
RUN = {
    "q1": [ScoredDoc("x", 3.0), ScoredDoc("a", 2.0)],
    "q2": [ScoredDoc("b", 1.0), ScoredDoc("c", 0.5)],
    "unjudged": [ScoredDoc("a", 1.0)],
}


def test_values_by_hand_and_queries_without_results_count() -> None:
    result = evaluate(RUN, QRELS)
    assert result.per_query == {
        "q1": {"nDCG@10": pytest.approx(1 / math.log2(3)), "RR@10": 0.5, "R@100": 1.0},
        "q2": {"nDCG@10": 1.0, "RR@10": 1.0, "R@100": 1.0},
        "q3": {"nDCG@10": 0.0, "RR@10": 0.0, "R@100": 0.0},
    }
    assert result.mean["RR@10"] == pytest.approx(0.5)
    assert result.mean["R@100"] == pytest.approx(2 / 3)


def test_a_run_may_map_ids_to_scores() -> None:
    by_score = {"q1": {"a": 2.0, "x": 3.0}, "q2": {"c": 0.5, "b": 1.0}}
    assert evaluate(by_score, QRELS) == evaluate(RUN, QRELS)


def test_an_empty_run_scores_zero_everywhere() -> None:
    assert evaluate({}, QRELS).mean == {"nDCG@10": 0.0, "RR@10": 0.0, "R@100": 0.0}


documents = st.lists(st.sampled_from("abcdefghij"), unique=True, min_size=1)


@given(documents, st.data())
@settings(max_examples=50)
def test_ndcg_equals_the_loops_also_with_equal_scores(ranked: list[str], data) -> None:
    grades = data.draw(
        st.dictionaries(st.sampled_from("abcdefghijkl"), st.integers(0, 3), min_size=1)
    )
    falling = data.draw(st.lists(st.integers(0, 2), min_size=len(ranked), max_size=len(ranked)))
    scores = sorted(map(float, falling), reverse=True)
    run = {"q": [ScoredDoc(d, s) for d, s in zip(ranked, scores, strict=True)]}
    result = evaluate(run, {"q": grades}, ["nDCG@10"])
    assert result.mean["nDCG@10"] == pytest.approx(oracles.ndcg(ranked, grades, 10), abs=1e-6)


@given(st.lists(st.floats(-1e6, 1e6, width=32), max_size=20))
def test_untied_scores_fall_strictly_and_keep_the_order(values: list[float]) -> None:
    results = [ScoredDoc(f"d{i}", v) for i, v in enumerate(sorted(values, reverse=True))]
    falling = untied(results)
    assert [doc_id for doc_id, _ in falling] == [doc_id for doc_id, _ in results]
    assert all(a.score > b.score for a, b in itertools.pairwise(falling))
    for before, after in zip(results, falling, strict=True):
        assert after.score == pytest.approx(before.score, rel=1e-5, abs=1e-5)


def test_unknown_measures_and_empty_judgments_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"'nDGC@10' is not a measure.*nDCG@10"):
        evaluate(RUN, QRELS, ["nDGC@10"])
    for name in ("nDCG@0", "P", "BPM", "nDCG@10.5", 'nDCG(dcg="bogus")@10', "alpha_nDCG@10", ""):
        with pytest.raises(ConfigError, match="not a measure that ir_measures can compute here"):
            evaluate(RUN, QRELS, [name])
    with pytest.raises(InputError, match="qrels is empty"):
        evaluate(RUN, {})


def test_every_query_has_the_value_of_trec_eval() -> None:
    rng = random.Random(0)
    names = [f"d{i}" for i in range(60)]
    qrels = {
        f"q{i}": {d: rng.choice([0, 1, 1, 2]) for d in rng.sample(names, 9)} for i in range(40)
    }
    # two decimals: scores repeat
    run = {q: {d: round(rng.random(), 2) for d in rng.sample(names, 30)} for q in qrels}
    measures = ["nDCG@10", "R@100", "AP", "P@10", "RR", "nDCG"]
    per_query = evaluate(run, qrels, measures).per_query
    parsed = [ir_measures.parse_measure(name) for name in measures]
    scored = {query: dict(untied(results)) for query, results in run.items()}
    reported = list(ir_measures.pytrec_eval.iter_calc(parsed, qrels, scored))
    assert len(reported) == len(qrels) * len(measures)
    for metric in reported:
        value = per_query[metric.query_id][str(metric.measure)]
        assert value == pytest.approx(metric.value, abs=1e-6)


def test_numbers_of_any_library_and_records_are_taken() -> None:
    qrels = {"q": {"a": np.int64(1), np.str_("b"): 2.0, "c": np.float32(0), "d": True}}
    runs: list[Any] = [
        {"q": {"b": np.float32(3), "a": 2, "x": 1.0}},
        {"q": [("b", 3), ("a", np.float64(2)), ["x", 1.0]]},
        {np.str_("q"): [RankedDoc("b", 3.0, 1), RankedDoc("a", 2.0, 2), ScoredDoc("x", 1.0)]},
        {"q": (ir_measures.ScoredDoc("q", d, s) for d, s in (("b", 3.0), ("a", 2.0), ("x", 1.0)))},
    ]
    values = [evaluate(variant, qrels, ["nDCG@10", "R@100"]).mean for variant in runs]
    assert values[1:] == values[:-1]
    assert values[0]["R@100"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("run", "qrels", "words"),
    [
        ({"q": {"a": 1.0}}, {"q": {"a": 0.5}}, "query 'q', document 'a': grade 0.5 is not a whole"),
        ({"q": {"a": 1.0}}, {"q": {"a": "1"}}, "query 'q', document 'a': grade '1' is not"),
        ({"q": {"a": 1.0}}, {"q": {"a": math.nan}}, "grade nan is not"),
        ({"q": {"a": 1.0}}, {"q": {"a": 2**62}}, "is beyond 1,000,000"),
        ({"q": {"a": 1.0}}, {"q": {1: 1}}, "query 'q': document id 1 is of type int"),
        ({"q": {"a": 1.0}}, {1: {"a": 1}}, "qrels: query id 1 is of type int"),
        ({"q": {"a": 1.0}}, {"q": ["a"]}, "qrels: query 'q' is of type list"),
        ({"q": {"a": 1.0}}, [("q", "a", 1)], "qrels is of type list"),
        ({"q": {"a": 1.0}}, {"q": {"a\0": 1}}, "NUL"),
        ({"q": {"a": math.nan}}, {"q": {"a": 1}}, "run: query 'q', document 'a': score nan cannot"),
        ({"q": {"a": math.inf}}, {"q": {"a": 1}}, "score inf cannot be ranked"),
        ({"q": {"a": None}}, {"q": {"a": 1}}, "score None is not a number"),
        ({"q": {"a": "3"}}, {"q": {"a": 1}}, "score '3' is not a number"),
        ({"q": [("a", 2.0), ("a", 1.0)]}, {"q": {"a": 1}}, "has document 'a' twice"),
        ({"q": ["a", "b"]}, {"q": {"a": 1}}, "has 'a'; give pairs"),
        ({"q": "ab"}, {"q": {"a": 1}}, "has 'ab'; give ScoredDocs"),
        ({"q": np.array(3)}, {"q": {"a": 1}}, "give ScoredDocs"),
        ({"q": 3}, {"q": {"a": 1}}, "has 3; give ScoredDocs"),
        ({"q": {"a\0": 1.0}}, {"q": {"a": 1}}, "NUL"),
        ({"q": {"a\ud800": 1.0}}, {"q": {"a": 1}}, "surrogate"),
        ({1: {"a": 1.0}}, {"1": {"a": 1}}, "run: query id 1 is of type int"),
        ([("q", "a", 1.0)], {"q": {"a": 1}}, "run is of type list"),
        ({"x": {"a": 1.0}}, {"q": {"a": 1}}, "none of the 1 queries of the run is judged"),
    ],
)
def test_what_is_no_run_or_judgment_is_named_with_query_and_document(
    run: Any, qrels: Any, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        evaluate(run, qrels)


@pytest.mark.parametrize("measures", ["nDCG@10", [], None, 3])
def test_measures_are_a_list_of_names(measures: Any) -> None:
    with pytest.raises(InputError, match="pass a list of names"):
        evaluate(RUN, QRELS, measures)


def test_minus_infinity_ranks_last() -> None:
    run = {"q": {"a": -math.inf, "b": -math.inf, "c": -1e38, "d": 0.0}}
    assert evaluate(run, {"q": {"c": 1}}, ["RR@10"]).mean["RR@10"] == 0.5
    falling = untied([ScoredDoc(d, s) for d, s in (("d", 1e300), ("c", -1e300), ("a", -math.inf))])
    assert np.isfinite([variant.score for variant in falling]).all()
    assert all(a.score > b.score for a, b in itertools.pairwise(falling))
