"""Candidates scored with their compressed tokens, in integers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import int64, uint16, uint32, uint64

from colmodern.kernels.cpu.ir import simd
from colmodern.kernels.cpu.ir.vectors import FEW_LANES
from colmodern.kernels.cpu.jit import borrowing, compiled
from colmodern.kernels.cpu.residual_query import similarities
from colmodern.kernels.cpu.token_block import TokenBlock, best_scores, token_block
from colmodern.kernels.types import (
    Address,
    Int32s,
    Int64s,
    Mask,
    Masks,
    NearTokens,
    QueryTables,
    SegmentArrays,
    Vector,
)

GROUP = 16  # documents whose residuals are prefetched together
_LOWEST = np.int16(-32768)


class SimilarRows(NamedTuple):
    """Similarities of one document's tokens to a block of lanes.

    Attributes:
        values: Address of (n_tokens, n_lanes) int16.
        best: Address of (n_lanes,) int16, the best of each lane so far.
        margin: Units that a token may be below the best of a lane and still be near it.
    """

    values: Address
    best: Address
    margin: int


@compiled
def empty_near(lengths: Int64s, masks: Masks, n_lanes: int) -> NearTokens:
    """NearTokens without a token, with room for documents of such lengths and blocks of such masks.

    Args:
        lengths: (n_docs,) int64, tokens of each document.
        masks: (n_blocks,) masks of the query's blocks.
        n_lanes: Lanes of a block.
    """
    n_docs, n_blocks, total = len(lengths), len(masks), 0
    starts = np.empty(n_docs, np.int64)
    for i in range(n_docs):
        starts[i] = total
        total += lengths[i] * n_blocks
    return NearTokens(
        starts,
        np.empty(total, np.int64),
        np.empty(total, masks.dtype),
        np.empty((n_docs, n_blocks), np.int64),
        np.empty((n_docs, n_blocks, n_lanes), np.int16),
    )


@compiled
def keep_near(near: NearTokens, kept: Int64s) -> NearTokens:
    """NearTokens of some of its documents; the arrays of ``near`` are overwritten.

    Args:
        near: NearTokens of all documents.
        kept: (n,) int64 positions of documents, ascending.
    """
    for i in range(len(kept)):
        near.starts[i] = near.starts[kept[i]]
        for block in range(near.counts.shape[1]):
            near.counts[i, block] = near.counts[kept[i], block]
            for lane in range(near.best.shape[2]):
                near.best[i, block, lane] = near.best[kept[i], block, lane]
    n = len(kept)
    return NearTokens(near.starts[:n], near.tokens, near.lanes, near.counts[:n], near.best[:n])


@compiled
def score_compressed(
    docs: Int64s,
    segment: SegmentArrays,
    query: QueryTables,
    margin: int,
    near: NearTokens,
    out: Int32s,
) -> None:
    """MaxSim with the compressed tokens, in units; tokens that cannot win are not decoded.

    Args:
        docs: (n,) int64 documents of the segment.
        segment: Holds the documents' tokens.
        query: Its refine_slack says which tokens can win; 32767 decodes every token.
        margin: Units that a token may be below the best of a lane and still be near it.
        near: NearTokens of the documents; all but ``starts`` is written.
        out: (n,) int32, written; query.empty for a document without tokens.
    """
    doc_offsets, n_bytes = segment.doc_offsets, segment.residuals.shape[1]
    residuals, longest = uint64(segment.residuals.ctypes.data), longest_group(docs, doc_offsets)
    tokens, ends = np.empty(longest + 1, np.int64), np.empty(GROUP, np.int64)
    n_lanes = query.centroid_scores.shape[2]
    values = np.empty((longest, n_lanes), np.int16)
    values_address, row_size = uint64(values.ctypes.data), uint64(2 * n_lanes)
    out[:] = 0
    residual_query, empty = query.residual_query, np.int32(query.empty)
    near_tokens, near_lanes, near_counts, near_best = (
        near.tokens,
        near.lanes,
        near.counts,
        near.best,
    )
    for block in range(len(query.lanes)):
        lookup = token_block(segment, query, block)
        for group in range(0, len(docs), GROUP):
            last = min(group + GROUP, len(docs))
            n = int64(0)  # numba would compile once more for a literal
            for i in range(group, last):
                before, n = n, choose_tokens(docs[i], lookup, tokens, n)
                ends[i - group] = n
                for at in range(before, n):  # they are far apart: prefetch all before using one
                    residual = residuals + uint64(tokens[at] * n_bytes)
                    simd.prefetch(residual)
                    simd.prefetch(residual + uint64(n_bytes - 1))
            similarities(residual_query, lookup, tokens[:n], values)
            at = 0
            for i in range(group, last):
                first, at = at, ends[i - group]
                begin = near.starts[i] + block * (doc_offsets[docs[i] + 1] - doc_offsets[docs[i]])
                for lane in range(n_lanes):
                    near_best[i, block, lane] = _LOWEST
                best = uint64(near_best[i, block].ctypes.data)
                rows = SimilarRows(values_address + uint64(first) * row_size, best, margin)
                end, total = append_near(
                    rows, lookup, tokens, first, at, near_tokens, near_lanes, begin
                )
                near_counts[i, block] = end - begin
                out[i] = out[i] + total if at > first else empty


@borrowing
def append_near(
    rows: SimilarRows,
    block: TokenBlock,
    tokens: Int64s,
    first: int,
    last: int,
    near_tokens: Int64s,
    near_lanes: Masks,
    n: int,
) -> tuple[int, np.int32]:
    """Append the tokens that are near the best of some lane, and raise that best.

    Args:
        rows: Similarities of the tokens.
        block: The block of lanes.
        tokens: int64, those from first to last are one document's.
        first: The first of them.
        last: The one behind the last.
        near_tokens: int64, written behind the first n.
        near_lanes: Lanes of each, written behind the first n.
        n: Tokens in near_tokens so far.

    Returns:
        The new number of tokens in near_tokens, and the sum of the best of all lanes.
    """
    added: tuple[int, np.int32]
    if block.n_lanes == FEW_LANES:
        narrow = uint16(block.mask)
        added = _append_near(rows, narrow, tokens, first, last, near_tokens, near_lanes, n)
    else:
        wide = uint32(block.mask)
        added = _append_near(rows, wide, tokens, first, last, near_tokens, near_lanes, n)
    return added


@borrowing
def _append_near(
    rows: SimilarRows,
    mask: Mask,
    tokens: Int64s,
    first: int,
    last: int,
    near_tokens: Int64s,
    near_lanes: Masks,
    n: int,
) -> tuple[int, np.int32]:
    """append_near for as many lanes as the mask has bits."""
    row_size, top = uint64(2) * simd.n_lanes(mask), simd.load_i16(rows.best, mask)
    for at in range(last - first):
        top = simd.maximum_i16(top, simd.load_i16(rows.values + uint64(at) * row_size, mask))
    simd.store_i16(rows.best, top)
    least = simd.subtract_saturated(top, simd.splat_i16(np.int16(rows.margin), mask))
    for at in range(last - first):
        value = simd.load_i16(rows.values + uint64(at) * row_size, mask)
        within = ~simd.lanes_above(least, value) & mask
        if within != 0:
            near_tokens[n], near_lanes[n] = tokens[first + at], within
            n += 1
    return n, simd.total(top)


@borrowing
def longest_group(docs: Int64s, doc_offsets: Int64s) -> int:
    """Tokens of the longest group of documents that are scored together."""
    longest = 0
    for group in range(0, len(docs), GROUP):
        n = 0
        for i in range(group, min(group + GROUP, len(docs))):
            n += doc_offsets[docs[i] + 1] - doc_offsets[docs[i]]
        longest = max(longest, n)
    return longest


@borrowing
def _best_centroids(doc: int, block: TokenBlock, mask: Mask) -> Vector:
    """The highest of the tokens' centroid scores in each lane."""
    start, stop = block.doc_offsets[doc], block.doc_offsets[doc + 1]
    least = simd.splat_i16(_LOWEST, mask)
    return best_scores(block.codes, start, stop, block.scores, mask, least)


