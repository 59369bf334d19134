"""Where exact search of an index's embeddings ranks one document."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from colmodern.ragged.store import EmbeddingStore

_DEEPEST = 1000  # ranks that are looked at, unless a caller asks for more


class ExactRank(NamedTuple):
    """A document's place in exact search.

    Attributes:
        rank: Rank, from 1; None where the document is below the first ``depth``.
        score: Its exact score; None where ``rank`` is.
        depth: Number of ranks that were looked at.
    """

    rank: int | None
    score: float | None
    depth: int

    def verdict(self, k: int, *, is_result: bool) -> str:
        """A sentence: the rank, and whether a setting of the index can help the document.

        Args:
            k: Number of results.
            is_result: Whether the search of the index has the document among them.
        """
        if self.rank is None or self.score is None:
            standing = f"exact search has it below rank {self.depth:,}"
        else:
            standing = f"exact search has it at rank {self.rank:,} with score {self.score:,.2f}"
        if is_result:
            return standing
        if self.rank is None or self.rank > k:
            return (
                f"{standing}: no index setting brings it reliably into the first {k}; the cause is the "
                "model, the text or its length"
            )
        return f"{standing}, within the first {k}: a setting of the index can bring it back"


def exact_rank(
    query: npt.NDArray[np.float32],
    doc_id: str,
    k: int,
    store: EmbeddingStore,
    *,
    depth: int = _DEEPEST,
) -> ExactRank | None:
    """The rank that exact search of a store gives a document; None where the store has it not.

    query: (n_query_tokens, dim) float32
    k: results of the search that is explained; at least as many ranks are looked at
    depth: ranks that are looked at where k is smaller
    """
    from colmodern.index.exact.index import ExactIndex  # loads torch

    if doc_id not in store:
        return None
    depth = min(store.n_docs, max(k, depth))
    for rank, result in enumerate(ExactIndex(store, store.doc_ids).search(query, depth), start=1):
        if result.doc_id == doc_id:
            return ExactRank(rank, result.score, depth)
    return ExactRank(None, None, depth)
