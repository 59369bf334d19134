"""Orders the documents of one request by exact MaxSim, on the scale that clients expect."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from colmodern.index.exact.index import ExactIndex
from colmodern.index.spans import SpanSettings
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.types import Hit, Span


class RankedText(NamedTuple):
    """A document of a request, by its position there; spans are the best first."""

    position: int
    score: float  # MaxSim
    relevance: float  # 0 to 1
    spans: list[Span]  # scores 0 to 1


def rank_texts(
    query: npt.NDArray[np.floating],
    documents: TokenEmbeddings,
    k: int,
    *,
    device: str,
    spans: SpanSettings | None,
    threshold: float = 0.0,
) -> list[RankedText]:
    """The best ``k`` documents, best first; of equal scores the one that came first.

    Args:
        query: (n_query_tokens, dim) unit rows.
        documents: Embeddings of the documents.
        k: Number of documents to return.
        device: Where they are scored.
        spans: How passages are made, None for no passages.
        threshold: Least score of a passage, from 0 to 1.
    """
    if documents.n_docs == 0:
        return []
    width = len(str(documents.n_docs))
    ids = [f"{number:0{width}}" for number in range(documents.n_docs)]  # text in order of number
    results = ExactIndex(documents, ids, device=device).search(query, k, spans=spans or False)
    return [
        RankedText(
            int(result.doc_id),
            float(result.score),
            relevance(result.score, len(query)),
            _scaled(result.spans, len(query), threshold) if isinstance(result, Hit) else [],
        )
        for result in results
    ]


def relevance(score: float, n_query_tokens: int) -> float:
    """A MaxSim score from 0 to 1: its mean over the query's tokens, from [-1, 1] to [0, 1].

    It rises with the score, so that the order of one query's documents stays.
    """
    return min(1.0, max(0.0, (score / n_query_tokens + 1) / 2))


def _scaled(spans: tuple[Span, ...], n_query_tokens: int, threshold: float) -> list[Span]:
    """Passages by the share of a perfect score that they contribute, best first."""
    shares = [span._replace(score=min(1.0, span.score / n_query_tokens)) for span in spans]
    return sorted(
        (span for span in shares if span.score >= threshold), key=lambda span: -span.score
    )