@borrowing
def _reaches(bar: Vector, row: Vector, slack: np.int16, mask: Mask) -> bool:
    """Whether some lane of a row is, with slack, not below the bar.

    Not below: a token without residual still equals its centroid.
    """
    most = simd.add_saturated(row, simd.splat_i16(slack, mask))
    return bool(~simd.lanes_above(bar, most) & mask != 0)


@borrowing
def choose_tokens(doc: int, block: TokenBlock, tokens: Int64s, n: int) -> int:
    """Append a document's tokens that can win some lane; returns the new length of ``tokens``.

    Args:
        doc: A document of the segment.
        block: The block of lanes, and the segment's tokens.
        tokens: int64, written behind the first n.
        n: Length of ``tokens`` so far.
    """
    if block.n_lanes == FEW_LANES:
        return _choose_tokens(doc, block, uint16(block.mask), tokens, n)  # type: ignore[no-any-return]
    return _choose_tokens(doc, block, uint32(block.mask), tokens, n)  # type: ignore[no-any-return]


@borrowing
def _choose_tokens(doc: int, block: TokenBlock, mask: Mask, tokens: Int64s, n: int) -> int:
    """choose_tokens for as many lanes as the mask has bits."""
    codes, gains, slack = block.codes, block.gains, block.refine_slack
    row_size, bar = uint64(2) * simd.n_lanes(mask), _best_centroids(doc, block, mask)
    for token in range(block.doc_offsets[doc], block.doc_offsets[doc + 1]):
        row = simd.load_i16(block.scores + uint64(codes[token]) * row_size, mask)
        tokens[n] = token
        n += 1 if _reaches(bar, row, slack[gains[token]], mask) else 0
    return n


@borrowing
def choose_more_tokens(doc: int, block: TokenBlock, tokens: Int64s, n: int) -> int:
    """Append a document's tokens that score_slack lets through and refine_slack does not.

    Arguments and result are those of choose_tokens.
    """
    if block.n_lanes == FEW_LANES:
        return _choose_more(doc, block, uint16(block.mask), tokens, n)  # type: ignore[no-any-return]
    return _choose_more(doc, block, uint32(block.mask), tokens, n)  # type: ignore[no-any-return]


@borrowing
def _choose_more(doc: int, block: TokenBlock, mask: Mask, tokens: Int64s, n: int) -> int:
    """choose_more_tokens for as many lanes as the mask has bits."""
    codes, gains = block.codes, block.gains
    refine_slack, score_slack = block.refine_slack, block.score_slack
    row_size, bar = uint64(2) * simd.n_lanes(mask), _best_centroids(doc, block, mask)
    for token in range(block.doc_offsets[doc], block.doc_offsets[doc + 1]):
        row = simd.load_i16(block.scores + uint64(codes[token]) * row_size, mask)
        gain = gains[token]
        more = _reaches(bar, row, score_slack[gain], mask)
        tokens[n] = token
        n += 1 if more and not _reaches(bar, row, refine_slack[gain], mask) else 0
    return n
