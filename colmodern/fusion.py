"""Several rankings of the same documents joined into one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from colmodern.arguments import checked_count, expect_choice, expect_counts, listed
from colmodern.checks import shown
from colmodern.errors import InputError
from colmodern.partial import joined, report_of, with_report
from colmodern.types import Results, Run, ScoredDoc

Fusion = Literal["rrf", "weighted", "interleave"]
RRF_K = 60  # Cormack, Clarke and Buettcher, SIGIR 2009, https://doi.org/10.1145/1571941.1572114

_RUNS = "pass a list of runs, each query_id -> results, best first"


def fuse(
    runs: Sequence[Run],
    k: int | None = None,
    *,
    fusion: Fusion = "rrf",
    weights: Sequence[float] | None = None,
    rrf_k: int = RRF_K,
    depth: int | None = None,
) -> dict[str, Results[ScoredDoc]]:
    """Join runs of the same queries into one.

    A document that a run lacks gets nothing from it. Ties go to the smaller doc_id.

    Args:
        runs: At least two runs, query_id -> results, best first.
        k: Documents of each query to return; default all.
        fusion: "rrf" adds weight / (rrf_k + rank); "weighted" adds weight * score, where the scores of
            a query in a run are mapped to 0 to 1; "interleave" lets the runs take turns, the first
            one begins.
        weights: One number from 0 for each run; default 1 for each. "interleave" takes none.
        rrf_k: How little the first ranks differ.
        depth: First documents of each run that count; default all.

    Returns:
        query_id -> documents, best first, of every query that a run has. Where results of a run lack
        shards, so do the fused ones, and say it as theirs do.

    Raises:
        InputError: There are fewer than two runs, or an argument is unusable; names it.
    """
    runs = listed("runs", runs, _RUNS)
    if len(runs) < 2 or not all(isinstance(run, Mapping) for run in runs):
        raise InputError(f"runs={shown(runs)} are not two runs or more; {_RUNS}")
    join = Joiner(len(runs), fusion=fusion, weights=weights, rrf_k=rrf_k)
    expect_counts(k=k, depth=depth)
    query_ids = dict.fromkeys(query_id for run in runs for query_id in run)
    fused = {}
    for query_id in query_ids:
        rankings = [run.get(query_id, ()) for run in runs]
        results = join([list(ranking)[:depth] for ranking in rankings], k)
        fused[query_id] = with_report(results, joined(map(report_of, rankings)))
    return fused


class Joiner:
    """Joins the rankings of one query after another; the arguments are those of ``fuse``.

    Raises:
        InputError: As from ``fuse``.
    """

    def __init__(
        self,
        n_rankings: int,
        *,
        fusion: Fusion = "rrf",
        weights: Sequence[float] | None = None,
        rrf_k: int = RRF_K,
    ) -> None:
        expect_choice("fusion", fusion, get_args(Fusion))
        self.fusion = fusion
        self.rrf_k = checked_count("rrf_k", rrf_k)
        if weights is not None and fusion == "interleave":
            raise InputError(
                "interleave has no weights; leave them out, or fuse by rrf or weighted"
            )
        self.weights = _checked_weights(weights, n_rankings)

    def __call__(
        self, rankings: Sequence[Sequence[ScoredDoc]], k: int | None = None
    ) -> Results[ScoredDoc]:
        """The best ``k`` documents of some rankings, which are best first; default all."""
        scores: dict[str, float] = {}
        if self.fusion == "interleave":
            order = _interleaved(rankings)
            # scores that only say the rank
            return Results(ScoredDoc(doc_id, 1 / rank) for rank, doc_id in enumerate(order[:k], 1))
        for ranking, weight in zip(rankings, self.weights, strict=True):
            for doc_id, share in self._shares(ranking):
                scores[doc_id] = scores.get(doc_id, 0.0) + weight * share
        best = sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))[:k]
        return Results(ScoredDoc(doc_id, score) for doc_id, score in best)

    def _shares(self, ranking: Sequence[ScoredDoc]) -> list[tuple[str, float]]:
        """What each document of a ranking gets from it."""
        if self.fusion == "rrf":
            return [(result[0], 1 / (self.rrf_k + rank)) for rank, result in enumerate(ranking, 1)]
        finite = [score for _, score in ranking if math.isfinite(score)]
        low, high = min(finite, default=0.0), max(finite, default=0.0)
        width = high - low
        # without a range all are equally good; -inf is at the lower end of one
        return [
            (doc_id, (max(score, low) - low) / width if width else float(math.isfinite(score)))
            for doc_id, score in ranking
        ]


def _interleaved(rankings: Sequence[Sequence[ScoredDoc]]) -> list[str]:
    """Each ranking in turn gives its best document that is not there yet."""
    order: dict[str, None] = {}
    waiting = [iter(ranking) for ranking in rankings]
    while waiting:
        for ranking in list(waiting):
            doc_id = next((result[0] for result in ranking if result[0] not in order), None)
            if doc_id is None:
                waiting.remove(ranking)
            else:
                order[doc_id] = None
    return list(order)


def _checked_weights(weights: Sequence[float] | None, n_rankings: int) -> tuple[float, ...]:
    if weights is None:
        return (1.0,) * n_rankings
    values = listed("weights", weights, "pass one number for each run")
    if len(values) != n_rankings:
        raise InputError(
            f"weights has {len(values)} numbers for {n_rankings} runs; pass one for each"
        )
    for value in values:
        is_number = isinstance(value, int | float) or hasattr(value, "__float__")
        if isinstance(value, bool | str) or not is_number or not 0 <= float(value) < math.inf:
            raise InputError(f"weights={shown(values)} has {shown(value)}; pass numbers from 0")
    if not any(values):
        raise InputError(f"weights={shown(values)} are all 0; give one of the runs a weight")
    return tuple(float(value) for value in values)
