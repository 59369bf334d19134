"""A segment's tokens and a block of a query's lanes, for the loops over documents and tokens."""

from __future__ import annotations

from typing import NamedTuple

from numba import uint64

from colmodern.kernels.cpu.ir import simd
from colmodern.kernels.cpu.jit import borrowing, compiled
from colmodern.kernels.types import (
    Address,
    Bytes,
    Codes,
    Int16s,
    Int64s,
    Mask,
    QueryTables,
    SegmentArrays,
    Vector,
)

# documents before whose turn memory is asked for their codes, and for where those begin
_CODES_AHEAD, _OFFSETS_AHEAD = 12, 36


class TokenBlock(NamedTuple):
    """What the loops read of a segment and of a query.

    Small, since numba counts references to every array of a record that is passed: with the whole
    records, refining took a seventh longer and scoring two fifths.

    Attributes:
        number: Number of the block of lanes.
        n_lanes: Lanes of the block, 16 or 32.
        mask: Mask of the block.
        scores: Address of the block's centroid scores.
        doc_offsets: (n_docs + 1,) int64.
        codes: (n_tokens,) uint16 or uint32.
        gains: (n_tokens,) uint8.
        residuals: (n_tokens, n_bytes) uint8.
        refine_slack: (256,) int16.
        score_slack: (256,) int16.
    """

    number: int
    n_lanes: int
    mask: Mask
    scores: Address
    doc_offsets: Int64s
    codes: Codes
    gains: Bytes
    residuals: Bytes
    refine_slack: Int16s
    score_slack: Int16s


@compiled
def token_block(segment: SegmentArrays, query: QueryTables, number: int) -> TokenBlock:
    """The TokenBlock of a segment and of a query's block."""
    return TokenBlock(
        number,
        query.centroid_scores.shape[2],
        query.lanes[number],
        uint64(query.centroid_scores[number].ctypes.data),
        segment.doc_offsets,
        segment.codes,
        segment.gains,
        segment.residuals,
        query.refine_slack,
        query.score_slack,
    )


@borrowing
def best_scores(
    codes: Codes, start: int, stop: int, scores: Address, mask: Mask, least: Vector
) -> Vector:
    """The highest centroid score of tokens start to stop in each lane, and not below ``least``.

    Args:
        codes: Centroids of tokens.
        start: The first token.
        stop: The token behind the last.
        scores: Address of a block's (n_centroids, n_lanes) int16.
        mask: Mask of the block.
        least: (n_lanes,) int16.
    """
    row_size = uint64(2) * simd.n_lanes(mask)
    best, other, whole = least, least, start + (stop - start) // 4 * 4
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
    return simd.maximum_i16(best, other)


@borrowing
def prefetch_codes(docs: Int64s, i: int, codes: Codes, doc_offsets: Int64s) -> None:
    """Ask memory for the codes of a document some turns after the i-th of ``docs``."""
    if i + _CODES_AHEAD >= len(docs):
        return
    far = docs[min(i + _OFFSETS_AHEAD, len(docs) - 1)]
    simd.prefetch(uint64(doc_offsets.ctypes.data) + uint64(8 * far))
    ahead = docs[i + _CODES_AHEAD]
    begin = uint64(doc_offsets[ahead]) * uint64(codes.itemsize)
    size = uint64(doc_offsets[ahead + 1]) * uint64(codes.itemsize) - begin
    for line in range(0, min(size, uint64(512)), 64):
        simd.prefetch(uint64(codes.ctypes.data) + begin + uint64(line))
