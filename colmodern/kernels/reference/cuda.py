"""The kernels of ``cuda/`` in plain NumPy: float32 scores, whose last digits may differ.

Queries are padded to lanes: rows of zeros, which are similar to nothing and add 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from colmodern.kernels.reference.maxsim import maxsim
from colmodern.kernels.types import Bytes, Floats, Int8s, Int64s, Values

Docs = npt.NDArray[np.integer]
Halves = npt.NDArray[np.float16]


class Codebook(NamedTuple):
    """Directions that a byte names.

    Attributes:
        entries: (n_bytes, 256, span) floats, or (1, 256, span) shared by all bytes.
        scales: (dim,) float32 factors of shared entries, or None.
    """

    entries: Values
    scales: Floats | None


class Tokens(NamedTuple):
    """Compressed tokens of documents.

    Attributes:
        doc_offsets: (n_docs + 1,) int64.
        codes: (n_tokens,) centroid of each token.
        gains: (n_tokens,) uint8.
        residuals: (n_tokens, n_bytes) uint8.
    """

    doc_offsets: Int64s
    codes: npt.NDArray[np.integer]
    gains: Bytes
    residuals: Bytes


class Table(NamedTuple):
    """Similarities of centroids to query tokens: lows + steps * values.

    Attributes:
        values: (n_centroids, n_columns) uint8.
        lows: (n_columns,) float32.
        steps: (n_columns,) float32.
    """

    values: Bytes
    lows: Floats
    steps: Floats


def quantize_tokens(values: Values) -> tuple[Int8s, Floats]:
    """Tokens rounded to 255 steps of their largest value: (n_tokens, dim) int8 and (n_tokens,) scales."""
    floats = values.astype(np.float32)
    largest = np.maximum(np.abs(floats).max(axis=1, initial=0), np.float32(1e-30))
    by = np.float32(127) / largest
    return np.rint(floats * by[:, None]).astype(np.int8), largest / np.float32(127)


def score_documents(
    queries: Values, docs: Docs | None, doc_values: Values, doc_offsets: Int64s
) -> Floats:
    """MaxSim of (n_queries, n_lanes, dim) queries with all documents, (n,) or (n_queries, n)."""

    def score(query: int, doc: int) -> float:
        return maxsim(queries[query], doc_values[doc_offsets[doc] : doc_offsets[doc + 1]])

    return _each(score, len(queries), docs, len(doc_offsets) - 1)


def centroid_table(
    queries: Floats, centroids: Int8s, centroid_scales: Floats
) -> tuple[Halves, Floats, Floats]:
    """(n_centroids, n_queries * n_lanes) similarities as float16; each column's least and largest."""
    columns = queries.reshape(-1, queries.shape[2])
    table = (centroids.astype(np.float32) @ columns.T) * centroid_scales[:, None]
    return table.astype(np.float16), table.min(axis=0), table.max(axis=0)


def table_to_bytes(table: Halves, lows: Floats, highs: Floats, n_lanes: int) -> Table:
    """255 steps between each column's least and largest value, halves upwards."""
    steps = np.maximum((highs - lows) * np.float32(1 / 255), np.float32(1e-30))
    values = np.floor((table.astype(np.float32) - lows) / steps + np.float32(0.5))
    return Table(np.clip(values, 0, 255).astype(np.uint8), lows, steps)


def scan_codes(
    docs: Docs | None, tokens: Tokens, table: Table, constants: Floats, n_lanes: int
) -> Floats:
    """MaxSim with every token replaced by its centroid, plus a constant; 0 without tokens."""
    offsets = tokens.doc_offsets

    def score(query: int, doc: int) -> float:
        columns = slice(query * n_lanes, (query + 1) * n_lanes)
        values = table.values[tokens.codes[offsets[doc] : offsets[doc + 1]], columns]
        if len(values) == 0:
            return 0.0
        best = table.lows[columns] + table.steps[columns] * values.max(axis=0)
        return float(best.sum() + constants[query])

    return _each(score, len(constants), docs, len(offsets) - 1)


def score_tokens(
    queries: Floats,
    docs: Docs | None,
    tokens: Tokens,
    table: Halves,
    codebook: Codebook,
    gain_step: Floats,
    constants: Floats,
) -> Floats:
    """MaxSim with compressed tokens: the centroid's part from the table, plus a constant."""
    lanes = queries.shape[1]

    def score(query: int, doc: int) -> float:
        of_doc = slice(tokens.doc_offsets[doc], tokens.doc_offsets[doc + 1])
        if of_doc.start == of_doc.stop:
            return 0.0
        near = table[tokens.codes[of_doc], query * lanes : (query + 1) * lanes].astype(np.float32)
        rest = _residuals(tokens, of_doc, codebook, gain_step) @ queries[query].T
        return float((near + rest).max(axis=0).sum() + constants[query])

    return _each(score, len(queries), docs, len(tokens.doc_offsets) - 1)


def score_decoded(
    queries: Floats,
    docs: Docs | None,
    tokens: Tokens,
    centroids: Int8s,
    centroid_scales: Floats,
    codebook: Codebook,
    gain_step: Floats,
    constants: Floats,
) -> Floats:
    """The same with the centroids themselves."""

    def score(query: int, doc: int) -> float:
        of_doc = slice(tokens.doc_offsets[doc], tokens.doc_offsets[doc + 1])
        if of_doc.start == of_doc.stop:
            return 0.0
        codes = tokens.codes[of_doc]
        decoded = centroids[codes].astype(np.float32) * centroid_scales[codes, None]
        decoded += _residuals(tokens, of_doc, codebook, gain_step)
        return maxsim(queries[query], decoded) + float(constants[query])

    return _each(score, len(queries), docs, len(tokens.doc_offsets) - 1)


def _residuals(tokens: Tokens, of_doc: slice, codebook: Codebook, gain_step: Floats) -> Floats:
    """(n, dim) float32 what a centroid leaves over."""
    residuals = tokens.residuals[of_doc]
    entries, n_bytes = codebook.entries.astype(np.float32), residuals.shape[1]
    by_byte = entries[np.arange(n_bytes) % len(entries), residuals]
    directions = by_byte.reshape(len(residuals), n_bytes * entries.shape[2])
    if codebook.scales is not None:
        directions = directions * codebook.scales
    lengths = tokens.gains[of_doc].astype(np.float32) * gain_step[0]
    scaled: Floats = directions * lengths[:, None]
    return scaled


def _each(
    score: Callable[[int, int], float], n_queries: int, docs: Docs | None, n_docs: int
) -> Floats:
    """score(query, doc) of all documents, of those in (n,) docs, or of each query's own."""
    scored: Docs = np.arange(n_docs) if docs is None else docs
    scored = np.broadcast_to(scored, (n_queries, scored.shape[-1]))
    out = [[score(query, int(doc)) for doc in row] for query, row in enumerate(scored)]
    return np.array(out, np.float32).reshape(scored.shape)
