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
    [found] = differences(BASE, {"new": run}, ["RR@10"])
    assert (found.run, found.dataset, found.measure, found.queries) == ("new", "one", "RR@10", 8)
    assert (found.baseline, found.value) == (0.0625, 0.75)
    assert found.difference.mean == pytest.approx(0.6875)
    assert (found.wins, found.ties, found.losses) == (6, 1, 1)
    # 7 differences: six of 1, one of -0.5. Of 128 sign patterns these are as far from 0:
    # all six alike with either sign of the half
    assert found.randomisation == pytest.approx(4 / 128)
    assert found.holm == found.randomisation
    assert found.is_better(0.05)
    assert not found.is_better(0.03)
    assert not found.is_worse(0.05)


def test_the_same_backwards_is_worse() -> None:
    run = {"one": per_query(1, 1, 1, 1, 1, 1, 0, 0)}
    [found] = differences(run, {"old": BASE}, ["RR@10"])
    assert found.is_worse(0.05)
    assert not found.is_better(0.05)
    assert (found.wins, found.ties, found.losses) == (1, 1, 6)


def test_a_run_does_not_differ_from_itself() -> None:
    [found] = differences(BASE, {"same": BASE}, ["RR@10"])
    assert found.difference == (0.0, 0.0, 0.0)
    assert (found.t_test, found.randomisation) == (1.0, 1.0)
    assert found.ties == 8


def test_rounding_is_a_tie() -> None:
    run = {"one": {query_id: {"RR@10": v["RR@10"] + 1e-12} for query_id, v in BASE["one"].items()}}
    [found] = differences(BASE, {"same": run}, ["RR@10"])
    assert found.ties == 8
    assert found.randomisation == 1.0
    assert changes(BASE, {"same": run}, "RR@10", most=5) == []


def test_holm_runs_over_sets_and_runs_and_the_means_stand_apart() -> None:
    rng = np.random.default_rng(0)
    data = {name: per_query(*rng.random(8)) for name in ("one", "two")}
    runs = {
        run: {name: per_query(*(rng.random(8) + shift)) for name in data}
        for run, shift in (("a", 0.5), ("b", 0.0), ("c", 0.2))
    }
    found = differences(data, runs, ["RR@10"])
    single = [one for one in found if one.dataset != MEAN]
    means = [one for one in found if one.dataset == MEAN]
    assert [(one.run, one.dataset) for one in single] == [
        (run, name) for run in runs for name in data
    ]
    assert [one.holm for one in single] == holm([one.randomisation for one in single])
    assert [one.holm for one in means] == holm([one.randomisation for one in means])
    assert any(one.holm > one.randomisation for one in single)
    for one in means:
        parts = [part for part in single if part.run == one.run]
        assert one.value == pytest.approx(np.mean([part.value for part in parts]))
        assert one.queries == 16
        assert one.t_test is None  # sets of several sizes and spreads: not one sample


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
    [found] = differences(BASE, {"same": backwards}, ["RR@10"])
    assert found.ties == 8


def test_the_queries_that_changed_most_come_first() -> None:
    run = {"one": per_query(0.25, 0, 1, 0, 0, 0, 0, 0)}
    found = changes(BASE, {"new": run}, "RR@10", most=2)
    assert [(one.query_id, one.baseline, one.value) for one in found] == [
        ("q2", 0, 1),
        ("q7", 0.5, 0),
    ]
