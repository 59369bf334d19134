"""Search kernels on the CPU, up to the choice of candidates.

``reference.py`` says in plain NumPy what each computes.

Nothing here looks whether an offset or a code leads out of its array: such a test alone makes
``gather`` take half as long again. Callers pass what ``index.plaid`` has verified. ``gather``, which
writes where a list says, stays inside ``state`` and ``list_docs`` whatever a list holds.

Shapes: a block of lanes is up to n_lanes query tokens, 16 or 32. ``centroid_scores`` is
(n_blocks, n_centroids, n_lanes) int16, in one unit of similarity per query; ``lanes`` (n_blocks,)
uint16 or uint32, whose type says how many lanes there are, has a bit for each that holds a query
token. ``codes`` (n_tokens,) uint16 or uint32, ``gains`` (n_tokens,) uint8 and ``residuals``
(n_tokens, n_bytes) uint8 are a segment's tokens, ``doc_offsets`` (n_docs + 1,) int64 its documents.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import int64, uint64

from colmodern.kernels import dots, simd
from colmodern.kernels.jit import compiled

CHUNK = 64  # centroids under one maximum; find_probes looks only into the best chunks
_LOWEST = np.int16(-32768)
_COUNTED = 256  # numbers that are put in order by counting, which takes no branches
ROWS = 1 << 16  # that a uint16 can name
_AHEAD = 6  # documents whose codes are asked for before their turn


@compiled
def score_centroids(
    centroids: Any,
    centroid_sums: Any,
    centroid_scales: Any,
    query_bytes: Any,
    lane_scales: Any,
    mask: Any,
    start: int,
    stop: int,
    scores: Any,
    maxima: Any,
) -> None:
    """Similarity of centroids start to stop (start a multiple of 64) to one block of lanes.

    centroids: (n_centroids, dim) int8; centroid_sums: (n_centroids,) int32, 128 times the row sums;
    centroid_scales: (n_centroids,) float32
    query_bytes: (dim / 4, n_lanes, 4) uint8, the query quantised to int8, plus 128
    lane_scales: (n_lanes,) float32, from integer products to units; 0 where there is no query token
    mask: of the block's lanes
    scores: (n_centroids, n_lanes) int16 and maxima: (n_centroids / 64, n_lanes) int16, written
    """
    dim, n_lanes = centroids.shape[1], simd.n_lanes(mask)
    row_size = uint64(2) * n_lanes
    rows, queries = uint64(centroids.ctypes.data), uint64(query_bytes.ctypes.data)
    out, tops = uint64(scores.ctypes.data), uint64(maxima.ctypes.data)
    scales = simd.load_f32(uint64(lane_scales.ctypes.data), mask)
    top, zero = simd.splat_i16(_LOWEST, mask), simd.splat_i32(np.int32(0), mask)
    for first in range(start, stop, 4):
        a = simd.splat_i32(-centroid_sums[first], mask)
        b = simd.splat_i32(-centroid_sums[min(first + 1, stop - 1)], mask)
        c = simd.splat_i32(-centroid_sums[min(first + 2, stop - 1)], mask)
        d = simd.splat_i32(-centroid_sums[min(first + 3, stop - 1)], mask)
        row_a = rows + uint64(first * dim)
        row_b = rows + uint64(min(first + 1, stop - 1) * dim)
        row_c = rows + uint64(min(first + 2, stop - 1) * dim)
        row_d = rows + uint64(min(first + 3, stop - 1) * dim)
        e, f, g, h = zero, zero, zero, zero  # eight sums hide each other's latency
        for group in range(0, dim, 8):
            at, then = uint64(group), uint64(group + 4)
            lanes, others = queries + at * n_lanes, queries + then * n_lanes
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
            scale = simd.splat_f32(centroid_scales[first + j], mask)
            unit = simd.multiply_f32(simd.multiply_f32(simd.to_f32(total), scale), scales)
            row = simd.narrow(simd.round_f32(unit))
            simd.store_i16(out + uint64(first + j) * row_size, row)
            top = simd.maximum_i16(top, row)
        if (first + 4) % CHUNK == 0 or first + 4 >= stop:
            simd.store_i16(tops + uint64(first // CHUNK) * row_size, top)
            top = simd.splat_i16(_LOWEST, mask)


@compiled
def find_probes(scores: Any, maxima: Any, mask: Any, probes: Any) -> None:
    """The best centroids of each lane of a block, best first, ties to the smaller one.

    scores, maxima: as score_centroids wrote them; mask: of the lanes, the first ones of the block
    probes: (lanes in the mask, nprobe) int32, written; nprobe is at most n_centroids
    """
    n_centroids, (n_found, nprobe) = scores.shape[0], probes.shape
    row_size = uint64(2) * simd.n_lanes(mask)
    least = np.full(scores.shape[1], _LOWEST, np.int16)
    if maxima.shape[0] > nprobe:  # as many chunks hold one that is at least as good
        _nth_largest(maxima, nprobe, least)
    bar = simd.load_i16(uint64(least.ctypes.data), mask)
    first, tops = uint64(scores.ctypes.data), uint64(maxima.ctypes.data)
    found, counts = np.empty((n_found, n_centroids), np.int64), np.zeros(n_found, np.int64)
    for chunk in range(maxima.shape[0]):
        top = simd.load_i16(tops + uint64(chunk) * row_size, mask)
        if ~simd.lanes_above(bar, top) & mask == 0:
            continue
        for centroid in range(chunk * CHUNK, min((chunk + 1) * CHUNK, n_centroids)):
            row = simd.load_i16(first + uint64(centroid) * row_size, mask)
            if ~simd.lanes_above(bar, row) & mask == 0:
                continue
            for lane in range(n_found):
                # one sortable number: high score first, then small centroid
                found[lane, counts[lane]] = (-int64(scores[centroid, lane]) << 32) + centroid
                counts[lane] += 1 if scores[centroid, lane] >= least[lane] else 0
    for lane in range(n_found):
        _first_ones(found[lane, : counts[lane]], probes[lane])


@compiled
def _nth_largest(values: Any, n: int, out: Any) -> None:
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


@compiled
def _first_ones(numbers: Any, out: Any) -> None:
    """The smallest of (n,) int64 numbers, all different, in their order; their low 32 bits into out."""
    if len(numbers) > _COUNTED:
        numbers = np.sort(numbers)[: len(out)]
    for i in range(len(numbers)):
        number, place = numbers[i], 0
        for j in range(len(numbers)):
            place += 1 if numbers[j] < number else 0
        if place < len(out):
            out[place] = number & 0xFFFFFFFF


@compiled
def gather(probes: Any, scores: Any, list_offsets: Any, list_docs: Any, state: Any) -> None:
    """Add up, for every document in a probed list, its best probed centroid of each query token.

    A query token without a probed centroid in a document counts as its last probed one.

    probes: (n_query_tokens, nprobe) int32; scores: (n_blocks, n_centroids, n_lanes) int16
    list_offsets: (n_centroids + 1,) uint32 and list_docs: (n_postings,) uint16, one block of lists
    state: (n_docs,) int64, written: the sum times 65536 plus the number of the last query token
        that was found, from 1; 0 beforehand, or 65535 for a document to be passed over. One of
        at least ROWS entries is used as it is, a smaller one is copied twice

    Postings of a document that is not there change no other one.
    """
    if len(state) >= ROWS:
        _add_lists(probes, scores, list_offsets, list_docs, state)
        return
    room = np.empty(ROWS, np.int64)
    for doc in range(len(state)):
        room[doc] = state[doc]
    _add_lists(probes, scores, list_offsets, list_docs, room)
    for doc in range(len(state)):
        state[doc] = room[doc]


@compiled
def _add_lists(probes: Any, scores: Any, list_offsets: Any, list_docs: Any, state: Any) -> None:
    """What gather does; state has room for every uint16, so that no list can lead out of it."""
    n_lanes, n_postings = scores.shape[2], np.uint32(len(list_docs))
    for token in range(probes.shape[0]):
        block, lane, turn = token // n_lanes, token % n_lanes, int64(token + 1)
        floor = int64(scores[block, probes[token, probes.shape[1] - 1], lane])
        for j in range(probes.shape[1]):
            centroid = probes[token, j]
            gained = ((int64(scores[block, centroid, lane]) - floor) << 16) + turn
            for at in range(list_offsets[centroid], min(list_offsets[centroid + 1], n_postings)):
                doc = list_docs[at]
                before = state[doc]
                last = before & 65535
                # without a branch: half of all postings were seen before
                state[doc] = before - last + gained if last < turn else before


@compiled
def collect(state: Any, rows: Any, sums: Any) -> int:
    """Documents that gather found, ascending, and their sums; returns how many.

    state: as gather wrote it; rows: (n_docs,) int64 and sums: (n_docs,) int32, written
    """
    n = 0
    for doc in range(len(state)):
        turn = state[doc] & 65535
        rows[n], sums[n] = doc, np.int32(state[doc] >> 16)
        n += 1 if 0 < turn < 65535 else 0
    return n


@compiled
def keep_best(scores: Any, n: int) -> Any:
    """Positions, ascending, of the best ``n`` of (n_docs,) int32 scores, with ties of the last.

    Exact: all positions whose score is at least the n-th largest.
    """
    low, high = (int64(1) << 40), -(int64(1) << 40)
    for score in scores:
        low, high = min(low, int64(score)), max(high, int64(score))
    wanted = n
    while low < high and n < len(
        scores
    ):  # narrow the range of the n-th largest, 1,024 steps a time
        width = (high - low) // 1024 + 1
        counts = np.zeros(1024, np.int64)
        for score in scores:
            if low <= score <= high:
                counts[(score - low) // width] += 1
        step = 1023
        while counts[step] < wanted:
            wanted -= counts[step]
            step -= 1
        low, high = low + step * width, min(high, low + (step + 1) * width - 1)
    kept = np.empty(len(scores), np.int64)
    n_kept = 0
    for i in range(len(scores)):
        kept[n_kept] = i
        n_kept += 1 if scores[i] >= low else 0
    return kept[:n_kept]


@compiled
def score_doc_vectors(
    docs: Any, doc_gains: Any, doc_vectors: Any, table: Any, factors: Any, out: Any
) -> None:
    """What the vector of each document adds to its score, in units.

    docs: (n,) int64 rows; doc_gains: (n_docs,) uint8; doc_vectors: (n_docs, n_doc_bytes) uint8
    table: (n_doc_bytes, 256) int16, product of the summed query with every codebook entry
    factors: (256,) float32, by gain: from sums of entries to units; out: (n,) int32, written
    """
    n_bytes = table.shape[0]
    whole = n_bytes // 8 * 8
    entries, rows = uint64(table.ctypes.data), uint64(doc_vectors.ctypes.data)
    for i in range(len(docs)):
        if i + _AHEAD < len(docs):
            simd.prefetch(rows + uint64(docs[i + _AHEAD] * n_bytes))
        place, total = rows + uint64(docs[i] * n_bytes), np.int32(0)
        for part in range(0, whole, 8):
            total += simd.sum_of_8_entries(entries + uint64(part * 512), place + uint64(part))
        for part in range(whole, n_bytes):
            entry = uint64(part * 256) + simd.scalar_u8(place + uint64(part))
            total += simd.scalar_i16(entries + uint64(2) * entry)
        out[i] = np.int32(np.rint(np.float32(total) * factors[doc_gains[docs[i]]]))


@compiled
def score_by_centroids(
    docs: Any, doc_offsets: Any, codes: Any, centroid_scores: Any, lanes: Any, empty: int, out: Any
) -> None:
    """MaxSim with every token replaced by its centroid, in units.

    docs: (n,) int64 rows; empty: score of a document without tokens; out: (n,) int32, written
    """
    first, row_size = uint64(codes.ctypes.data), uint64(2) * simd.n_lanes(lanes[0])
    for i in range(len(docs)):
        if i + _AHEAD < len(docs):
            ahead = docs[i + _AHEAD]
            begin = uint64(doc_offsets[ahead]) * uint64(codes.itemsize)
            size = uint64(doc_offsets[ahead + 1]) * uint64(codes.itemsize) - begin
            for line in range(0, min(size, uint64(512)), 64):
                simd.prefetch(first + begin + uint64(line))
        start, stop = doc_offsets[docs[i]], doc_offsets[docs[i] + 1]
        score = np.int32(0) if stop > start else np.int32(empty)
        for block in range(centroid_scores.shape[0] if stop > start else 0):
            rows = uint64(centroid_scores[block].ctypes.data)
            mask = lanes[block]
            best, other = simd.splat_i16(_LOWEST, mask), simd.splat_i16(_LOWEST, mask)
            whole = start + (stop - start) // 4 * 4
            for token in range(
                start, whole, 4
            ):  # in fours: the loop itself costs as much as a load
                a = simd.load_i16(rows + uint64(codes[token]) * row_size, mask)
                b = simd.load_i16(rows + uint64(codes[token + 1]) * row_size, mask)
                c = simd.load_i16(rows + uint64(codes[token + 2]) * row_size, mask)
                d = simd.load_i16(rows + uint64(codes[token + 3]) * row_size, mask)
                best = simd.maximum_i16(best, simd.maximum_i16(a, b))
                other = simd.maximum_i16(other, simd.maximum_i16(c, d))
            for token in range(whole, stop):
                row = simd.load_i16(rows + uint64(codes[token]) * row_size, mask)
                best = simd.maximum_i16(best, row)
            score += simd.total(simd.maximum_i16(best, other))
        out[i] = score
