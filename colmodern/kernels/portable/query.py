"""A query prepared in NumPy: the arithmetic of ``kernels/cpu/query.py``, without lanes that hold nothing."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from colmodern.kernels.types import (
    DOC_PARTS,
    FEWEST_DOC_PARTS,
    CodecArrays,
    EntryForm,
    WeightForm,
)

Floats = npt.NDArray[np.float32]
Scores = npt.NDArray[np.int16]

FEW_LANES, LANES = 16, 32  # query tokens of a block: up to 16 make one, more make blocks of 32
_LOWEST, _LARGEST = -32_768, 32_767
_CHUNK = 1 << 13  # centroids whose products are made at a time
_EXACT_DIM = 1024  # products of so many int8 pairs are whole numbers in float32

# constants of kernels/cpu/query.py
_HEADROOM = 1.25
_WIDE, _TIGHT = 2.0, 0.5
_ROUNDING_SIGMAS, _LOSS_SIGMAS = 3.0, 4.0
_STEP_DEVIATION = 0.29


class EntryTables(NamedTuple):
    """Products of the query with every codebook entry, for residuals whose bytes name entries.

    tables: (n_bytes, 256, n_tokens) int8; factors: (256,) int64, by gain; shift: of sums, in bits
    """

    tables: npt.NDArray[np.int8]
    factors: npt.NDArray[np.int64]
    shift: int


class Weights(NamedTuple):
    """The query in int8, for residuals of four bits a dimension.

    dims: (dim, n_tokens) whole numbers; levels: (16,) whole numbers; both in a dtype whose products
        are exact. factors: (256,) float32, by gain
    """

    dims: npt.NDArray[np.floating]
    levels: npt.NDArray[np.floating]
    factors: Floats


class PreparedQuery(NamedTuple):
    """A query and its scores with all centroids.

    tokens: (n_tokens, dim) float32; centroid_scores: (n_centroids, n_tokens) int16, in units
    is_probed: (n_centroids,) centroids that count until candidates are scored
    probed_scores: centroid_scores, with the least int16 for the others
    floors: (n_tokens,) int16, what those count
    unit: similarity of one step of the integer scores
    constant: what the corpus mean adds to every document's score, and empty, the integer score of a
        document without tokens
    blocks: columns of the query tokens whose lanes one compiled vector holds
    doc_products: (n_doc_bytes, 256) float32; doc_table: (n_doc_bytes, 256) int16
    doc_factors: (256,) float32, by gain
    doc_parts: bytes of document vectors whose entries vary most
    residuals: the form of the query that compressed residuals are scored with
    refine_slack, score_slack: (256,) int32, by gain; rounding, loss: in units
    """

    tokens: Floats
    centroid_scores: Scores
    is_probed: npt.NDArray[np.bool_]
    probed_scores: Scores
    floors: npt.NDArray[np.int16]
    unit: float
    constant: float
    empty: int
    blocks: tuple[slice, ...]
    doc_products: Floats
    doc_table: npt.NDArray[np.int16]
    doc_factors: Floats
    doc_parts: npt.NDArray[np.int64]
    residuals: EntryTables | Weights
    refine_slack: npt.NDArray[np.int32]
    score_slack: npt.NDArray[np.int32]
    rounding: int
    loss: int


def prepare_query(query: Floats, codec: CodecArrays, n_clusters: int) -> PreparedQuery:
    """Prepare a query of at least one token.

    Args:
        query: (n_tokens, dim) float32.
        codec: Codec of the index.
        n_clusters: As in SearchBudget.
    """
    n, dim = query.shape
    squares = np.add.accumulate(query * query, axis=1, dtype=np.float64)[:, -1]
    longest = math.sqrt(squares.max())
    summed = np.add.accumulate(query, axis=0, dtype=np.float64)[-1]
    unit = max(longest * codec.longest * _HEADROOM / _LARGEST, 1e-12)
    residuals: EntryTables | Weights
    if isinstance(codec.form, EntryForm):
        unit, residuals, residual_error = _entry_tables(query, codec, codec.form, unit)
    else:
        unit, residuals, residual_error = _weights(query, codec, codec.form, longest, unit)

    largest = np.maximum(np.float32(1e-12), np.abs(query).max(axis=1))
    scales = largest / np.float32(127)
    rows = np.rint(query * (np.float32(127) / largest)[:, None])
    query_error = _STEP_DEVIATION * float(scales.max()) * codec.longest
    rounding = _ROUNDING_SIGMAS * (residual_error + query_error) / unit + 3
    loss = rounding + _LOSS_SIGMAS * longest * math.sqrt(codec.error / dim) / unit

    products = _entry_products(codec.doc_codebook, summed.astype(np.float32))
    step = float(np.maximum(np.float32(1e-12), np.abs(products).max(initial=0))) / _LARGEST
    doc_table = np.rint(products * np.float32(1 / step)).astype(np.int16)
    gains = np.arange(256)
    reach = codec.gain_step * codec.reach * longest / unit
    constant = float(np.add.accumulate(summed * codec.mean.astype(np.float64))[-1])
    width = FEW_LANES if n <= FEW_LANES else LANES
    to_units = (scales / unit).astype(np.float32)
    centroid_scores = _score_centroids(rows, to_units, codec.centroids, codec.centroid_scales)
    is_probed, floors = _probed(rows, to_units, codec, n_clusters)
    return PreparedQuery(
        tokens=query,
        centroid_scores=centroid_scores,
        is_probed=is_probed,
        probed_scores=np.where(is_probed[:, None], centroid_scores, np.int16(_LOWEST)),
        floors=floors,
        unit=unit,
        constant=constant,
        empty=int(np.rint(min(max(-constant / unit, -float(1 << 30)), float(1 << 30)))),
        blocks=tuple(slice(start, min(start + width, n)) for start in range(0, n, width)),
        doc_products=products,
        doc_table=doc_table,
        doc_factors=(gains * codec.doc_gain_step * step / unit).astype(np.float32),
        doc_parts=_choose_doc_parts(doc_table),
        residuals=residuals,
        refine_slack=_steps(gains * reach * _TIGHT),
        score_slack=_steps(gains * reach * _WIDE),
        rounding=int(_steps(np.array(math.ceil(rounding)))),
        loss=int(_steps(np.array(math.ceil(loss)))),
    )


def _choose_doc_parts(table: npt.NDArray[np.int16]) -> npt.NDArray[np.int64]:
    """The bytes whose entries vary most; table: (n_doc_bytes, 256)."""
    values = table.astype(np.int64)
    spread = 256 * (values**2).sum(axis=1) - values.sum(axis=1) ** 2
    n = max(min(len(table), FEWEST_DOC_PARTS), len(table) // DOC_PARTS)
    return np.argsort(-spread, kind="stable")[:n]


def to_int16(values: npt.NDArray[np.generic]) -> Scores:
    """int16, staying at its ends."""
    rounded: Scores = np.clip(values, _LOWEST, _LARGEST).astype(np.int16)
    return rounded


def exact_dtype(dim: int) -> type[np.floating]:
    """The float in which a product of ``dim`` pairs of int8 is exact."""
    return np.float32 if dim <= _EXACT_DIM else np.float64


def _probed(
    rows: Floats, scales: Floats, codec: CodecArrays, n_clusters: int
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int16]]:
    """The centroids of the clusters nearest to a query token, and the score of the farthest of these."""
    floors, clusters = np.full(len(rows), _LOWEST, np.int16), codec.clusters
    n_all = 0 if clusters is None else len(clusters.offsets) - 1
    is_probed = np.ones(len(codec.centroids), bool)
    if clusters is None or not 0 < n_clusters < n_all:
        return is_probed, floors
    scores = _score_centroids(rows, scales, clusters.means.values, clusters.means.scales)
    floors = np.sort(scores, axis=0)[-n_clusters]
    is_chosen = (scores >= floors).any(axis=1)
    is_probed[clusters.members] = np.repeat(is_chosen, np.diff(clusters.offsets))
    return is_probed, floors


def _score_centroids(
    rows: Floats, scales: Floats, centroids: npt.NDArray[np.int8], centroid_scales: Floats
) -> Scores:
    """(n_centroids, n_tokens) int16 scores; rows: the query in whole numbers, scales: to units."""
    dtype = exact_dtype(rows.shape[1])
    out = np.empty((len(centroids), len(rows)), np.int16)
    columns = np.ascontiguousarray(rows.T, dtype)
    for start in range(0, len(out), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        products = (centroids[chunk].astype(dtype) @ columns).astype(np.float32)
        out[chunk] = to_int16(np.rint(products * centroid_scales[chunk, None] * scales))
    return out


def _entry_products(codebook: Floats, summed: Floats) -> Floats:
    """(n_bytes, 256) float32 products of a vector with every codebook entry, summed in order."""
    n_bytes, width, n_entries = codebook.shape
    parts = summed.reshape(n_bytes, width)
    products = np.zeros((n_bytes, n_entries), np.float32)
    for j in range(width):
        products += codebook[:, j] * parts[:, None, j]
    return products


def _entry_tables(
    query: Floats, codec: CodecArrays, form: EntryForm, unit: float
) -> tuple[float, EntryTables, float]:
    """A coarser unit where residuals need it, the tables, and the deviation of their rounding."""
    n_bytes, _, width = codec.codebook.shape
    parts = np.ascontiguousarray(query.T).reshape(n_bytes, width, len(query))
    products = np.zeros((n_bytes, 256, len(query)), np.float32)
    for j in range(width):  # fused: one rounding, after the product and the sum
        exact = codec.codebook[:, :, j, None].astype(np.float64) * parts[:, None, j]
        products = (exact + products).astype(np.float32)
    largest = max(1e-12, float(np.abs(products).max(initial=0)))
    entry_unit = largest / form.largest_entry
    of_sums = codec.gain_step * entry_unit * 2.0 ** (16 - form.shift)
    unit = max(unit, 255 * of_sums / _LARGEST)
    tables = np.rint(products * np.float32(1 / entry_unit)).astype(np.int8)
    factors = _steps(np.arange(256) * of_sums / unit).astype(np.int64)
    error = _STEP_DEVIATION * entry_unit * math.sqrt(n_bytes) * 255 * codec.gain_step
    return unit, EntryTables(tables, factors, int(form.shift)), error


def _weights(
    query: Floats, codec: CodecArrays, form: WeightForm, longest: float, unit: float
) -> tuple[float, Weights, float]:
    """The same for residuals of four bits a dimension."""
    levels, scales = form
    dim = query.shape[1]
    unit = max(unit, 255 * codec.gain_step * longest * _HEADROOM / _LARGEST)
    weighted = query * scales
    largest = np.maximum(np.float32(1e-12), np.abs(weighted).max())
    step = float(largest) / 127
    dims = np.rint(weighted * np.float32(1 / step))
    factors = (np.arange(256) * (codec.gain_step / unit) * step).astype(np.float32)
    spread = math.sqrt(float(np.square(levels, dtype=np.float64).sum()) / 16 * dim)
    dtype = exact_dtype(dim)
    made = Weights(np.ascontiguousarray(dims.T, dtype), levels.astype(dtype), factors)
    return unit, made, _STEP_DEVIATION * step * spread * 255 * codec.gain_step


def _steps(values: npt.NDArray[np.generic]) -> npt.NDArray[np.int32]:
    """Whole numbers as far as int16 holds them."""
    steps: npt.NDArray[np.int32] = np.clip(np.rint(values), 0, _LARGEST).astype(np.int32)
    return steps
