from __future__ import annotations

import numpy as np
import pytest

from colmodern.evaluation.comparison import MEAN, changes, differences
from colmodern.evaluation.significance import holm

QUERIES = [f"q{i}" for i in range(8)]


def per_query(*values: float, measure: str = "RR@10") -> dict[str, dict[str, float]]:
    return {query_id: {measure: v} for query_id, v in zip(QUERIES, values, strict=False)}


BASE = {"one": per_query(0, 0, 0, 0, 0, 0, 0, 0.5)}


def test_a_difference_by_hand() -> None:
    run = {"one": per_query(1, 1, 1, 1, 1, 1, 0, 0)}
    [results] = differences(BASE, {"new": run}, ["RR@10"])
    assert (results.run, results.dataset, results.measure, results.queries) == (
        "new",
        "one",
        "RR@10",
        8,
    )
    assert (results.baseline, results.value) == (0.0625, 0.75)
    assert results.difference.mean == pytest.approx(0.6875)
    assert (results.wins, results.ties, results.losses) == (6, 1, 1)
    # 7 differences: six of 1, one of -0.5. Of 128 sign patterns these are as far from 0:
    # all six alike with either sign of the half
    assert results.randomisation == pytest.approx(4 / 128)
    assert results.holm == results.randomisation
    assert results.is_better(0.05)
    assert not results.is_better(0.03)
    assert not results.is_worse(0.05)


def test_the_same_backwards_is_worse() -> None:
    run = {"one": per_query(1, 1, 1, 1, 1, 1, 0, 0)}
    [results] = differences(run, {"old": BASE}, ["RR@10"])
    assert results.is_worse(0.05)
    assert not results.is_better(0.05)
    assert (results.wins, results.ties, results.losses) == (1, 1, 6)


def test_a_run_does_not_differ_from_itself() -> None:
    [results] = differences(BASE, {"same": BASE}, ["RR@10"])
    assert results.difference == (0.0, 0.0, 0.0)
    assert (results.t_test, results.randomisation) == (1.0, 1.0)
    assert results.ties == 8


def test_rounding_is_a_tie() -> None:
    run = {"one": {query_id: {"RR@10": v["RR@10"] + 1e-12} for query_id, v in BASE["one"].items()}}
    [results] = differences(BASE, {"same": run}, ["RR@10"])
    assert results.ties == 8
    assert results.randomisation == 1.0
    assert changes(BASE, {"same": run}, "RR@10", most=5) == []


def test_holm_runs_over_sets_and_runs_and_the_means_stand_apart() -> None:
    rng = np.random.default_rng(0)
    data = {name: per_query(*rng.random(8)) for name in ("one", "two")}
    runs = {
        run: {name: per_query(*(rng.random(8) + shift)) for name in data}
        for run, shift in (("a", 0.5), ("b", 0.0), ("c", 0.2))
    }
    results = differences(data, runs, ["RR@10"])
    single = [result for result in results if result.dataset != MEAN]
    means = [result for result in results if result.dataset == MEAN]
    assert [(result.run, result.dataset) for result in single] == [
        (run, name) for run in runs for name in data
    ]
    assert [result.holm for result in single] == holm([result.randomisation for result in single])
    assert [result.holm for result in means] == holm([result.randomisation for result in means])
    assert any(result.holm > result.randomisation for result in single)
    for result in means:
        single_runs = [single_run for single_run in single if single_run.run == result.run]
        assert result.value == pytest.approx(
            np.mean([single_run.value for single_run in single_runs])
        )
        assert result.queries == 16
        assert result.t_test is None  # sets of several sizes and spreads: not one sample


def test_parts_of_a_set_weigh_together_as_one_set() -> None:
    names = ("beir/scifact", "beir/cqa/tex", "beir/cqa/gis")
    base = {name: per_query(0, 0, 0, 0) for name in names}
    run = {
        "beir/scifact": per_query(1, 1, 1, 1),
        "beir/cqa/tex": per_query(0, 0, 0, 0),
        "beir/cqa/gis": per_query(0.5, 0.5, 0.5, 0.5),
    }
    mean = differences(base, {"new": run}, ["RR@10"])[-1]
    assert mean.dataset == MEAN
    assert mean.value == mean.difference.mean == pytest.approx((1 + 0.25) / 2)


def test_queries_are_paired_by_id_not_by_order() -> None:
    backwards = {"one": dict(reversed(BASE["one"].items()))}
    [results] = differences(BASE, {"same": backwards}, ["RR@10"])
    assert results.ties == 8


def test_the_queries_that_changed_most_come_first() -> None:
    run = {"one": per_query(0.25, 0, 1, 0, 0, 0, 0, 0)}
    results = changes(BASE, {"new": run}, "RR@10", most=2)
    assert [(result.query_id, result.baseline, result.value) for result in results] == [
        ("q2", 0, 1),
        ("q7", 0.5, 0),
    ]
