"""Exact MaxSim with documents kept as int8: a quarter of float32's bytes, and products of bytes.

Every token is rounded to 255 steps of its own largest value, which moves a similarity by about a
thousandth; nothing else is approximate.
"""

from __future__ import annotations

import numpy as np
from numba import uint64

from colmodern.kernels.cpu.ir import dots, simd
from colmodern.kernels.cpu.ir.vectors import lanes_of, masks_of
from colmodern.kernels.cpu.jit import borrowing, compiled
from colmodern.kernels.types import (
    Bytes,
    Floats,
    Int8s,
    Int32s,
    Int64s,
    Mask,
    Values,
    Vector,
)

_LOWEST = np.float32(-3.4e38)


@compiled
def quantize_tokens(values: Floats, rounded: Int8s, scales: Floats, sums: Int32s) -> None:
    """Round tokens to int8.

    Args:
        values: (n_tokens, dim) float32, dim a multiple of 4.
        rounded: (n_tokens, dim) int8, written; a row times its scale is the token.
        scales: (n_tokens,) float32, written.
        sums: (n_tokens,) int32, written: 128 times the sum of each row.
    """
    for token in range(values.shape[0]):
        largest = np.float32(1e-30)
        for d in range(values.shape[1]):
            largest = max(largest, abs(values[token, d]))
        by, total = np.float32(127) / largest, np.int32(0)
        for d in range(values.shape[1]):
            value = np.int32(np.rint(values[token, d] * by))
            rounded[token, d] = value
            total += value
        scales[token] = largest / np.float32(127)
        sums[token] = 128 * total


@compiled
def maxsim_int8(
    query_bytes: Bytes,
    lane_scales: Floats,
    mask: Mask,
    doc_offsets: Int64s,
    rounded: Int8s,
    scales: Floats,
    sums: Int32s,
    out: Floats,
) -> None:
    """Add one block of up to 16 or 32 query tokens to every document's MaxSim.

    Args:
        query_bytes: (dim / 4, n_lanes, 4) uint8, the query as int8, plus 128.
        lane_scales: (n_lanes,) float32.
        mask: Mask of the block.
        doc_offsets: (n_docs + 1,) int64.
        rounded: (n_tokens, dim) int8, as quantize_tokens wrote them.
        scales: (n_tokens,) float32, likewise.
        sums: (n_tokens,) int32, likewise.
        out: (n_docs,) float32, added to; a document without tokens adds 0.
    """
    dim = rounded.shape[1]
    queries, first = uint64(query_bytes.ctypes.data), uint64(rounded.ctypes.data)
    n_lanes, best_of = simd.n_lanes(mask), np.empty(len(lane_scales), np.float32)
    for doc in range(len(doc_offsets) - 1):
        start, stop = doc_offsets[doc], doc_offsets[doc + 1]
        best = simd.splat_f32(_LOWEST, mask)
        for token in range(start, stop, 6):
            # six tokens at a time hide the latency of the products; the last one repeats
            b_at, c_at = min(token + 1, stop - 1), min(token + 2, stop - 1)
            d_at, e_at = min(token + 3, stop - 1), min(token + 4, stop - 1)
            f_at = min(token + 5, stop - 1)
            row_a, row_b = first + uint64(token * dim), first + uint64(b_at * dim)
            row_c, row_d = first + uint64(c_at * dim), first + uint64(d_at * dim)
            row_e, row_f = first + uint64(e_at * dim), first + uint64(f_at * dim)
            a, b = simd.splat_i32(-sums[token], mask), simd.splat_i32(-sums[b_at], mask)
            c, d = simd.splat_i32(-sums[c_at], mask), simd.splat_i32(-sums[d_at], mask)
            e, f = simd.splat_i32(-sums[e_at], mask), simd.splat_i32(-sums[f_at], mask)
            for group in range(0, dim, 4):
                lanes = queries + uint64(group) * n_lanes
                a = dots.add_dots_of_4(a, lanes, row_a + uint64(group))
                b = dots.add_dots_of_4(b, lanes, row_b + uint64(group))
                c = dots.add_dots_of_4(c, lanes, row_c + uint64(group))
                d = dots.add_dots_of_4(d, lanes, row_d + uint64(group))
                e = dots.add_dots_of_4(e, lanes, row_e + uint64(group))
                f = dots.add_dots_of_4(f, lanes, row_f + uint64(group))
            best = _raise(best, a, scales[token], mask)
            best = _raise(best, b, scales[b_at], mask)
            best = _raise(best, c, scales[c_at], mask)
            best = _raise(best, d, scales[d_at], mask)
            best = _raise(best, e, scales[e_at], mask)
            best = _raise(best, f, scales[f_at], mask)
        simd.store_f32(uint64(best_of.ctypes.data), best)
        for lane in range(len(lane_scales) if stop > start else 0):
            if mask >> lane & 1:
                out[doc] += best_of[lane] * lane_scales[lane]


