"""Keeping the best k documents of many, in one order that everybody gets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from colmodern.types import ScoredDoc

Found = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]  # doc_index values, their scores


class TopK:
    """The best ``k`` documents of every query, fed in pieces; ties go to the smaller doc_id.

    doc_ids: (n_docs,) the ids that doc_index values point into
    places: (n_docs,) of each id among all ids in order, as ``places_of`` finds them; sorting all
        ids takes longer than many a search, so an index does it once
    """

    def __init__(
        self,
        n_queries: int,
        k: int,
        doc_ids: Sequence[str],
        places: npt.NDArray[np.int64] | None = None,
    ) -> None:
        self._k = k
        self._doc_ids = doc_ids
        self._places = places_of(doc_ids) if places is None else places
        self._indices = [np.empty(0, np.int64)] * n_queries
        self._scores = [np.empty(0, np.float32)] * n_queries

    def add(self, found: Sequence[Found]) -> None:
        """Consider some documents of each query."""
        for query, (fresh, scores) in enumerate(found):
            indices = np.concatenate([self._indices[query], fresh])
            values = np.concatenate([self._scores[query], scores])
            if len(values) > self._k:
                kth = np.partition(values, len(values) - self._k)[len(values) - self._k]
                keep = values >= kth  # with all ties of the last place
                indices, values = indices[keep], values[keep]
            order = np.lexsort((self._places[indices], -values))[: self._k]
            self._indices[query], self._scores[query] = indices[order], values[order]

    def results(self) -> list[list[ScoredDoc]]:
        """One list a query, best first."""
        return [
            [
                ScoredDoc(self._doc_ids[int(i)], float(s))
                for i, s in zip(indices, scores, strict=True)
            ]
            for indices, scores in zip(self._indices, self._scores, strict=True)
        ]


def places_of(doc_ids: Sequence[str]) -> npt.NDArray[np.int64]:
    """(n_docs,) the place of each id among all ids in order."""
    places = np.empty(len(doc_ids), np.int64)
    places[sorted(range(len(doc_ids)), key=doc_ids.__getitem__)] = np.arange(len(doc_ids))
    return places
