"""Exact MaxSim in plain NumPy."""

from __future__ import annotations

import numpy as np

from colmodern.kernels.types import Floats, Int64s, Values


def maxsim(query: Values, document: Values) -> float:
    """Sum, over query tokens, of the best similarity to any document token.

    Accumulates in float32. Source: ColBERT, https://arxiv.org/abs/2004.12832, section 3.3.

    Args:
        query: (n_query_tokens, dim) unit rows.
        document: (n_doc_tokens, dim) unit rows; 0 tokens score 0.0.
    """
    if len(query) == 0 or len(document) == 0:
        return 0.0
    similarities = query.astype(np.float32) @ document.astype(np.float32).T
    return float(similarities.max(axis=1).sum())


def maxsim_scores(
    query_values: Values, query_offsets: Int64s, doc_values: Values, doc_offsets: Int64s
) -> Floats:
    """MaxSim of every query with every document.

    Args:
        query_values: (n_query_tokens, dim).
        query_offsets: (n_queries + 1,) int64.
        doc_values: (n_doc_tokens, dim).
        doc_offsets: (n_docs + 1,) int64.

    Returns:
        (n_queries, n_docs) float32.
    """
    scores = np.zeros((len(query_offsets) - 1, len(doc_offsets) - 1), np.float32)
    for i in range(scores.shape[0]):
        query = query_values[query_offsets[i] : query_offsets[i + 1]]
        for j in range(scores.shape[1]):
            document = doc_values[doc_offsets[j] : doc_offsets[j + 1]]
            scores[i, j] = maxsim(query, document)
    return scores
