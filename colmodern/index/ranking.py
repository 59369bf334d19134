"""The best k of many documents, in one order for every kind of index."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from colmodern.errors import InputError
from colmodern.partial import batch_of, report_of, with_report
from colmodern.passages import PassageHit
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.types import BatchResults, Results, ScoredDoc

Ranks = npt.NDArray[np.int64]
Matches = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]  # doc_index values, their scores
_MANY_TIES = 256  # from so many on, numbers are compared in place of ids


class TopK:
    """The best ``k`` documents of every query, fed in chunks; ties go to the smaller doc_id.

    doc_ids: (n_docs,) the ids that doc_index values point into
    ranks: the ``id_ranks`` of doc_ids, or a function that gives them, which is called when many
        documents share a score: sorting all ids takes longer than many a search
    """

    def __init__(
        self,
        n_queries: int,
        k: int,
        doc_ids: Sequence[str],
        ranks: Ranks | Callable[[], Ranks] | None = None,
    ) -> None:
        self._k = k
        self._doc_ids = doc_ids
        self._ranks = (lambda: id_ranks(doc_ids)) if ranks is None else ranks
        self._indices = [np.empty(0, np.int64)] * n_queries
        self._scores = [np.empty(0, np.float32)] * n_queries

    def add(self, matches: Sequence[Matches]) -> None:
        """Consider more documents of each query."""
        for query, (doc_index, scores) in enumerate(matches):
            indices = np.concatenate([self._indices[query], doc_index])
            values = np.concatenate([self._scores[query], scores])
            if len(values) > self._k:
                kth = np.partition(values, len(values) - self._k)[len(values) - self._k]
                keep = values >= kth  # with all ties of the k-th
                indices, values = indices[keep], values[keep]
            order = self._order(indices, values)[: self._k]
            self._indices[query], self._scores[query] = indices[order], values[order]

    def _order(
        self, indices: npt.NDArray[np.int64], values: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.int64]:
        """Positions, the best first."""
        if not callable(self._ranks):
            return np.lexsort((self._ranks[indices], -values))
        order = np.argsort(-values, kind="stable")
        in_order = values[order]
        n_tied = np.count_nonzero(in_order[1:] == in_order[:-1])
        if n_tied > _MANY_TIES:
            self._ranks = self._ranks()
            return self._order(indices, values)
        if n_tied:
            ids = [self._doc_ids[index] for index in indices.tolist()]
            return np.array(sorted(order.tolist(), key=lambda i: (-values[i], ids[i])))
        return order

    def results(self) -> list[Results[ScoredDoc]]:
        """One list a query, best first."""
        return [
            Results(
                ScoredDoc(self._doc_ids[int(i)], float(s))
                for i, s in zip(indices, scores, strict=True)
            )
            for indices, scores in zip(self._indices, self._scores, strict=True)
        ]


def mean_scores(
    results: Sequence[Sequence[ScoredDoc]],
    queries: TokenEmbeddings | Sequence[npt.NDArray[np.generic]],
) -> BatchResults[ScoredDoc]:
    """Results with mean MaxSim for scores: divided by the number of query tokens.

    Ranks do not change. Mean scores of different queries can be compared, and unit rows have means from
    -1 to 1.

    Args:
        results: Results of each query by MaxSim, as searches return them; passages that matched are
            left out, and the number of a document's best passage is kept.
        queries: Their embeddings, in the same order.

    Returns:
        One list a query; a query without tokens keeps its scores of 0. Results that lack shards
        still say so.

    Raises:
        InputError: There are not as many queries as results.
    """
    if len(results) != len(queries):
        raise InputError(
            f"{len(results)} results for {len(queries)} queries; pass those of each query"
        )
    means = []
    for ranking, query in zip(results, queries, strict=True):
        hits = Results(_with_score(hit, hit.score / max(1, len(query))) for hit in ranking)
        means.append(with_report(hits, report_of(ranking)))
    return batch_of(means)


def _with_score(hit: ScoredDoc, score: float) -> ScoredDoc:
    if not isinstance(hit, PassageHit):
        return ScoredDoc(hit.doc_id, score)
    return PassageHit(hit.doc_id, score, passage=hit.passage, characters=hit.characters)


def id_ranks(doc_ids: Sequence[str]) -> npt.NDArray[np.int64]:
    """(n_docs,) int64 rank of each id among all ids in order, from 0."""
    ranks = np.empty(len(doc_ids), np.int64)
    ranks[sorted(range(len(doc_ids)), key=doc_ids.__getitem__)] = np.arange(len(doc_ids))
    return ranks
