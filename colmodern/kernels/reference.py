"""MaxSim in plain NumPy: the specification that every faster kernel must equal."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Offsets = npt.NDArray[np.int64]


def maxsim(query: Floats, document: Floats) -> float:
    """Sum, over query tokens, of the best similarity to any document token.

    query: (n_query_tokens, dim) unit rows
    document: (n_doc_tokens, dim) unit rows; 0 tokens scores 0.0

    Accumulates in float32. Source: ColBERT, https://arxiv.org/abs/2004.12832, section 3.3.
    """
    if len(query) == 0 or len(document) == 0:
        return 0.0
    similarities = query.astype(np.float32) @ document.astype(np.float32).T
    return float(similarities.max(axis=1).sum())


def maxsim_scores(
    query_values: Floats, query_offsets: Offsets, doc_values: Floats, doc_offsets: Offsets
) -> npt.NDArray[np.float32]:
    """MaxSim of every query with every document.

    query_values: (n_query_tokens, dim), query_offsets: (n_queries + 1,)
    doc_values: (n_doc_tokens, dim), doc_offsets: (n_docs + 1,)

    Returns (n_queries, n_docs) float32.
    """
    scores = np.zeros((len(query_offsets) - 1, len(doc_offsets) - 1), np.float32)
    for i in range(scores.shape[0]):
        query = query_values[query_offsets[i] : query_offsets[i + 1]]
        for j in range(scores.shape[1]):
            document = doc_values[doc_offsets[j] : doc_offsets[j + 1]]
            scores[i, j] = maxsim(query, document)
    return scores
