"""Weights of fused searches, chosen by the judgments of queries that are not the evaluated ones."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from colmodern.errors import InputError
from colmodern.evaluation.measures import evaluate
from colmodern.fusion import RRF_K, Fusion, fuse
from colmodern.types import Qrels, Run

STEPS = 10  # weights are multiples of a tenth that add up to 1
_MOST = 6  # runs; more have thousands of combinations


class TunedWeights(NamedTuple):
    """The best weights of some runs.

    Attributes:
        weights: One for each run; they add up to 1.
        value: Mean of the measure with them.
        equal: Mean of the measure with equal weights.
        n_queries: Judged queries that chose them.
    """

    weights: tuple[float, ...]
    value: float
    equal: float
    n_queries: int


def tune_weights(
    runs: Sequence[Run],
    qrels: Qrels,
    *,
    measure: str = "nDCG@10",
    fusion: Fusion = "weighted",
    rrf_k: int = RRF_K,
    depth: int | None = None,
) -> TunedWeights:
    """The weights, in tenths, with the highest mean of a measure; ties go to the more equal ones.

    Args:
        runs: Two to six runs of the judged queries.
        qrels: Judgments; not those that the fused run is measured on.
        measure: Name of a measure.
        fusion: As in ``fuse``, like the arguments that follow.
        rrf_k: As in ``fuse``.
        depth: As in ``fuse``.

    Raises:
        InputError: There are too many runs, no query is judged, or an argument of ``fuse`` is
            unusable.
        ConfigError: The measure is unknown.
    """
    if len(runs) > _MOST:
        raise InputError(f"{len(runs)} runs are too many to tune; give at most {_MOST}")
    judged = [{query_id: run[query_id] for query_id in qrels if query_id in run} for run in runs]
    if not any(judged):
        raise InputError("none of the judged queries is in the runs; give runs of these queries")

    def value(weights: Sequence[float]) -> float:
        fused = fuse(judged, fusion=fusion, weights=weights, rrf_k=rrf_k, depth=depth)
        return next(iter(evaluate(fused, qrels, [measure]).mean.values()))

    equal = 1 / len(runs)
    tried = {weights: value(weights) for weights in _combinations(len(runs))}
    best = max(
        tried,
        key=lambda weights: (round(tried[weights], 9), -sum((w - equal) ** 2 for w in weights)),
    )
    return TunedWeights(best, tried[best], value([1.0] * len(runs)), len(qrels))


def _combinations(n: int) -> Iterator[tuple[float, ...]]:
    """All weights of n runs in steps, that add up to 1."""
    for tenths in itertools.product(range(STEPS + 1), repeat=n - 1):
        if sum(tenths) <= STEPS:
            yield tuple(tenth / STEPS for tenth in (*tenths, STEPS - sum(tenths)))
