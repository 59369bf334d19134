"""Search kernels on the CPU, up to the choice of candidates.

``reference.py`` says in plain NumPy what each computes.

Nothing here checks that an offset or a code stays inside its array: such a test alone makes ``gather``
take half as long again. Callers pass what ``index.plaid`` has verified. ``gather``, which writes where
a list says, stays inside ``state`` and ``list_docs`` whatever a list holds.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import int64, uint64

from colmodern.kernels import dots, simd
from colmodern.kernels.jit import compiled
from colmodern.kernels.types import (
    CodecArrays,
    Int16s,
    Int32s,
    Int64s,
    Mask,
    QueryTables,
    SegmentArrays,
)

CHUNK = 64  # centroids under one maximum; find_probes looks only into the best chunks
_LOWEST = np.int16(-32768)
_COUNTED = 256  # numbers up to which counting, which takes no branches, is the faster way to sort
BLOCK_DOCS = 1 << 16  # documents that a uint16 can number
_AHEAD = 6  # documents whose codes are prefetched before their turn


@compiled
def score_centroids(
    codec: CodecArrays, query: QueryTables, block: int, start: int, stop: int
) -> None:
    """Write the similarities of centroids start to stop to one block of lanes, and their maxima.

    Args:
        codec: Holds the centroids.
        query: Its centroid_scores and maxima are written.
        block: Number of the block of lanes.
        start: First centroid, a multiple of CHUNK.
        stop: The centroid behind the last.
    """
    mask, dim = query.lanes[block], codec.centroids.shape[1]
    n_lanes = simd.n_lanes(mask)
    row_size = uint64(2) * n_lanes
    centroids = uint64(codec.centroids.ctypes.data)
    query_bytes = uint64(query.query_bytes[block].ctypes.data)
    scores = uint64(query.centroid_scores[block].ctypes.data)
    maxima = uint64(query.maxima[block].ctypes.data)
    lane_scales = simd.load_f32(uint64(query.lane_scales[block].ctypes.data), mask)
    top, zero = simd.splat_i16(_LOWEST, mask), simd.splat_i32(np.int32(0), mask)
    for first in range(start, stop, 4):
        a = simd.splat_i32(-codec.centroid_sums[first], mask)
        b = simd.splat_i32(-codec.centroid_sums[min(first + 1, stop - 1)], mask)
        c = simd.splat_i32(-codec.centroid_sums[min(first + 2, stop - 1)], mask)
        d = simd.splat_i32(-codec.centroid_sums[min(first + 3, stop - 1)], mask)
        row_a = centroids + uint64(first * dim)
        row_b = centroids + uint64(min(first + 1, stop - 1) * dim)
        row_c = centroids + uint64(min(first + 2, stop - 1) * dim)
        row_d = centroids + uint64(min(first + 3, stop - 1) * dim)
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
            scale = simd.splat_f32(codec.centroid_scales[first + j], mask)
            unit = simd.multiply_f32(simd.multiply_f32(simd.to_f32(total), scale), lane_scales)
            row = simd.narrow(simd.round_f32(unit))
            simd.store_i16(scores + uint64(first + j) * row_size, row)
            top = simd.maximum_i16(top, row)
        if (first + 4) % CHUNK == 0 or first + 4 >= stop:
            simd.store_i16(maxima + uint64(first // CHUNK) * row_size, top)
            top = simd.splat_i16(_LOWEST, mask)


@compiled
def find_probes(scores: Int16s, maxima: Int16s, mask: Mask, probes: Int32s) -> None:
    """Find the best centroids of each lane of a block, best first; of equal ones the smallest.

    Args:
        scores: (n_centroids, n_lanes) int16 centroid scores of the block.
        maxima: (n_chunks, n_lanes) int16, as score_centroids wrote them.
        mask: Mask of the block, whose bits are its lowest ones.
        probes: (lanes in the mask, nprobe) int32, written; nprobe is at most n_centroids.
    """
    n_centroids, (n_tokens, nprobe) = scores.shape[0], probes.shape
    row_size = uint64(2) * simd.n_lanes(mask)
    least = np.full(scores.shape[1], _LOWEST, np.int16)
    if maxima.shape[0] > nprobe:  # as many chunks hold one that is at least as good
        _nth_largest(maxima, nprobe, least)
    bar = simd.load_i16(uint64(least.ctypes.data), mask)
    scores_address, maxima_address = uint64(scores.ctypes.data), uint64(maxima.ctypes.data)
    numbers, counts = np.empty((n_tokens, n_centroids), np.int64), np.zeros(n_tokens, np.int64)
    for chunk in range(maxima.shape[0]):
        top = simd.load_i16(maxima_address + uint64(chunk) * row_size, mask)
        if ~simd.lanes_above(bar, top) & mask == 0:
            continue
        for centroid in range(chunk * CHUNK, min((chunk + 1) * CHUNK, n_centroids)):
            row = simd.load_i16(scores_address + uint64(centroid) * row_size, mask)
            if ~simd.lanes_above(bar, row) & mask == 0:
                continue
            for lane in range(n_tokens):
                # one sortable number: high score first, then small centroid
                numbers[lane, counts[lane]] = (-int64(scores[centroid, lane]) << 32) + centroid
                counts[lane] += 1 if scores[centroid, lane] >= least[lane] else 0
    for lane in range(n_tokens):
        _smallest_first(numbers[lane, : counts[lane]], probes[lane])


@compiled
def _nth_largest(values: Int16s, n: int, out: Int16s) -> None:
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
def _smallest_first(numbers: Int64s, out: Int32s) -> None:
    """Write the low 32 bits of the smallest of (n,) different int64 numbers, in their order."""
    if len(numbers) > _COUNTED:
        numbers = np.sort(numbers)[: len(out)]
    for i in range(len(numbers)):
        number, rank = numbers[i], 0
        for j in range(len(numbers)):
            rank += 1 if numbers[j] < number else 0
        if rank < len(out):
            out[rank] = number & 0xFFFFFFFF


@compiled
def gather(
    probes: Int32s,
    scores: Int16s,
    list_offsets: npt.NDArray[np.uint32],
    list_docs: npt.NDArray[np.uint16],
    state: Int64s,
) -> None:
    """Add up, for every document in a probed list, its best probed centroid of each query token.

    A query token without a probed centroid in a document counts as its last probed one. Postings of
    a document beyond ``state`` change no other document.

    Args:
        probes: (n_query_tokens, nprobe) int32.
        scores: (n_blocks, n_centroids, n_lanes) int16 centroid scores.
        list_offsets: (n_centroids + 1,) uint32 of one block of documents.
        list_docs: (n_postings,) uint16 of the same block.
        state: (n_docs,) int64, written: the sum times 65536 plus the number, from 1, of the last
            query token with a posting. 0 beforehand, or 65535 for a document to be passed over. With
            at least BLOCK_DOCS entries it is used as it is, a smaller one is copied twice.
    """
    if len(state) >= BLOCK_DOCS:
        _add_lists(probes, scores, list_offsets, list_docs, state)
        return
    padded = np.empty(BLOCK_DOCS, np.int64)
    for doc in range(len(state)):
        padded[doc] = state[doc]
    _add_lists(probes, scores, list_offsets, list_docs, padded)
    for doc in range(len(state)):
        state[doc] = padded[doc]


@compiled
def _add_lists(
    probes: Int32s,
    scores: Int16s,
    list_offsets: npt.NDArray[np.uint32],
    list_docs: npt.NDArray[np.uint16],
    state: Int64s,
) -> None:
    """Gather into a state with an entry for every uint16, so that no list can lead out of it."""
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
def collect(state: Int64s, docs: Int64s, sums: Int32s) -> int:
    """Write the documents that gather reached, ascending, and their sums; returns how many.

    Args:
        state: As gather wrote it.
        docs: (n_docs,) int64, written.
        sums: (n_docs,) int32, written.
    """
    n = 0
    for doc in range(len(state)):
        turn = state[doc] & 65535
        docs[n], sums[n] = doc, np.int32(state[doc] >> 16)
        n += 1 if 0 < turn < 65535 else 0
    return n


@compiled
def keep_best(scores: Int32s, n: int) -> Int64s:
    """Positions, ascending, of the best ``n`` of (n_docs,) int32 scores, with ties of the last.

    Exact: all positions whose score is at least the n-th largest.
    """
    low, high = (int64(1) << 40), -(int64(1) << 40)
    for score in scores:
        low, high = min(low, int64(score)), max(high, int64(score))
    wanted = n
    # narrow the range of the n-th largest, 1,024 steps a time
    while low < high and n < len(scores):
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
    positions = np.empty(len(scores), np.int64)
    n_kept = 0
    for i in range(len(scores)):
        positions[n_kept] = i
        n_kept += 1 if scores[i] >= low else 0
    return positions[:n_kept]


@compiled
def score_doc_vectors(
    docs: Int64s, segment: SegmentArrays, query: QueryTables, out: Int32s
) -> None:
    """Write what the vector of each document adds to its score, in units.

    Args:
        docs: (n,) int64 documents of the segment.
        segment: Holds the document vectors.
        query: Its doc_table and doc_factors are read.
        out: (n,) int32, written.
    """
    gains, n_bytes = segment.doc_gains, query.doc_table.shape[0]
    whole = n_bytes // 8 * 8
    entries, vectors = uint64(query.doc_table.ctypes.data), uint64(segment.doc_vectors.ctypes.data)
    for i in range(len(docs)):
        if i + _AHEAD < len(docs):
            simd.prefetch(vectors + uint64(docs[i + _AHEAD] * n_bytes))
        vector, total = vectors + uint64(docs[i] * n_bytes), np.int32(0)
        for byte in range(0, whole, 8):
            total += simd.sum_of_8_entries(entries + uint64(byte * 512), vector + uint64(byte))
        for byte in range(whole, n_bytes):
            entry = uint64(byte * 256) + simd.scalar_u8(vector + uint64(byte))
            total += simd.scalar_i16(entries + uint64(2) * entry)
        out[i] = np.int32(np.rint(np.float32(total) * query.doc_factors[gains[docs[i]]]))


@compiled
def score_by_centroids(
    docs: Int64s, segment: SegmentArrays, query: QueryTables, out: Int32s
) -> None:
    """MaxSim with every token replaced by its centroid, in units.

    Args:
        docs: (n,) int64 documents of the segment.
        segment: Holds the codes of tokens.
        query: Its centroid_scores are read.
        out: (n,) int32, written; query.empty for a document without tokens.
    """
    codes, doc_offsets, n_blocks = segment.codes, segment.doc_offsets, len(query.lanes)
    codes_address, row_size = uint64(codes.ctypes.data), uint64(2) * simd.n_lanes(query.lanes[0])
    for i in range(len(docs)):
        if i + _AHEAD < len(docs):
            ahead = docs[i + _AHEAD]
            begin = uint64(doc_offsets[ahead]) * uint64(codes.itemsize)
            size = uint64(doc_offsets[ahead + 1]) * uint64(codes.itemsize) - begin
            for line in range(0, min(size, uint64(512)), 64):
                simd.prefetch(codes_address + begin + uint64(line))
        start, stop = doc_offsets[docs[i]], doc_offsets[docs[i] + 1]
        score = np.int32(0) if stop > start else np.int32(query.empty)
        for block in range(n_blocks if stop > start else 0):
            scores, mask = uint64(query.centroid_scores[block].ctypes.data), query.lanes[block]
            best, other = simd.splat_i16(_LOWEST, mask), simd.splat_i16(_LOWEST, mask)
            whole = start + (stop - start) // 4 * 4
            # in fours: the loop itself costs as much as a load
            for token in range(start, whole, 4):
                a = simd.load_i16(scores + uint64(codes[token]) * row_size, mask)
                b = simd.load_i16(scores + uint64(codes[token + 1]) * row_size, mask)
                c = simd.load_i16(scores + uint64(codes[token + 2]) * row_size, mask)
                d = simd.load_i16(scores + uint64(codes[token + 3]) * row_size, mask)
                best = simd.maximum_i16(best, simd.maximum_i16(a, b))
                other = simd.maximum_i16(other, simd.maximum_i16(c, d))
            for token in range(whole, stop):
                row = simd.load_i16(scores + uint64(codes[token]) * row_size, mask)
                best = simd.maximum_i16(best, row)
            score += simd.total(simd.maximum_i16(best, other))
        out[i] = score
