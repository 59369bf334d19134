"""Runs against a baseline, query by query: differences, their tests, and the largest changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

import numpy as np

from colmodern.evaluation.recipe import FieldChange
from colmodern.evaluation.significance import (
    LEVEL,
    Estimate,
    Values,
    estimate,
    holm,
    randomisation_test,
    t_test,
)
from colmodern.notebook import html_view

MEAN = "mean of all"  # in place of a data set's name
_SAME = 1e-9  # a smaller difference of one query is rounding

# data set -> query_id -> measure -> value
PerQuery = Mapping[str, Mapping[str, Mapping[str, float]]]


@dataclass(frozen=True)
class Difference:
    """One run against the baseline, by one measure, on one data set or on the mean of all.

    Attributes:
        t_test: two-sided p-value; None where the test does not apply.
        randomisation: two-sided p-value.
        holm: the p-value of the randomisation test, adjusted within a measure over all runs and
            data sets; for the mean of all, over all runs.
        wins: number of queries on which the run is better; ties and losses likewise.
    """

    run: str
    dataset: str
    measure: str
    queries: int
    baseline: float
    value: float
    difference: Estimate
    t_test: float | None
    randomisation: float
    holm: float
    wins: int
    ties: int
    losses: int

    def is_better(self, alpha: float) -> bool:
        """Whether the adjusted randomisation test finds the run better at ``alpha``."""
        return self.holm < alpha and self.difference.mean > 0

    def is_worse(self, alpha: float) -> bool:
        """Whether the adjusted randomisation test finds the run worse at ``alpha``."""
        return self.holm < alpha and self.difference.mean < 0


class Change(NamedTuple):
    """One query's value in the baseline and in a run."""

    run: str
    dataset: str
    query_id: str
    baseline: float
    value: float


@dataclass(frozen=True, repr=False)
class Comparison:
    """Runs against a baseline, and everything that is reported about them."""

    baseline: str
    runs: Sequence[str]
    datasets: Sequence[str]
    measures: Sequence[str]
    alpha: float  # a difference is reported when its adjusted p-value is below
    seed: int  # for tests and intervals
    differences: Sequence[Difference]
    changes: Sequence[Change]  # by the first measure
    queries: Mapping[str, Mapping[str, str]]  # data set -> query_id -> text, for the changes
    recipe: Sequence[FieldChange]
    values: Mapping[str, PerQuery]  # by name, the baseline's among them
    notes: Sequence[str] = ()  # what was left out
    without_recipe: Sequence[str] = ()  # the TREC runs among them

    def __repr__(self) -> str:
        runs, sets, measures = list(self.runs), list(self.datasets), list(self.measures)
        return f"Comparison({runs} against {self.baseline!r}, datasets={sets}, measures={measures})"

    def _repr_html_(self) -> str:
        return html_view("comparison_html", self)

    def as_json(self) -> dict[str, object]:
        """Everything but the values of each query, as plain values."""
        changes = [
            {**entry._asdict(), "query": self.queries[entry.dataset].get(entry.query_id, "")}
            for entry in self.changes
        ]
        return {
            "baseline": self.baseline,
            "runs": list(self.runs),
            "datasets": list(self.datasets),
            "measures": list(self.measures),
            "alpha": self.alpha,
            "interval": LEVEL,
            "seed": self.seed,
            "differences": [
                {**asdict(entry), "difference": entry.difference._asdict()}
                for entry in self.differences
            ],
            "changes": changes,
            "recipe": [entry._asdict() for entry in self.recipe],
            "notes": list(self.notes),
        }


def differences(
    baseline: PerQuery,
    runs: Mapping[str, PerQuery],
    measures: Sequence[str],
    *,
    seed: int = 0,
) -> list[Difference]:
    """Judge every run against the baseline, by every measure, on every data set and on their mean.

    The baseline and the runs have the same data sets and queries. The same seed gives the same
    figures. The mean weighs sets equally: the parts of a set, named as "beir/cqadupstack/tex", weigh
    together as much as any other set.
    """
    results: list[Difference] = []
    for measure in measures:
        single: list[Difference] = []
        means: list[Difference] = []
        for name, run in runs.items():
            pairs = {data: _pair(values, run[data], measure) for data, values in baseline.items()}
            single += [_judge(name, data, measure, {data: p}, seed) for data, p in pairs.items()]
            if len(pairs) > 1:
                means.append(_judge(name, MEAN, measure, pairs, seed))
        results += _adjusted(single) + _adjusted(means)
    return results


def changes(
    baseline: PerQuery, runs: Mapping[str, PerQuery], measure: str, *, most: int
) -> list[Change]:
    """The ``most`` queries of each run whose value changed most, largest change first."""
    largest: list[Change] = []
    for name, run in runs.items():
        changed = [
            Change(name, data, query_id, values[measure], run[data][query_id][measure])
            for data, per_query in baseline.items()
            for query_id, values in per_query.items()
            if abs(run[data][query_id][measure] - values[measure]) > _SAME
        ]
        # sorted is stable: equal changes keep the order of the collection
        largest += sorted(changed, key=lambda change: -abs(change.value - change.baseline))[:most]
    return largest


def _pair(
    baseline: Mapping[str, Mapping[str, float]],
    run: Mapping[str, Mapping[str, float]],
    measure: str,
) -> tuple[Values, Values]:
    """(n_queries,) values of the baseline and of the run, in the baseline's order."""
    return (
        np.array([values[measure] for values in baseline.values()]),
        np.array([run[query_id][measure] for query_id in baseline]),
    )


def _judge(
    run: str, data: str, measure: str, pairs: Mapping[str, tuple[Values, Values]], seed: int
) -> Difference:
    """Judge one run against the baseline; pairs: data set -> values of the baseline and of the run."""
    groups = [np.where(np.abs(b - a) > _SAME, b - a, 0.0) for a, b in pairs.values()]
    weights = _weights(list(pairs))
    means = np.array([[a.mean(), b.mean()] for a, b in pairs.values()])
    baseline, value = np.average(means, axis=0, weights=weights)
    signs = np.sign(np.concatenate(groups))
    p_value = randomisation_test(groups, weights=weights, seed=seed)
    return Difference(
        run=run,
        dataset=data,
        measure=measure,
        queries=len(signs),
        baseline=float(baseline),
        value=float(value),
        difference=estimate(groups, weights=weights, seed=seed),
        t_test=t_test(groups[0]) if len(groups) == 1 else None,
        randomisation=p_value,
        holm=p_value,
        wins=int((signs > 0).sum()),
        ties=int((signs == 0).sum()),
        losses=int((signs < 0).sum()),
    )


def _weights(datasets: Sequence[str]) -> list[float]:
    """Weight of each data set, such that all parts of a set together weigh 1."""
    sets = ["/".join(name.split("/")[:2]) for name in datasets]
    return [1 / sets.count(name) for name in sets]


def _adjusted(differences: Sequence[Difference]) -> list[Difference]:
    p_values = holm([difference.randomisation for difference in differences])
    return [
        replace(difference, holm=p) for difference, p in zip(differences, p_values, strict=True)
    ]
