"""What is worked out once a query: its similarity to all centroids and to all codebook entries."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numba import types
from numba.extending import overload

from colmodern.kernels.cpu.clusters import choose_centroids
from colmodern.kernels.cpu.int8 import fill_query_bytes
from colmodern.kernels.cpu.ir.vectors import FEW_LANES, LANES
from colmodern.kernels.cpu.jit import borrowing, compiled
from colmodern.kernels.cpu.probe import CHUNK, score_centroids
from colmodern.kernels.cpu.residual_query import (
    choose_doc_parts,
    fill_doc_tables,
    fill_tables,
    make_weight_query,
)
from colmodern.kernels.types import (
    CentroidRows,
    CodecArrays,
    EntryForm,
    Floats,
    Masks,
    QueryTables,
    ResidualQuery,
    TableQuery,
    WeightForm,
    WeightQuery,
)

_HEADROOM = 1.25  # int16 holds a centroid's similarity this many times, to add a residual's
_LARGEST = 32_767  # the largest int16
# slack in reaches of the codec: half of one is enough to choose the last candidates; for final
# scores two, since the best token by centroid may lose a reach while another gains one
_REFINE_REACHES = 0.5
_SCORE_REACHES = 2.0
_ROUNDING_SIGMAS = 3.0  # integer scores are trusted up to this many deviations of their rounding
_LOSS_SIGMAS = 4.0  # the same for what compression lost, when embeddings are at hand
_STEP_DEVIATION = 0.29  # standard deviation of a rounding to whole steps


@compiled
def prepare_query(query: Floats, codec: CodecArrays, n_clusters: int) -> QueryTables:
    """The QueryTables of a query, whose centroid_scores and maxima fill_centroid_scores writes.

    Args:
        query: (n_query_tokens, dim) float32, at least one token.
        codec: The index's codec.
        n_clusters: As in SearchBudget.
    """
    n, dim = query.shape
    n_lanes = LANES if n > FEW_LANES else FEW_LANES
    masks = _masks_of(n, n_lanes)
    n_blocks = len(masks)
    padded = np.zeros((n_blocks * n_lanes, -(-dim // 32) * 32), np.float32)
    longest, summed = 0.0, np.zeros(dim, np.float64)
    for token in range(n):
        square = 0.0
        for d in range(dim):
            padded[token, d] = query[token, d]
            square += query[token, d] * query[token, d]
            summed[d] += query[token, d]
        longest = max(longest, math.sqrt(square))
    unit = max(longest * codec.longest * _HEADROOM / _LARGEST, 1e-12)
    unit, residual_query, residual_error = _residual_query(
        codec.form, codec, padded, masks, n_lanes, longest, unit
    )

    query_bytes = np.empty((n_blocks, dim // 4, n_lanes, 4), np.uint8)
    lane_scales = np.empty((n_blocks, n_lanes), np.float32)
    query_bytes[:] = 128
    lane_scales[:] = np.float32(1e-12 / 127)
    fill_query_bytes(query, query_bytes, lane_scales)
    coarsest, constant = np.float32(0), 0.0
    for lane in range(n_blocks * n_lanes):
        scale = lane_scales[lane // n_lanes, lane % n_lanes] if lane < n else np.float32(0)
        lane_scales[lane // n_lanes, lane % n_lanes] = scale / unit
        coarsest = max(coarsest, scale)
    query_error = _STEP_DEVIATION * coarsest * codec.longest
    rounding = _ROUNDING_SIGMAS * (residual_error + query_error) / unit + 3
    loss = rounding + _LOSS_SIGMAS * longest * math.sqrt(codec.error / dim) / unit

    for d in range(dim):
        constant += summed[d] * codec.mean[d]
    n_doc_bytes = len(codec.doc_codebook)
    products = np.empty((n_doc_bytes, 256), np.float32)
    table = np.empty((n_doc_bytes, 256), np.int16)
    step = fill_doc_tables(codec.doc_codebook, summed.astype(np.float32), products, table)
    doc_factors, reach = np.empty(256, np.float32), codec.gain_step * codec.reach * longest / unit
    refine_slack, score_slack = np.empty(256, np.int16), np.empty(256, np.int16)
    for gain in range(256):
        doc_factors[gain] = gain * codec.doc_gain_step * step / unit
        refine_slack[gain] = _step(np.rint(gain * reach * _REFINE_REACHES))
        score_slack[gain] = _step(np.rint(gain * reach * _SCORE_REACHES))
    probed, known, floors = choose_centroids(
        codec.clusters, codec.numbers, query_bytes, lane_scales, masks, n_clusters
    )
    return QueryTables(
        n,
        unit,
        constant,
        # within int32, also for centroids of length 0
        int(np.rint(min(max(-constant / unit, -float(1 << 30)), float(1 << 30)))),
        padded,
        query_bytes,
        lane_scales,
        probed,
        known,
        floors,
        np.empty((n_blocks, len(codec.centroids), n_lanes), np.int16),
        np.empty((n_blocks, -(-len(probed) // CHUNK), n_lanes), np.int16),
        masks,
        products,
        table,
        doc_factors,
        choose_doc_parts(table),
        residual_query,
        refine_slack,
        score_slack,
        _step(math.ceil(rounding)),
        _step(math.ceil(loss)),
    )


@borrowing
def fill_centroid_scores(query: QueryTables, codec: CodecArrays, start: int, stop: int) -> None:
    """Write the scores and maxima of chunks start to stop of the probed centroids."""
    centroids = CentroidRows(codec.centroids, codec.centroid_scales, codec.centroid_sums)
    probed, last = query.probed, min(stop * CHUNK, len(query.probed))
    for block in range(len(query.lanes)):
        bytes_, scales, mask = (
            query.query_bytes[block],
            query.lane_scales[block],
            query.lanes[block],
        )
        scores, maxima = query.centroid_scores[block], query.maxima[block]
        score_centroids(
            centroids, probed, bytes_, scales, mask, start * CHUNK, last, scores, maxima
        )


@compiled
def _masks_of(n_tokens: int, n_lanes: int) -> Masks:
    """(n_blocks,) uint32 masks of the blocks of ``n_lanes`` that hold so many tokens."""
    masks = np.empty(-(-n_tokens // n_lanes), np.uint32)
    for block in range(len(masks)):
        masks[block] = (1 << min(n_tokens - block * n_lanes, n_lanes)) - 1
    return masks


@borrowing
def _step(value: float) -> int:
    """A number as a whole one within int16, at least 0."""
    return int(min(max(value, 0.0), float(_LARGEST)))


def _residual_query(
    form: EntryForm | WeightForm,
    codec: CodecArrays,
    padded: Floats,
    masks: Masks,
    n_lanes: int,
    longest: float,
    unit: float,
) -> tuple[float, ResidualQuery, float]:
    """The query for residuals of a form.

    Returns:
        The unit, coarser where residuals need it; a ResidualQuery; the deviation of its rounding.
    """
    raise NotImplementedError("for compiled code")


@overload(_residual_query, strict=False)  # type: ignore[untyped-decorator]
def _residual_query_of(
    form: types.BaseTuple,
    codec: types.Type,
    padded: types.Type,
    masks: types.Type,
    n_lanes: types.Type,
    longest: types.Type,
    unit: types.Type,
) -> Callable[..., tuple[float, ResidualQuery, float]]:
    return _table_query if form.instance_class is EntryForm else _weight_query


def _table_query(
    form: EntryForm,
    codec: CodecArrays,
    padded: Floats,
    masks: Masks,
    n_lanes: int,
    longest: float,
    unit: float,
) -> tuple[float, TableQuery, float]:
    n_blocks, dim, n_bytes = len(masks), len(codec.mean), len(codec.codebook)
    by_dim = np.empty((n_blocks, dim, n_lanes), np.float32)
    for block in range(n_blocks):
        for lane in range(n_lanes):
            for d in range(dim):
                by_dim[block, d, lane] = padded[block * n_lanes + lane, d]
    tables = np.empty((n_blocks, n_bytes, 256, n_lanes), np.int8)
    largest = 1e-12
    for block in range(n_blocks):
        tops = fill_tables(codec.codebook, by_dim[block], masks[0], np.float32(0), tables[block])
        for top in tops:
            largest = max(largest, top)
    entry_unit = largest / form.largest_entry
    sum_step = codec.gain_step * entry_unit * 2.0 ** (16 - form.shift)  # similarity, per gain
    unit = max(unit, 255 * sum_step / _LARGEST)
    for block in range(n_blocks):
        scale = np.float32(1 / entry_unit)
        fill_tables(codec.codebook, by_dim[block], masks[0], scale, tables[block])
    factors = np.empty(256, np.int16)
    for gain in range(256):
        factors[gain] = _step(np.rint(gain * sum_step / unit))
    error = _STEP_DEVIATION * entry_unit * math.sqrt(n_bytes) * 255 * codec.gain_step
    return unit, TableQuery(tables, factors, np.int16(form.shift)), error


def _weight_query(
    form: WeightForm,
    codec: CodecArrays,
    padded: Floats,
    masks: Masks,
    n_lanes: int,
    longest: float,
    unit: float,
) -> tuple[float, WeightQuery, float]:
    unit = max(unit, 255 * codec.gain_step * longest * _HEADROOM / _LARGEST)
    gain_units = codec.gain_step / unit
    query, step = make_weight_query(padded, n_lanes, form.levels, form.scales, gain_units)
    square = 0.0
    for level in form.levels:
        square += float(level) * float(level)
    spread = math.sqrt(square / 16 * len(codec.mean))
    return unit, query, _STEP_DEVIATION * step * spread * 255 * codec.gain_step
