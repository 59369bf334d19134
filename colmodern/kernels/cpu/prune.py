"""Prune: scores of gathered documents by their vectors and by the centroids of all their tokens.

Nothing here checks that an offset or a code stays inside its array; callers pass what ``index.plaid``
has verified.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import uint16, uint32, uint64

from colmodern.kernels.cpu.clusters import list_known
from colmodern.kernels.cpu.ir import simd
from colmodern.kernels.cpu.ir.vectors import FEW_LANES
from colmodern.kernels.cpu.jit import borrowing, compiled
from colmodern.kernels.cpu.token_block import best_scores, prefetch_codes
from colmodern.kernels.types import (
    Address,
    Bytes,
    Codes,
    Int32s,
    Int64s,
    Mask,
    QueryTables,
    SegmentArrays,
)

_AHEAD = 32  # documents whose vectors are prefetched before their turn


@borrowing
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
            ahead = docs[i + _AHEAD]
            simd.prefetch(vectors + uint64(ahead * n_bytes))
            simd.prefetch(uint64(gains.ctypes.data) + uint64(ahead))
        vector, total = vectors + uint64(docs[i] * n_bytes), np.int32(0)
        for byte in range(0, whole, 8):
            total += simd.sum_of_8_entries(entries + uint64(byte * 512), vector + uint64(byte))
        for byte in range(whole, n_bytes):
            entry = uint64(byte * 256) + simd.scalar_u8(vector + uint64(byte))
            total += simd.scalar_i16(entries + uint64(2) * entry)
        out[i] = np.int32(np.rint(np.float32(total) * query.doc_factors[gains[docs[i]]]))


@borrowing
def estimate_doc_vectors(
    docs: Int64s, columns: Bytes, segment: SegmentArrays, query: QueryTables, out: Int32s
) -> None:
    """Write what the most telling bytes of each document's vector add to its score, in units.

    Args:
        docs: (n,) int64 documents of the segment, ascending.
        columns: (n_doc_bytes, n_docs) uint8, the document vectors byte by byte: documents near each
            other share the lines of memory that are read.
        segment: Holds the gains of document vectors.
        query: Its doc_table, doc_factors and doc_parts are read.
        out: (n,) int32, written.
    """
    gains, factors, parts = segment.doc_gains, query.doc_factors, query.doc_parts
    entries, values = uint64(query.doc_table.ctypes.data), uint64(columns.ctypes.data)
    size, whole = uint64(columns.shape[1]), len(parts) // 4 * 4
    out[:] = 0
    for at in range(0, whole, 4):  # a few at a time: the loop itself costs as much as a byte
        part_a, part_b = uint64(parts[at]), uint64(parts[at + 1])
        part_c, part_d = uint64(parts[at + 2]), uint64(parts[at + 3])
        for i in range(len(docs)):
            doc = values + uint64(docs[i])
            a = _entry(entries, part_a, doc + part_a * size)
            b = _entry(entries, part_b, doc + part_b * size)
            c = _entry(entries, part_c, doc + part_c * size)
            d = _entry(entries, part_d, doc + part_d * size)
            out[i] += (a + b) + (c + d)
    for at in range(whole, len(parts)):
        part = uint64(parts[at])
        for i in range(len(docs)):
            out[i] += _entry(entries, part, values + uint64(docs[i]) + part * size)
    for i in range(len(docs)):
        out[i] = np.int32(np.rint(np.float32(out[i]) * factors[gains[docs[i]]]))


@borrowing
def _entry(table: Address, part: np.uint64, byte: Address) -> np.int32:
    """What the byte at an address names in the part's 256 int16 of a table."""
    entry: np.int32 = simd.scalar_i16(table + uint64(512) * part + uint64(2) * simd.scalar_u8(byte))
    return entry


@compiled
def score_by_centroids(
    docs: Int64s, segment: SegmentArrays, query: QueryTables, out: Int32s
) -> None:
    """MaxSim with every token replaced by its centroid, in units.

    Args:
        docs: (n,) int64 documents of the segment.
        segment: Holds the codes of tokens.
        query: Its centroid_scores are read; a centroid that is not known counts as its floors say.
        out: (n,) int32, written; query.empty for a document without tokens.
    """
    _score_by_centroids(docs, segment, query, query.known, out)


@compiled
def _score_by_centroids(
    docs: Int64s,
    segment: SegmentArrays,
    query: QueryTables,
    known: npt.NDArray[np.uint32] | None,
    out: Int32s,
) -> None:
    codes, doc_offsets, n_blocks = segment.codes, segment.doc_offsets, len(query.lanes)
    centroid_scores = query.centroid_scores
    is_narrow, lanes, floors = centroid_scores.shape[2] == FEW_LANES, query.lanes, query.floors
    longest = 0
    if known is not None:
        for doc in docs:
            longest = max(longest, doc_offsets[doc + 1] - doc_offsets[doc])
    listed = np.empty(longest + 1, np.uint32)
    for i in range(len(docs)):
        prefetch_codes(docs, i, codes, doc_offsets)
        start, stop = doc_offsets[docs[i]], doc_offsets[docs[i] + 1]
        score, filled = np.int32(0), stop > start
        n = 0 if known is None else list_known(codes, start, stop, known, listed)
        for block in range(n_blocks if filled else 0):
            scores, mask = uint64(centroid_scores[block].ctypes.data), lanes[block]
            floor = uint64(floors[block].ctypes.data)
            if known is None:
                if is_narrow:
                    score += _score_doc(codes, start, stop, scores, uint16(mask), floor)
                else:
                    score += _score_doc(codes, start, stop, scores, uint32(mask), floor)
            elif is_narrow:
                score += _score_doc(listed, 0, n, scores, uint16(mask), floor)
            else:
                score += _score_doc(listed, 0, n, scores, uint32(mask), floor)
        out[i] = score if filled else np.int32(query.empty)


@borrowing
def _score_doc(
    codes: Codes, start: int, stop: int, scores: Address, mask: Mask, floor: Address
) -> np.int32:
    """MaxSim of the centroids of tokens start to stop with a block of as many lanes as the mask has."""
    best = best_scores(codes, start, stop, scores, mask, simd.load_i16(floor, mask))
    score: np.int32 = simd.total(best)
    return score
