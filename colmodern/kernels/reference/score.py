"""The float32 scores of ``cpu/score.py`` in plain NumPy; sums may differ in their last digits."""

from __future__ import annotations

import ctypes

import numpy as np

from colmodern.kernels.reference.arithmetic import LOWEST, is_filled
from colmodern.kernels.reference.search import (
    choose_more_tokens,
    similarities,
    tokens_of,
)
from colmodern.kernels.types import (
    Bools,
    CodecArrays,
    Floats,
    Int64s,
    NearTokens,
    QueryTables,
    SegmentArrays,
    StoredDocs,
)


def score_decoded(
    docs: Int64s,
    segment: SegmentArrays,
    query: QueryTables,
    codec: CodecArrays,
    margin: int,
    near: NearTokens,
    out: Floats,
) -> None:
    """MaxSim with the decoded tokens, of those within ``margin`` units of the best."""
    for i, doc in enumerate(docs):
        tokens = tokens_of(doc, segment)
        entries = codec.codebook[np.arange(len(codec.codebook)), tokens.residuals]
        lengths = tokens.gains.astype(np.float32) * np.float32(codec.gain_step)
        decoded = codec.centroids[tokens.codes].astype(np.float32)
        decoded *= codec.centroid_scales[tokens.codes, None]
        decoded += lengths[:, None] * entries.reshape(decoded.shape)
        contend = _contenders(doc, segment, query, margin, near.select(slice(i, i + 1)))
        out[i] = _maxsim(contend, query.padded, decoded)


def add_doc_vectors(
    docs: Int64s, segment: SegmentArrays, query: QueryTables, codec: CodecArrays, out: Floats
) -> None:
    """Add to every score what all tokens of its document share."""
    products, vectors = query.doc_products, segment.doc_vectors[docs]
    sums = products[np.arange(len(products)), vectors].sum(axis=1)
    lengths = segment.doc_gains[docs].astype(np.float32) * np.float32(codec.doc_gain_step)
    has_tokens = segment.doc_offsets[docs + 1] > segment.doc_offsets[docs]
    out[has_tokens] += (lengths * sums + np.float32(query.constant))[has_tokens]


def score_stored(
    docs: Int64s,
    segment: SegmentArrays,
    query: QueryTables,
    stored: StoredDocs,
    margin: int,
    near: NearTokens,
    out: Floats,
) -> None:
    """MaxSim with the stored embeddings, of tokens within ``margin`` units of the best."""
    dtype = np.dtype(np.float16 if stored.is_half else np.float32)
    for i, doc in enumerate(docs):
        values = np.zeros((len(tokens_of(doc, segment).codes), stored.dim), dtype)
        ctypes.memmove(values.ctypes.data, int(stored.addresses[i]), values.nbytes)
        contend = _contenders(doc, segment, query, margin, near.select(slice(i, i + 1)))
        out[i] = _maxsim(contend, query.padded, values.astype(np.float32))


def _contenders(
    doc: int, segment: SegmentArrays, query: QueryTables, margin: int, near: NearTokens
) -> Bools:
    """(n_doc_tokens, n_query_tokens) whether a token's integer similarity is near the best."""
    n_lanes, start = query.centroid_scores.shape[2], segment.doc_offsets[doc]
    n_tokens = int(segment.doc_offsets[doc + 1] - start)
    contend = np.zeros((n_tokens, n_lanes * len(query.lanes)), bool)
    for block, mask in enumerate(query.lanes):
        tokens = choose_more_tokens(doc, segment, query, block)
        similar = similarities(tokens, query, block)
        best = np.maximum(near.best[0, block].astype(int), similar.max(axis=0, initial=LOWEST))
        is_near = similar >= np.maximum(best - margin, LOWEST)
        columns = slice(n_lanes * block, n_lanes * (block + 1))
        contend[tokens.indices - start, columns] = is_near & is_filled(mask, n_lanes)
        first = near.starts[0] + block * n_tokens
        for at in range(first, first + near.counts[0, block]):
            contend[near.tokens[at] - start, columns] = is_filled(near.lanes[at], n_lanes)
    return contend


def _maxsim(near: Bools, queries: Floats, tokens: Floats) -> float:
    """Sum over query tokens of the best product with a near token, in float64; NaN if one is not finite.

    Args:
        near: (n_doc_tokens, n_query_tokens).
        queries: (n_query_tokens, dim or more) float32, zeros behind dim.
        tokens: (n_doc_tokens, dim) float32.
    """
    with np.errstate(invalid="ignore"):
        products = tokens.astype(np.float64) @ queries[:, : tokens.shape[1]].astype(np.float64).T
    products[~np.isfinite(products)] = np.nan  # so that no maximum hides it
    best = np.where(near, products, -np.inf).max(axis=0, initial=-np.inf)
    return float(best[best != -np.inf].sum())
