"""Probe: scores of all centroids, and the best of them for each query token.

Nothing here checks that a code stays inside its array; callers pass what ``index.plaid`` has verified.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import int64, uint16, uint32, uint64

from colmodern.kernels.cpu.ir import dots, simd
from colmodern.kernels.cpu.ir.vectors import FEW_LANES
from colmodern.kernels.cpu.jit import borrowing, compiled
from colmodern.kernels.types import (
    Address,
    Bytes,
    CentroidRows,
    Floats,
    Int16s,
    Int32s,
    Int64s,
    Mask,
)

CHUNK = 64  # probed centroids under one maximum; find_probes looks only into the best chunks
_LOWEST = np.int16(-32768)
_AHEAD = 64  # rows: the CPU by itself looks no further ahead than its page of 4,096 bytes
_COUNTED = 256  # numbers up to which counting, which takes no branches, is the faster way to sort


class _Lanes(NamedTuple):
    """Addresses of what one block of lanes reads and writes.

    Attributes:
        query_bytes: (dim / 4, n_lanes, 4) uint8.
        lane_scales: (n_lanes,) float32.
        scores: (n, n_lanes) int16, written.
        maxima: (n_chunks, n_lanes) int16, written.
    """

    query_bytes: Address
    lane_scales: Address
    scores: Address
    maxima: Address


@compiled
def score_centroids(
    centroids: CentroidRows,
    numbers: Int32s,
    query_bytes: Bytes,
    lane_scales: Floats,
    mask: Mask,
    start: int,
    stop: int,
    scores: Int16s,
    maxima: Int16s,
) -> None:
    """Write the similarities of some centroids to a block of lanes, and their maxima.

    Args:
        centroids: Centroids.
        numbers: (n,) int32, which of them.
        query_bytes: (dim / 4, n_lanes, 4) uint8, the block's of QueryTables.
        lane_scales: (n_lanes,) float32, the block's of QueryTables.
        mask: Mask of the block.
        start: Position in ``numbers`` of the first that is scored, a multiple of CHUNK.
        stop: The position behind the last.
        scores: (n_centroids, n_lanes) int16, written where a centroid is scored.
        maxima: (n_chunks, n_lanes) int16, written: of each CHUNK positions.
    """
    lanes = _Lanes(
        uint64(query_bytes.ctypes.data),
        uint64(lane_scales.ctypes.data),
        uint64(scores.ctypes.data),
        uint64(maxima.ctypes.data),
    )
    if scores.shape[1] == FEW_LANES:
        _score_centroids(centroids, numbers, lanes, uint16(mask), start, stop)
    else:
        _score_centroids(centroids, numbers, lanes, uint32(mask), start, stop)


@borrowing
def _score_centroids(
    centroids: CentroidRows, numbers: Int32s, block: _Lanes, mask: Mask, start: int, stop: int
) -> None:
    """score_centroids for as many lanes as the mask has bits."""
    dim, n_lanes = centroids.values.shape[1], simd.n_lanes(mask)
    row_size = uint64(2) * n_lanes
    values, sums, scales = uint64(centroids.values.ctypes.data), centroids.sums, centroids.scales
    query_bytes, scores, maxima = block.query_bytes, block.scores, block.maxima
    lane_scales = simd.load_f32(block.lane_scales, mask)
    top, zero = simd.splat_i16(_LOWEST, mask), simd.splat_i32(np.int32(0), mask)
    for first in range(start, stop, 4):
        number_a, number_b = numbers[first], numbers[min(first + 1, stop - 1)]
        number_c, number_d = numbers[min(first + 2, stop - 1)], numbers[min(first + 3, stop - 1)]
        a, b = simd.splat_i32(-sums[number_a], mask), simd.splat_i32(-sums[number_b], mask)
        c, d = simd.splat_i32(-sums[number_c], mask), simd.splat_i32(-sums[number_d], mask)
        row_a, row_b = values + uint64(number_a * dim), values + uint64(number_b * dim)
        row_c, row_d = values + uint64(number_c * dim), values + uint64(number_d * dim)
        for ahead in range(4 if first + _AHEAD + 4 <= stop else 0):
            number = numbers[first + _AHEAD + ahead]
            simd.prefetch(scores + uint64(number) * row_size)
            for line in range(0, dim, 64):
                simd.prefetch(values + uint64(number * dim) + uint64(line))
        e, f, g, h = zero, zero, zero, zero  # eight sums hide each other's latency
        for group in range(0, dim, 8):
            at, then = uint64(group), uint64(group + 4)
            lanes, others = query_bytes + at * n_lanes, query_bytes + then * n_lanes
            a = dots.add_dots_of_4(a, lanes, row_a + at)
            b = dots.add_dots_of_4(b, lanes, row_b + at)
            c = dots.add_dots_of_4(c, lanes, row_c + at)
            d = dots.add_dots_of_4(d, lanes, row_d + at)
            e = dots.add_dots_of_4(e, others, row_a + then)
            f = dots.add_dots_of_4(f, others, row_b + then)
            g = dots.add_dots_of_4(g, others, row_c + then)
            h = dots.add_dots_of_4(h, others, row_d + then)
        a, b = simd.add_i32(a, e), simd.add_i32(b, f)
        c, d = simd.add_i32(c, g), simd.add_i32(d, h)
        for j in range(min(4, stop - first)):
            total = a if j == 0 else (b if j == 1 else (c if j == 2 else d))
            number = numbers[first + j]
            scale = simd.splat_f32(scales[number], mask)
            unit = simd.multiply_f32(simd.multiply_f32(simd.to_f32(total), scale), lane_scales)
            row = simd.narrow(simd.round_f32(unit))
            simd.store_i16(scores + uint64(number) * row_size, row)
            top = simd.maximum_i16(top, row)
        if (first + 4) % CHUNK == 0 or first + 4 >= stop:
            simd.store_i16(maxima + uint64(first // CHUNK) * row_size, top)
            top = simd.splat_i16(_LOWEST, mask)


@compiled
def find_probes(scores: Int16s, maxima: Int16s, probed: Int32s, mask: Mask, probes: Int32s) -> None:
    """Find the best centroids of each lane of a block, best first; of equal ones the smallest.

    Args:
        scores: (n_centroids, n_lanes) int16 centroid scores of the block.
        maxima: (n_chunks, n_lanes) int16, as score_centroids wrote them.
        probed: (n_probed,) int32, the centroids to choose among.
        mask: Mask of the block, whose bits are its lowest ones.
        probes: (lanes in the mask, nprobe) int32, written; -1 where there are fewer centroids.
    """
    n_tokens, nprobe = probes.shape
    probes[:] = -1
    least = np.empty(scores.shape[1], np.int16)
    for lane in range(len(least)):
        least[lane] = _LOWEST
    if maxima.shape[0] > nprobe:  # as many chunks hold one that is at least as good
        nth_largest(maxima, nprobe, least)
    numbers, counts = np.empty((n_tokens, len(probed)), np.int64), np.zeros(n_tokens, np.int64)
    if len(least) == FEW_LANES:
        _number_best(scores, maxima, probed, uint16(mask), least, numbers, counts)
    else:
        _number_best(scores, maxima, probed, uint32(mask), least, numbers, counts)
    for lane in range(n_tokens):
        _smallest_first(numbers[lane, : counts[lane]], probes[lane])


@borrowing
def _number_best(
    scores: Int16s,
    maxima: Int16s,
    probed: Int32s,
    mask: Mask,
    least: Int16s,
    numbers: Int64s,
    counts: Int64s,
) -> None:
    """Write a sortable number for each centroid of a lane whose score is not below the lane's least.

    Args:
        scores: (n_centroids, n_lanes) int16, as find_probes takes them.
        maxima: (n_chunks, n_lanes) int16.
        probed: (n_probed,) int32.
        mask: Mask of the block.
        least: (n_lanes,) int16.
        numbers: (n_tokens, n_probed) int64, written: a high score first, then a small centroid.
        counts: (n_tokens,) int64, added to: how many numbers each lane has.
    """
    row_size, bar = uint64(2) * simd.n_lanes(mask), simd.load_i16(uint64(least.ctypes.data), mask)
    scores_address, maxima_address = uint64(scores.ctypes.data), uint64(maxima.ctypes.data)
    for chunk in range(maxima.shape[0]):
        top = simd.load_i16(maxima_address + uint64(chunk) * row_size, mask)
        if ~simd.lanes_above(bar, top) & mask == 0:
            continue
        for at in range(chunk * CHUNK, min((chunk + 1) * CHUNK, len(probed))):
            centroid = probed[at]
            row = simd.load_i16(scores_address + uint64(centroid) * row_size, mask)
            if ~simd.lanes_above(bar, row) & mask == 0:
                continue
            for lane in range(len(counts)):
                numbers[lane, counts[lane]] = (-int64(scores[centroid, lane]) << 32) + centroid
                counts[lane] += 1 if scores[centroid, lane] >= least[lane] else 0


@compiled
def nth_largest(values: Int16s, n: int, out: Int16s) -> None:
    """The n-th largest of each column of (n_rows, n_columns) int16 values, n at most n_rows.

    Bit by bit and without a branch on a value: a CPU cannot predict those of a new query.
    """
    n_columns = values.shape[1]
    counts = np.empty(n_columns, np.int32)
    for column in range(n_columns):
        out[column] = _LOWEST
    for bit in range(15, -1, -1):
        step = np.int32(1) << bit
        for column in range(n_columns):
            counts[column] = 0
        for row in range(values.shape[0]):
            for column in range(n_columns):
                counts[column] += np.int32(values[row, column]) >= np.int32(out[column]) + step
        for column in range(n_columns):
            out[column] += np.int16(step) if counts[column] >= n else np.int16(0)


@borrowing
def _smallest_first(numbers: Int64s, out: Int32s) -> None:
    """Write the low 32 bits of the smallest of (n,) different int64 numbers, in their order."""
    if len(numbers) > _COUNTED:
        _sort(numbers)
        numbers = numbers[: len(out)]
    for i in range(len(numbers)):
        number, rank = numbers[i], 0
        for j in range(len(numbers)):
            rank += 1 if numbers[j] < number else 0
        if rank < len(out):
            out[rank] = number & 0xFFFFFFFF


@borrowing
def _sort(numbers: Int64s) -> None:
    """Put (n,) int64 numbers in ascending order; NumPy's sort takes ten times as long to compile."""
    n = len(numbers)
    for top in range(n // 2 - 1, -1, -1):
        _sift_down(numbers, top, n)
    for last in range(n - 1, 0, -1):
        numbers[0], numbers[last] = numbers[last], numbers[0]
        _sift_down(numbers, 0, last)


@borrowing
def _sift_down(numbers: Int64s, top: int, n: int) -> None:
    """Make a heap of the first ``n`` numbers below ``top``, whose two branches are heaps already."""
    branch = 2 * top + 1
    while branch < n:
        if branch + 1 < n and numbers[branch + 1] > numbers[branch]:
            branch += 1
        if numbers[top] >= numbers[branch]:
            break
        numbers[top], numbers[branch] = numbers[branch], numbers[top]
        top, branch = branch, 2 * branch + 1
