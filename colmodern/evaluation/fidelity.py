"""How much of exact search another search over the same embeddings finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from colmodern.evaluation.measures import Evaluation, evaluate, untied
from colmodern.evaluation.significance import Estimate, estimate
from colmodern.types import Qrels, Run, ScoredDoc

_CUTOFFS = (10, 100)  # and the number of results
_SCORE_ERROR = "score error"

Values = dict[str, dict[str, float]]  # query_id -> name -> value


class LostDoc(NamedTuple):
    """A relevant document that exact search has within a cutoff, and the other search has not.

    Attributes:
        query_id: Id of the query.
        doc_id: Id of the document.
        grade: Its relevance grade.
        exact_rank: Rank in exact search, from 1.
        rank: Rank in the other search; None where it is not among the results.
        cutoffs: The cutoffs at which it is lost.
    """

    query_id: str
    doc_id: str
    grade: int
    exact_rank: int
    rank: int | None
    cutoffs: tuple[int, ...]


@dataclass(frozen=True)
class Fidelity:
    """A run held against exact search.

    Attributes:
        exact: Measures of exact search.
        overlap: name ("overlap@10") -> mean over queries.
        per_query: query_id -> name -> value. The names are "overlap@10"; "tau@10", Kendall's tau-b
            between the two orders of exact search's best 10, where missing documents share the last
            rank; and "score error", the mean absolute difference from the exact MaxSim score of the
            best documents that both searches have, absent where they share none.
        estimates: Means of these with intervals, and for each measure by how much exact search is
            better: "nDCG@10 lost".
        lost: Relevant documents that the run misses.
    """

    exact: Evaluation
    overlap: dict[str, float]
    per_query: Values
    estimates: dict[str, Estimate]
    lost: tuple[LostDoc, ...]


def compare(run: Run, exact: Run, qrels: Qrels, *, measures: Sequence[str], k: int) -> Fidelity:
    """Hold a run against exact search, at 10, at 100 and at the ``k`` requested results."""
    cutoffs = sorted({min(cutoff, k) for cutoff in _CUTOFFS} | {k})
    per_query = {
        query_id: _values(run.get(query_id, ()), results, cutoffs)
        for query_id, results in exact.items()
    }
    truth, measured = evaluate(exact, qrels, measures), evaluate(run, qrels, measures)
    estimates = _estimates(per_query)
    for name in truth.mean:
        lost = [truth.per_query[query][name] - measured.per_query[query][name] for query in qrels]
        estimates[f"{name} lost"] = estimate([np.array(lost)])
    overlaps = {name: value.mean for name, value in estimates.items() if "overlap" in name}
    lost_docs = [
        lost
        for query_id, results in exact.items()
        for lost in _lost(query_id, run.get(query_id, ()), results, qrels, cutoffs)
    ]
    return Fidelity(truth, overlaps, per_query, estimates, tuple(lost_docs))


def overlap(results: Sequence[ScoredDoc], exact: Sequence[ScoredDoc], cutoff: int) -> float:
    """Share of the best ``cutoff`` documents of ``exact`` that are among those of ``results``.

    Documents that tie with the last of these count as equally good, as far down as ``exact`` goes.
    1.0 where there is nothing to find.
    """
    n_wanted = min(cutoff, len(exact))
    if n_wanted == 0:
        return 1.0
    start, stop = _ties(exact, n_wanted - 1)
    ids = [doc_id for doc_id, _ in exact]
    best = {doc_id for doc_id, _ in results[:cutoff]}
    hits = len(best.intersection(ids[:start]))
    hits += min(len(best.intersection(ids[start:stop])), n_wanted - start)
    return hits / n_wanted


def _ties(exact: Sequence[ScoredDoc], position: int) -> tuple[int, int]:
    """Start and stop of the positions whose documents share the score of the one at ``position``."""
    # in a run file ties are one float32 step apart; untied does the same to a list in memory
    scores = np.array([score for _, score in untied(exact)], np.float32)
    is_tied = scores[1:] == np.nextafter(scores[:-1], np.float32(-np.inf))
    breaks = np.flatnonzero(~is_tied) + 1
    edges = np.concatenate([[0], breaks, [len(scores)]])
    group = int(np.searchsorted(edges, position, side="right")) - 1
    return int(edges[group]), int(edges[group + 1])


def rank_correlation(
    results: Sequence[ScoredDoc], exact: Sequence[ScoredDoc], cutoff: int
) -> float:
    """Kendall's tau-b between the ranks of the best ``cutoff`` documents of ``exact`` in both lists.

    Documents that are missing from ``results`` share the rank after the last. 1.0 for fewer than two
    documents, 0.0 where all are missing. Source: Kendall, Biometrika 33 (1945).
    """
    from scipy.stats import kendalltau

    best = exact[:cutoff]
    if len(best) < 2:
        return 1.0
    positions = {doc_id: position for position, (doc_id, _) in enumerate(results)}
    there = [positions.get(doc_id, len(results)) for doc_id, _ in best]
    if len(set(there)) == 1:
        return 0.0
    return float(kendalltau(range(len(best)), there).statistic)


def score_error(
    results: Sequence[ScoredDoc], exact: Sequence[ScoredDoc], cutoff: int
) -> float | None:
    """Mean absolute difference of scores over the best ``cutoff`` of ``exact`` that both lists have."""
    scores = dict(results)
    errors = [abs(scores[doc_id] - score) for doc_id, score in exact[:cutoff] if doc_id in scores]
    return float(np.mean(errors)) if errors else None


def _values(
    results: Sequence[ScoredDoc], exact: Sequence[ScoredDoc], cutoffs: Sequence[int]
) -> dict[str, float]:
    values = {f"overlap@{n}": overlap(results, exact, n) for n in cutoffs}
    values |= {f"tau@{n}": rank_correlation(results, exact, n) for n in cutoffs}
    error = score_error(results, exact, max(cutoffs))
    return values if error is None else {**values, _SCORE_ERROR: error}


def _estimates(per_query: Values) -> dict[str, Estimate]:
    names = dict.fromkeys(name for values in per_query.values() for name in values)
    return {
        name: estimate([np.array([v[name] for v in per_query.values() if name in v])])
        for name in names
    }


def _lost(
    query_id: str,
    results: Sequence[ScoredDoc],
    exact: Sequence[ScoredDoc],
    qrels: Qrels,
    cutoffs: Sequence[int],
) -> list[LostDoc]:
    ranks = {doc_id: rank for rank, (doc_id, _) in enumerate(results, start=1)}
    grades = qrels.get(query_id, {})
    lost = []
    for exact_rank, (doc_id, _) in enumerate(exact[: max(cutoffs)], start=1):
        grade, rank = grades.get(doc_id, 0), ranks.get(doc_id)
        missed = tuple(n for n in cutoffs if exact_rank <= n and (rank is None or rank > n))
        if grade > 0 and missed:
            lost.append(LostDoc(query_id, doc_id, grade, exact_rank, rank, missed))
    return lost
