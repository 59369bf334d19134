"""Candidates scored with their compressed tokens, in integers; arguments are those of ``cpu.py``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import int64, uint64

from colmodern.kernels import simd
from colmodern.kernels.jit import compiled
from colmodern.kernels.residual_query import similarities
from colmodern.kernels.types import NearTokens

GROUP = 16  # documents whose residuals are asked for together
_LOWEST = np.int16(-32768)


@compiled
def empty_near(lengths: Any, masks: Any) -> Any:
    """A NearTokens for documents of (n_docs,) such lengths and for blocks of such masks."""
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
        np.empty((n_docs, n_blocks, simd.n_lanes(masks[0])), np.int16),
    )


@compiled
def keep_near(near: Any, kept: Any) -> Any:
    """The same NearTokens for some of its documents; kept: (n,) int64, ascending, overwrites the others."""
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
    docs: Any,
    doc_offsets: Any,
    codes: Any,
    gains: Any,
    residuals: Any,
    centroid_scores: Any,
    lanes: Any,
    query: Any,
    slack: Any,
    empty: int,
    margin: int,
    near: Any,
    out: Any,
) -> None:
    """MaxSim with the compressed tokens, in units; tokens that cannot win are not decoded.

    query: a TableQuery or a WeightQuery
    slack: (256,) int16, what a residual of each gain can add, in units; 32767 decodes every token
    docs, empty, out: as in score_by_centroids

    near: NearTokens, of which all but ``starts`` is written
    margin: units that a token may be below the best of a lane and still be near it
    """
    n_bytes = residuals.shape[1]
    start_of, longest = uint64(residuals.ctypes.data), longest_group(docs, doc_offsets)
    chosen, ends = np.empty(longest + 1, np.int64), np.empty(GROUP, np.int64)
    values = np.empty((longest, centroid_scores.shape[2]), np.int16)
    first_value = uint64(values.ctypes.data)
    out[:] = 0
    for block in range(centroid_scores.shape[0]):
        rows, mask = uint64(centroid_scores[block].ctypes.data), lanes[block]
        row_size = uint64(2) * simd.n_lanes(mask)
        below = simd.splat_i16(np.int16(margin), mask)
        for group in range(0, len(docs), GROUP):
            last = min(group + GROUP, len(docs))
            n = int64(0)  # a literal would be compiled for apart
            for i in range(group, last):
                start, stop = doc_offsets[docs[i]], doc_offsets[docs[i] + 1]
                before, n = (
                    n,
                    choose_tokens(start, stop, codes, gains, rows, mask, slack, chosen, n),
                )
                ends[i - group] = n
                for at in range(before, n):  # they are far apart: ask for all before using one
                    place = start_of + uint64(chosen[at] * n_bytes)
                    simd.prefetch(place)
                    simd.prefetch(place + uint64(n_bytes - 1))
            similarities(query, block, mask, rows, chosen, 0, n, codes, gains, residuals, values)
            at = 0
            for i in range(group, last):
                first, top = at, simd.splat_i16(_LOWEST, mask)
                while at < ends[i - group]:
                    value = simd.load_i16(first_value + uint64(at) * row_size, mask)
                    top = simd.maximum_i16(top, value)
                    at += 1
                simd.store_i16(uint64(near.best[i, block].ctypes.data), top)
                out[i] = out[i] + simd.total(top) if at > first else np.int32(empty)
                least = simd.subtract_saturated(top, below)
                begin = near.starts[i] + block * (doc_offsets[docs[i] + 1] - doc_offsets[docs[i]])
                n_near = 0
                for j in range(first, at):
                    value = simd.load_i16(first_value + uint64(j) * row_size, mask)
                    within = ~simd.lanes_above(least, value) & mask
                    if within != 0:
                        near.tokens[begin + n_near], near.lanes[begin + n_near] = chosen[j], within
                        n_near += 1
                near.counts[i, block] = n_near


@compiled
def longest_group(docs: Any, doc_offsets: Any) -> int:
    """Tokens of the longest group of documents that are scored together."""
    longest = 0
    for group in range(0, len(docs), GROUP):
        n = 0
        for i in range(group, min(group + GROUP, len(docs))):
            n += doc_offsets[docs[i] + 1] - doc_offsets[docs[i]]
        longest = max(longest, n)
    return longest


@compiled
def _best_centroids(start: int, stop: int, codes: Any, rows: Any, mask: Any) -> Any:
    """The highest of the tokens' centroid scores in each lane."""
    row_size, best = uint64(2) * simd.n_lanes(mask), simd.splat_i16(_LOWEST, mask)
    for token in range(start, stop):
        best = simd.maximum_i16(best, simd.load_i16(rows + uint64(codes[token]) * row_size, mask))
    return best


@compiled
def _reaches(bar: Any, row: Any, slack: Any, mask: Any) -> Any:
    """Whether some lane of a row is, with slack, not below the bar.

    Not below: a token without residual still equals its centroid.
    """
    most = simd.add_saturated(row, simd.splat_i16(slack, mask))
    return ~simd.lanes_above(bar, most) & mask != 0


@compiled
def choose_tokens(
    start: int,
    stop: int,
    codes: Any,
    gains: Any,
    rows: Any,
    mask: Any,
    slack: Any,
    chosen: Any,
    n: int,
) -> int:
    """Append the tokens that can win some lane; returns the new length of ``chosen``."""
    row_size = uint64(2) * simd.n_lanes(mask)
    bar = _best_centroids(start, stop, codes, rows, mask)
    for token in range(start, stop):
        row = simd.load_i16(rows + uint64(codes[token]) * row_size, mask)
        chosen[n] = token
        n += 1 if _reaches(bar, row, slack[gains[token]], mask) else 0
    return n


@compiled
def choose_more_tokens(
    start: int,
    stop: int,
    codes: Any,
    gains: Any,
    rows: Any,
    mask: Any,
    slack: Any,
    more_slack: Any,
    chosen: Any,
    n: int,
) -> int:
    """Append the tokens that more slack lets through; returns the new length of ``chosen``."""
    row_size = uint64(2) * simd.n_lanes(mask)
    bar = _best_centroids(start, stop, codes, rows, mask)
    for token in range(start, stop):
        row, gain = simd.load_i16(rows + uint64(codes[token]) * row_size, mask), gains[token]
        more = _reaches(bar, row, more_slack[gain], mask)
        chosen[n] = token
        n += 1 if more and not _reaches(bar, row, slack[gain], mask) else 0
    return n
