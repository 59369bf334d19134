"""How much of exact search another search finds, over the same embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from colmodern.evaluation.measures import Evaluation, evaluate, untied
from colmodern.types import Qrels, Run, ScoredDoc

_CUTOFF = 10  # beside the number of results


@dataclass(frozen=True)
class Fidelity:
    """What ``compare`` found; overlaps are named "overlap@10"."""

    exact: Evaluation  # of exact search
    overlap: dict[str, float]  # name -> mean over queries
    per_query: dict[str, dict[str, float]]  # query_id -> name -> value


def compare(run: Run, exact: Run, qrels: Qrels, *, measures: Sequence[str], k: int) -> Fidelity:
    """Measure exact search, and the overlap of both at 10 and at the ``k`` results asked for."""
    cutoffs = sorted({min(_CUTOFF, k), k})
    per_query = {
        query_id: {f"overlap@{n}": overlap(run.get(query_id, ()), results, n) for n in cutoffs}
        for query_id, results in exact.items()
    }
    return Fidelity(evaluate(exact, qrels, measures), _means(per_query), per_query)


def overlap(found: Sequence[ScoredDoc], exact: Sequence[ScoredDoc], cutoff: int) -> float:
    """Share of the best ``cutoff`` documents of ``exact`` that are among those of ``found``.

    Of documents that share the score of the last place any is as good as another, as far down as
    ``exact`` goes. 1.0 where there is nothing to find.
    """
    n_wanted = min(cutoff, len(exact))
    if n_wanted == 0:
        return 1.0
    start, stop = _ties(exact, n_wanted - 1)
    ids = [doc_id for doc_id, _ in exact]
    best = {doc_id for doc_id, _ in found[:cutoff]}
    hits = len(best.intersection(ids[:start]))
    hits += min(len(best.intersection(ids[start:stop])), n_wanted - start)
    return hits / n_wanted


def _ties(exact: Sequence[ScoredDoc], place: int) -> tuple[int, int]:
    """From and to which place documents share the score of the one at ``place``."""
    # in a run file ties are one float32 step apart; untied makes the same of a list in memory
    scores = np.array([score for _, score in untied(exact)], np.float32)
    is_tied = scores[1:] == np.nextafter(scores[:-1], np.float32(-np.inf))
    breaks = np.flatnonzero(~is_tied) + 1
    edges = np.concatenate([[0], breaks, [len(scores)]])
    group = int(np.searchsorted(edges, place, side="right")) - 1
    return int(edges[group]), int(edges[group + 1])


def _means(per_query: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    names = next(iter(per_query.values()), {})
    return {name: float(np.mean([values[name] for values in per_query.values()])) for name in names}