@compiled
def _raise(best: Vector, products: Vector, scale: np.float32, mask: Mask) -> Vector:
    """Lane-wise maximum with one token's similarities."""
    return simd.maximum_f32(
        simd.multiply_f32(simd.to_f32(products), simd.splat_f32(scale, mask)), best
    )


def query_to_bytes(
    query: Values,
) -> tuple[Bytes, Floats]:
    """A (n_query_tokens, dim) query in the form of the byte kernels, in blocks of lanes.

    Returns:
        (n_blocks, dim / 4, n_lanes, 4) uint8 bytes and (n_blocks, n_lanes) float32 scales, for the
        lanes of ``masks_of``: a lane's bytes minus 128, times its scale, are the query token.
    """
    masks = masks_of(len(query))
    shape = len(masks), query.shape[1] // 4, lanes_of(masks), 4
    query_bytes = np.full(shape, 128, np.uint8)
    scales = np.full((shape[0], shape[2]), 1e-12 / 127, np.float32)
    fill_query_bytes(np.asarray(query, np.float32), query_bytes, scales)
    return query_bytes, scales


@borrowing
def fill_query_bytes(query: Floats, query_bytes: Bytes, scales: Floats) -> None:
    """Write the bytes and scales of query_to_bytes; lanes behind the query keep theirs.

    Args:
        query: (n_query_tokens, dim) float32.
        query_bytes: (n_blocks, dim / 4, n_lanes, 4) uint8, written.
        scales: (n_blocks, n_lanes) float32, written.
    """
    n_lanes = scales.shape[1]
    for token in range(query.shape[0]):
        block, lane, largest = token // n_lanes, token % n_lanes, np.float32(1e-12)
        for d in range(query.shape[1]):
            largest = max(largest, abs(query[token, d]))
        scales[block, lane] = largest / np.float32(127)
        by = np.float32(127) / largest
        for d in range(query.shape[1]):
            value = np.int32(np.rint(query[token, d] * by))
            query_bytes[block, d // 4, lane, d % 4] = value + 128


class Int8Documents:
    """Documents to rerank, quantised once; scoring takes any number of query tokens."""

    def __init__(self, values: Values, offsets: Int64s) -> None:
        """Quantise documents.

        Args:
            values: (n_tokens, dim) floats, dim a multiple of 4.
            offsets: (n_docs + 1,) int64.
        """
        values = np.ascontiguousarray(values, np.float32)
        self.offsets = np.ascontiguousarray(offsets, np.int64)
        self.rounded = np.empty(values.shape, np.int8)
        self.scales = np.empty(len(values), np.float32)
        self.sums = np.empty(len(values), np.int32)
        quantize_tokens(values, self.rounded, self.scales, self.sums)

    def maxsim(self, query: Values) -> Floats:
        """(n_docs,) MaxSim of a (n_query_tokens, dim) query with every document."""
        scores = np.zeros(len(self.offsets) - 1, np.float32)
        query_bytes, scales = query_to_bytes(query)
        for block, mask in enumerate(masks_of(len(query))):
            maxsim_int8(
                query_bytes[block],
                scales[block],
                mask,
                self.offsets,
                self.rounded,
                self.scales,
                self.sums,
                scores,
            )
        return scores
