"""A checked search of a PLAID index, ready for queries."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from colmodern.arguments import checked_count, expect_counts, expect_flags
from colmodern.errors import InputError
from colmodern.index.filters import Filter
from colmodern.index.plaid.search.budget import choose_budget
from colmodern.index.plaid.search.filters import filtered_view
from colmodern.index.plaid.search.portable import search_portably
from colmodern.index.plaid.search.queries import unusable_score
from colmodern.index.plaid.search.state import State
from colmodern.index.plaid.search.steps import search_view
from colmodern.index.plaid.search.stored import StoredEmbeddings
from colmodern.index.plaid.search.view import DocIndex
from colmodern.kernels.types import SearchBudget
from colmodern.threads import Threads
from colmodern.types import Results, ScoredDoc


class Query(NamedTuple):
    """A checked query as a search takes it.

    Attributes:
        values: (n_query_tokens, dim) float32, at least one token.
        candidates: doc_index values, ascending, that are candidates whatever is probed; None for none.
    """

    values: npt.NDArray[np.float32]
    candidates: npt.NDArray[np.int64] | None = None


_LARGEST_COUNT = 1 << 40  # a larger k, nprobe or n_candidates is as good as this; exact in float64


class SearchRequest:
    """A checked search of one state of an index: its settings, view and budget."""

    def __init__(
        self,
        state: State,
        k: int,
        allowed: Filter | None,
        nprobe: int | None,
        n_candidates: int | None,
        stored: StoredEmbeddings | None,
        *,
        exact: bool = False,
    ) -> None:
        expect_counts(nprobe=nprobe, n_candidates=n_candidates)
        expect_flags(exact=exact)
        self.k, self.stored, self.exact = checked_count("k", k), stored, bool(exact)
        state.verification()
        self.view = filtered_view(state, allowed)
        self._state, self._nprobe, self._n_candidates = state, nprobe, n_candidates
        self.budget = self._budget(n_candidates)

    def with_k(self, k: int) -> SearchRequest:
        """The same search for more documents, with at least as many candidates."""
        other = copy(self)
        other.k = k
        n_candidates = self._n_candidates
        other.budget = other._budget(None if n_candidates is None else max(n_candidates, k))
        return other

    def _budget(self, n_candidates: int | None) -> SearchBudget:
        state, nprobe = self._state, self._nprobe
        return choose_budget(
            min(self.k, _LARGEST_COUNT),
            n_open=self.view.n_open,
            n_docs=state.view.n_open,
            n_tokens=state.n_tokens,
            n_centroids=state.snapshot.manifest.n_centroids,
            nprobe=None if nprobe is None else min(int(nprobe), _LARGEST_COUNT),
            n_candidates=None if n_candidates is None else min(int(n_candidates), _LARGEST_COUNT),
            rescored=self.stored is not None,
        )

    def __call__(self, query: Query, threads: Threads) -> Results[ScoredDoc]:
        """The best k documents, best first, ties by id."""
        view = self.view
        if view.n_open == 0:
            return Results()
        values, added = query
        return self.ranked(
            *search_view(
                values,
                view,
                self.budget,
                threads,
                stored=self.stored,
                exact=self.exact,
                added=added,
            )
        )

    def portably(self, query: Query) -> Results[ScoredDoc]:
        """The same without compiled kernels; see portable.py."""
        if self.view.n_open == 0:
            return Results()
        values, added = query
        return self.ranked(
            *search_portably(values, self.view, self.budget, stored=self.stored, added=added)
        )

    def ranked(self, doc_index: DocIndex, scores: npt.NDArray[np.float32]) -> Results[ScoredDoc]:
        """The best k of scored documents, best first, ties by id."""
        view, k = self.view, self.k
        if not (finite := np.isfinite(scores)).all():
            doc_id = view.doc_ids(doc_index[np.argmin(finite)][None])[0]
            name = "the index" if self.stored is None else "rescore"
            raise InputError(unusable_score(name, doc_id))
        # all ties of the k-th, so that ids can decide
        best = np.argsort(-scores, kind="stable")
        if len(best) > k:
            best = best[: int(np.searchsorted(-scores[best], -scores[best[k - 1]], side="right"))]
        ranked = scores[best]
        results = Results(map(ScoredDoc, view.doc_ids(doc_index[best]), ranked.tolist()))
        if np.any(ranked[1:] == ranked[:-1]):
            results.sort(key=lambda doc: (-doc.score, doc.doc_id))
        return results[:k]

    def ranked_batch(
        self, matches: Sequence[tuple[DocIndex, npt.NDArray[np.float32]]]
    ) -> list[Results[ScoredDoc]]:
        """``ranked`` of each query, in one pass where all have as many documents."""
        sizes = {len(scores) for _, scores in matches}
        if len(matches) == 1 or len(sizes) != 1 or 0 in sizes:
            return [self.ranked(doc_index, scores) for doc_index, scores in matches]
        docs, scores = (np.stack(arrays) for arrays in zip(*matches, strict=True))
        best = np.argsort(-scores, axis=1, kind="stable")[:, : self.k + 1]
        top = np.take_along_axis(scores, best, axis=1)
        is_plain = np.isfinite(scores).all(axis=1) & (top[:, 1:] != top[:, :-1]).all(axis=1)
        best, top = best[is_plain, : self.k], top[is_plain, : self.k]
        ids = self.view.doc_ids(np.take_along_axis(docs[is_plain], best, axis=1).reshape(-1))
        k = best.shape[1]
        ranked = iter(
            Results(map(ScoredDoc, ids[row * k : (row + 1) * k], row_scores))
            for row, row_scores in enumerate(top.tolist())
        )
        return [
            next(ranked) if plain else self.ranked(*match)
            for plain, match in zip(is_plain.tolist(), matches, strict=True)
        ]
