"""The float32 scores of ``final.py`` in plain NumPy; sums may differ in their last digits."""

from __future__ import annotations

import ctypes

import numpy as np

from colmodern.kernels.reference import Array, choose_more_tokens, is_filled, similarities
from colmodern.kernels.types import NearTokens, ResidualQuery


def score_decoded(
    docs: Array,
    doc_offsets: Array,
    codes: Array,
    gains: Array,
    residuals: Array,
    centroid_scores: Array,
    lanes: Array,
    query: ResidualQuery,
    slack: Array,
    more_slack: Array,
    margin: int,
    near: NearTokens,
    queries: Array,
    centroids: Array,
    centroid_scales: Array,
    codebook: Array,
    gain_step: float,
    out: Array,
) -> None:
    """MaxSim with the decoded tokens, of those within ``margin`` units of the best."""
    for i, doc in enumerate(docs):
        start, stop = int(doc_offsets[doc]), int(doc_offsets[doc + 1])
        contend = _contenders(
            start, stop, codes, gains, residuals, centroid_scores, lanes, query, slack, more_slack,
            margin, near.select(slice(i, i + 1)),
        )  # fmt: skip
        rows = codes[start:stop]
        parts = codebook[np.arange(len(codebook)), residuals[start:stop]]
        lengths = gains[start:stop].astype(np.float32) * np.float32(gain_step)
        decoded = centroids[rows].astype(np.float32) * centroid_scales[rows, None]
        decoded += lengths[:, None] * parts.reshape(decoded.shape)
        out[i] = _maxsim(contend, queries, decoded)


def add_doc_vectors(
    docs: Array,
    doc_offsets: Array,
    doc_gains: Array,
    doc_vectors: Array,
    products: Array,
    gain_step: float,
    constant: float,
    out: Array,
) -> None:
    """Add to every score what all tokens of its document share."""
    parts = products[np.arange(len(products)), doc_vectors[docs]]
    lengths = doc_gains[docs].astype(np.float32) * np.float32(gain_step)
    filled = doc_offsets[docs + 1] > doc_offsets[docs]
    out[filled] += (lengths * parts.sum(axis=1) + np.float32(constant))[filled]


def score_stored(
    docs: Array,
    doc_offsets: Array,
    codes: Array,
    gains: Array,
    residuals: Array,
    centroid_scores: Array,
    lanes: Array,
    query: ResidualQuery,
    slack: Array,
    more_slack: Array,
    margin: int,
    near: NearTokens,
    queries: Array,
    addresses: Array,
    dim: int,
    is_half: bool,
    out: Array,
) -> None:
    """MaxSim with the stored embeddings, of tokens within ``margin`` units of the best."""
    dtype = np.dtype(np.float16 if is_half else np.float32)
    for i, doc in enumerate(docs):
        start, stop = int(doc_offsets[doc]), int(doc_offsets[doc + 1])
        contend = _contenders(
            start, stop, codes, gains, residuals, centroid_scores, lanes, query, slack, more_slack,
            margin, near.select(slice(i, i + 1)),
        )  # fmt: skip
        stored = np.zeros((stop - start, dim), dtype)
        ctypes.memmove(stored.ctypes.data, int(addresses[i]), stored.nbytes)
        out[i] = _maxsim(contend, queries, stored.astype(np.float32))


def _contenders(
    start: int,
    stop: int,
    codes: Array,
    gains: Array,
    residuals: Array,
    centroid_scores: Array,
    lanes: Array,
    query: ResidualQuery,
    slack: Array,
    more_slack: Array,
    margin: int,
    near: NearTokens,
) -> Array:
    """(n_doc_tokens, n_query_tokens) whether a token's integer similarity is near the best."""
    n_lanes = centroid_scores.shape[2]
    contend = np.zeros((stop - start, n_lanes * len(lanes)), bool)
    for block, rows in enumerate(centroid_scores):
        tokens = choose_more_tokens(
            start, stop, codes, gains, rows, lanes[block], slack, more_slack
        )
        found = similarities(tokens, rows, query, block, codes, gains, residuals)
        best = np.maximum(near.best[0, block].astype(int), found.max(axis=0, initial=-32_768))
        columns = slice(n_lanes * block, n_lanes * (block + 1))
        contend[np.array(tokens, int) - start, columns] = (
            found >= np.maximum(best - margin, -32_768)
        ) & is_filled(lanes[block], n_lanes)
        first = near.starts[0] + block * (stop - start)
        for at in range(first, first + near.counts[0, block]):
            contend[near.tokens[at] - start, columns] = is_filled(near.lanes[at], n_lanes)
    return contend


def _maxsim(near: Array, queries: Array, tokens: Array) -> float:
    """Sum over query tokens of the best product with a near token, in float64; NaN if one is not finite.

    near: (n_doc_tokens, n_query_tokens); queries: (n_query_tokens, dim and more), zeros behind dim
    """
    with np.errstate(invalid="ignore"):
        products = tokens.astype(np.float64) @ queries[:, : tokens.shape[1]].astype(np.float64).T
    products[~np.isfinite(products)] = np.nan  # so that no maximum hides it
    best = np.where(near, products, -np.inf).max(axis=0, initial=-np.inf)
    return float(best[best != -np.inf].sum())
