"""The kernels of ``cuda/`` in plain NumPy: float32 scores, whose last digits may differ.

Queries are padded to lanes: rows of zeros, which are similar to nothing and add 0.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from colmodern.kernels.reference import Array, Floats, Offsets, maxsim, maxsim_scores

Scores = npt.NDArray[np.float32]


class Codebook(NamedTuple):
    """entries: (n_bytes or 1, 256, span); scales: (dim,) of entries that bytes share, or None."""

    entries: Array
    scales: Array | None


class Tokens(NamedTuple):
    """doc_offsets: (n_docs + 1,); codes, gains: (n_tokens,); residuals: (n_tokens, n_bytes)."""

    doc_offsets: Array
    codes: Array
    gains: Array
    residuals: Array


class Table(NamedTuple):
    """values: (n_centroids, n_columns) uint8; lows, steps: (n_columns,)."""

    values: Array
    lows: Array
    steps: Array


def maxsim_scores_int8(
    query_values: Floats,
    query_offsets: Offsets,
    doc_values: Array,
    doc_scales: Array,
    doc_offsets: Offsets,
) -> Scores:
    """MaxSim of every query with every document of (n_tokens, dim) int8 times (n_tokens,) scales."""
    decoded = doc_values.astype(np.float32) * doc_scales[:, None]
    return maxsim_scores(query_values, query_offsets, decoded, doc_offsets)


def quantize_tokens(values: Array) -> tuple[Array, Array]:
    """Tokens rounded to 255 steps of their largest value: (n_tokens, dim) int8 and (n_tokens,) scales."""
    given = values.astype(np.float32)
    largest = np.maximum(np.abs(given).max(axis=1, initial=0), np.float32(1e-30))
    by = np.float32(127) / largest
    rows = np.rint(given * by[:, None]).astype(np.int8)
    return rows, largest / np.float32(127)


def score_documents(
    queries: Array, docs: Array | None, doc_values: Array, doc_offsets: Array
) -> Scores:
    """MaxSim of (n_queries, n_lanes, dim) queries with all documents, (n,) or (n_queries, n)."""

    def score(query: int, doc: int) -> float:
        return maxsim(queries[query], doc_values[doc_offsets[doc] : doc_offsets[doc + 1]])

    return _each(score, len(queries), docs, len(doc_offsets) - 1)


def centroid_table(
    queries: Array, centroids: Array, centroid_scales: Array
) -> tuple[Array, Array, Array]:
    """(n_centroids, n_queries * n_lanes) similarities as float16; each column's least and largest."""
    columns = queries.reshape(-1, queries.shape[2])
    table = (centroids.astype(np.float32) @ columns.T) * centroid_scales[:, None]
    return table.astype(np.float16), table.min(axis=0), table.max(axis=0)


def table_to_bytes(table: Array, lows: Array, highs: Array, n_lanes: int) -> Table:
    """255 steps between each column's least and largest value, halves upwards."""
    steps = np.maximum((highs - lows) / np.float32(255), np.float32(1e-30))
    values = np.floor((table.astype(np.float32) - lows) / steps + np.float32(0.5))
    return Table(np.clip(values, 0, 255).astype(np.uint8), lows, steps)


def scan_codes(
    docs: Array | None, tokens: Tokens, table: Table, constants: Array, n_lanes: int
) -> Scores:
    """MaxSim with every token replaced by its centroid, plus a constant; 0 without tokens."""
    offsets = tokens.doc_offsets

    def score(query: int, doc: int) -> float:
        columns = slice(query * n_lanes, (query + 1) * n_lanes)
        rows = table.values[tokens.codes[offsets[doc] : offsets[doc + 1]], columns]
        if len(rows) == 0:
            return 0.0
        best = table.lows[columns] + table.steps[columns] * rows.max(axis=0)
        return float(best.sum() + constants[query])

    return _each(score, len(constants), docs, len(offsets) - 1)


def score_tokens(
    queries: Array,
    docs: Array | None,
    tokens: Tokens,
    table: Array,
    codebook: Codebook,
    gain_step: Array,
    constants: Array,
) -> Scores:
    """MaxSim with compressed tokens: the centroid's part from the table, plus a constant."""
    lanes = queries.shape[1]

    def score(query: int, doc: int) -> float:
        rows = slice(tokens.doc_offsets[doc], tokens.doc_offsets[doc + 1])
        if rows.start == rows.stop:
            return 0.0
        near = table[tokens.codes[rows], query * lanes : (query + 1) * lanes].astype(np.float32)
        rest = _residuals(tokens, rows, codebook, gain_step) @ queries[query].T
        return float((near + rest).max(axis=0).sum() + constants[query])

    return _each(score, len(queries), docs, len(tokens.doc_offsets) - 1)


def score_decoded(
    queries: Array,
    docs: Array | None,
    tokens: Tokens,
    centroids: Array,
    centroid_scales: Array,
    codebook: Codebook,
    gain_step: Array,
    constants: Array,
) -> Scores:
    """The same with the centroids themselves."""

    def score(query: int, doc: int) -> float:
        rows = slice(tokens.doc_offsets[doc], tokens.doc_offsets[doc + 1])
        if rows.start == rows.stop:
            return 0.0
        codes = tokens.codes[rows]
        decoded = centroids[codes].astype(np.float32) * centroid_scales[codes, None]
        decoded += _residuals(tokens, rows, codebook, gain_step)
        return maxsim(queries[query], decoded) + float(constants[query])

    return _each(score, len(queries), docs, len(tokens.doc_offsets) - 1)


def _residuals(tokens: Tokens, rows: slice, codebook: Codebook, gain_step: Array) -> Array:
    """(n, dim) float32 what a centroid leaves over."""
    residuals = tokens.residuals[rows]
    entries, n_bytes = codebook.entries.astype(np.float32), residuals.shape[1]
    parts = entries[np.arange(n_bytes) % len(entries), residuals]
    directions = parts.reshape(len(residuals), n_bytes * entries.shape[2])
    if codebook.scales is not None:
        directions = directions * codebook.scales
    lengths = tokens.gains[rows].astype(np.float32) * gain_step[0]
    scaled: Array = directions * lengths[:, None]
    return scaled


def _each(score: Any, n_queries: int, docs: Array | None, n_docs: int) -> Scores:
    """score(query, doc) of all documents, of some, or of each query's own."""
    chosen = np.arange(n_docs) if docs is None else docs
    chosen = np.broadcast_to(chosen, (n_queries, chosen.shape[-1]))
    out = [[score(query, int(doc)) for doc in row] for query, row in enumerate(chosen)]
    return np.array(out, np.float32).reshape(chosen.shape)
