"""Float32 scores of the last candidates, from decoded tokens or from stored embeddings.

Arguments are those of ``compressed.py``. Looked at are the tokens that score_compressed found to be near
the best, and those that more slack lets through and that are near it as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import int64, uint32, uint64

from colmodern.kernels import simd
from colmodern.kernels.compressed import GROUP, choose_more_tokens, longest_group
from colmodern.kernels.jit import compiled
from colmodern.kernels.residual_query import similarities
from colmodern.kernels.vectors import ALL

_LOWEST = np.int16(-32768)


@compiled
def _contenders(
    start: int,
    stop: int,
    codes: Any,
    gains: Any,
    residuals: Any,
    rows: Any,
    mask: Any,
    query: Any,
    block: int,
    slack: Any,
    more_slack: Any,
    margin: int,
    near: Any,
    i: int,
    similar: Any,
    tokens: Any,
    masks: Any,
    n: int,
) -> int:
    """Append a document's tokens that are within ``margin`` of the best in some lane.

    mask: of the lanes; near: of which document i is this one
    similar: (n_doc_tokens, n_lanes) int16, scratch
    tokens: int64 and masks: uint16 or uint32, the lanes of each; appended to after the first n
    Returns their new length.
    """
    begin = near.starts[i] + block * (stop - start)
    for at in range(begin, begin + near.counts[i, block]):
        tokens[n], masks[n] = near.tokens[at], near.lanes[at]
        n += 1
    first, out = n, uint64(similar.ctypes.data)
    residual, n_bytes = uint64(residuals.ctypes.data), residuals.shape[1]
    last = choose_more_tokens(
        start, stop, codes, gains, rows, mask, slack, more_slack, tokens, first
    )
    for at in range(first, last):
        place = residual + uint64(tokens[at] * n_bytes)
        simd.prefetch(place)
        simd.prefetch(place + uint64(n_bytes - 1))
    similarities(query, block, mask, rows, tokens, first, last, codes, gains, residuals, similar)
    top, row_size = (
        simd.load_i16(uint64(near.best[i, block].ctypes.data), mask),
        uint64(2) * simd.n_lanes(mask),
    )
    for at in range(first, last):
        top = simd.maximum_i16(top, simd.load_i16(out + uint64(at - first) * row_size, mask))
    least = simd.subtract_saturated(top, simd.splat_i16(np.int16(margin), mask))
    for at in range(first, last):
        value = simd.load_i16(out + uint64(at - first) * row_size, mask)
        tokens[n], masks[n] = tokens[at], ~simd.lanes_above(least, value) & mask
        n += 1 if masks[n] != 0 else 0
    return n


@compiled
def _dot(a: Any, b: Any, dim: int) -> Any:
    """Product of float32 rows at addresses a and b; dim is a multiple of 32."""
    total = simd.splat_f32(np.float32(0), ALL)
    for at in range(0, dim, 32):
        x = simd.load_f32(a + uint64(at * 4), ALL)
        y = simd.load_f32(b + uint64(at * 4), ALL)
        total = simd.multiply_add(x, y, total)
    return simd.total_f32(total)


@compiled
def _decode(centroid: Any, scale: Any, codebook: Any, residual: Any, gain: Any, row: Any) -> None:
    """Write one decoded token, without what its document and the corpus share, into row."""
    dim, width = len(centroid), codebook.shape[2]
    entries, bytes_ = uint64(codebook.ctypes.data), uint64(residual.ctypes.data)
    rows, out = uint64(centroid.ctypes.data), uint64(row.ctypes.data)
    scales, gains = simd.splat_f32(scale, ALL), simd.splat_f32(gain, ALL)
    whole = dim // 32 * 32
    for d in range(0, whole, 32):
        part = uint64(d // width)
        place, byte = entries + part * uint64(1024 * width), bytes_ + part
        if width == 2:
            rest = simd.load_entries_of_2(place, byte, ALL)
        elif width == 4:
            rest = simd.load_entries_of_4(place, byte, ALL)
        elif width == 8:
            rest = simd.load_entries_of_8(place, byte, ALL)
        else:
            rest = simd.load_entries_of_1(place, byte, ALL)
        middle = simd.multiply_f32(simd.load_i8_as_f32(rows + uint64(d), ALL), scales)
        decoded = simd.add_f32(middle, simd.multiply_f32(rest, gains))
        simd.store_f32(out + uint64(d * 4), decoded)
    for d in range(whole, dim):
        entry = codebook[d // width, residual[d // width], d % width]
        row[d] = np.float32(centroid[d]) * scale + gain * entry


@compiled
def score_decoded(
    docs: Any,
    doc_offsets: Any,
    codes: Any,
    gains: Any,
    residuals: Any,
    centroid_scores: Any,
    lanes: Any,
    query: Any,
    slack: Any,
    more_slack: Any,
    margin: int,
    near: Any,
    queries: Any,
    centroids: Any,
    centroid_scales: Any,
    codebook: Any,
    gain_step: Any,
    out: Any,
) -> None:
    """MaxSim in float32 with the decoded tokens, of those within ``margin`` units of the best.

    slack, margin, near: as score_compressed took and wrote them for the same documents
    more_slack: (256,) int16, at least slack; tokens that it lets through are looked at as well
    queries: (n_query_tokens, dim up to a multiple of 32) float32, zeros behind dim
    out: (n,) float32, written; without what the corpus mean adds; 0 for a document without tokens
    """
    longest = longest_group(docs, doc_offsets)
    n_lanes = centroid_scores.shape[2]
    similar = np.empty((longest, n_lanes), np.int16)
    tokens, masks = np.empty(longest + 1, np.int64), np.empty(longest + 1, lanes.dtype)
    ends = np.empty(GROUP, np.int64)
    row, best = np.zeros(queries.shape[1], np.float32), np.empty(n_lanes, np.float32)
    out[:] = 0
    for block in range(centroid_scores.shape[0]):
        rows = uint64(centroid_scores[block].ctypes.data)
        for group in range(0, len(docs), GROUP):
            last, n = min(group + GROUP, len(docs)), int64(0)
            for i in range(group, last):
                n = _contenders(
                    doc_offsets[docs[i]], doc_offsets[docs[i] + 1], codes, gains, residuals, rows,
                    lanes[block], query, block, slack, more_slack, margin, near, i, similar,
                    tokens, masks, n,
                )  # fmt: skip
                ends[i - group] = n
            at = 0
            for i in range(group, last):
                best[:] = -np.inf
                while at < ends[i - group]:
                    token = tokens[at]
                    code, gain = codes[token], np.float32(gains[token]) * gain_step
                    _decode(
                        centroids[code],
                        centroid_scales[code],
                        codebook,
                        residuals[token],
                        gain,
                        row,
                    )
                    _raise_best(masks[at], queries, block, uint64(row.ctypes.data), best)
                    at += 1
                out[i] += _sum_finite(best)


@compiled
def add_doc_vectors(
    docs: Any,
    doc_offsets: Any,
    doc_gains: Any,
    doc_vectors: Any,
    products: Any,
    gain_step: Any,
    constant: Any,
    out: Any,
) -> None:
    """Add to every score what all tokens of its document share, in float32.

    doc_gains: (n_docs,) uint8; doc_vectors: (n_docs, n_doc_bytes) uint8
    products: (n_doc_bytes, 256) float32, of the summed query with every codebook entry
    constant: what the corpus mean adds; out: (n,) float32; documents without tokens keep theirs
    """
    for i in range(len(docs)):
        doc = docs[i]
        if doc_offsets[doc] < doc_offsets[doc + 1]:
            total = np.float32(0)
            for part in range(products.shape[0]):
                total += products[part, doc_vectors[doc, part]]
            out[i] += np.float32(doc_gains[doc]) * gain_step * total + constant


@compiled
def score_stored(
    docs: Any,
    doc_offsets: Any,
    codes: Any,
    gains: Any,
    residuals: Any,
    centroid_scores: Any,
    lanes: Any,
    query: Any,
    slack: Any,
    more_slack: Any,
    margin: int,
    near: Any,
    queries: Any,
    addresses: Any,
    dim: int,
    is_half: bool,
    out: Any,
) -> None:
    """MaxSim in float32 with the stored embeddings, of tokens within ``margin`` units of the best.

    addresses: (n,) uint64, where each document's (n_tokens, dim) float16 or float32 rows begin
    out: (n,) float32, written; NaN where a value that was read is not finite; the other arguments
        are score_decoded's
    """
    size = dim * (2 if is_half else 4)
    longest = longest_group(docs, doc_offsets)
    n_lanes = centroid_scores.shape[2]
    similar = np.empty((longest, n_lanes), np.int16)
    tokens, masks = np.empty(longest + 1, np.int64), np.empty(longest + 1, lanes.dtype)
    ends = np.empty(GROUP, np.int64)
    row, best = np.zeros(queries.shape[1], np.float32), np.empty(n_lanes, np.float32)
    out[:] = 0
    for block in range(centroid_scores.shape[0]):
        rows = uint64(centroid_scores[block].ctypes.data)
        for group in range(0, len(docs), GROUP):
            last, n = min(group + GROUP, len(docs)), int64(0)
            for i in range(group, last):
                before, n = n, _contenders(
                    doc_offsets[docs[i]], doc_offsets[docs[i] + 1], codes, gains, residuals, rows,
                    lanes[block], query, block, slack, more_slack, margin, near, i, similar,
                    tokens, masks, n,
                )  # fmt: skip
                ends[i - group] = n
                first = doc_offsets[docs[i]]
                for at in range(before, n):  # far apart on disk and in memory
                    place = addresses[i] + uint64((tokens[at] - first) * size)
                    for line in range(0, size, 64):
                        simd.prefetch(place + uint64(line))
            at = 0
            for i in range(group, last):
                best[:] = -np.inf
                while at < ends[i - group]:
                    token = tokens[at]
                    place = addresses[i] + uint64((token - doc_offsets[docs[i]]) * size)
                    _widen(place, dim, is_half, row)
                    _raise_best(masks[at], queries, block, uint64(row.ctypes.data), best)
                    at += 1
                out[i] += _sum_finite(best)


@compiled
def _widen(address: Any, dim: int, is_half: bool, row: Any) -> None:
    """Copy dim float16 or float32 values, a multiple of 8, into float32 row."""
    to = uint64(row.ctypes.data)
    whole = dim // 32 * 32
    for at in range(0, whole, 32):
        if is_half:
            simd.store_f32(to + uint64(at * 4), simd.load_f16(address + uint64(at * 2), ALL))
        else:
            simd.store_f32(to + uint64(at * 4), simd.load_f32(address + uint64(at * 4), ALL))
    for at in range(whole, dim):
        if is_half:
            row[at] = simd.scalar_f16(address + uint64(at * 2))
        else:
            row[at] = simd.scalar_f32(address + uint64(at * 4))


@compiled
def _raise_best(mask: Any, queries: Any, block: int, row: Any, best: Any) -> None:
    """Raise the best similarity of each lane in the mask by one token.

    One that is NaN or infinite makes the lane's best NaN, for good: no maximum hides it.
    """
    width = queries.shape[1]
    first = uint64(queries.ctypes.data)
    n_lanes = len(best)
    for lane in range(n_lanes):
        if uint32(mask) >> uint32(lane) & uint32(1):
            query = first + uint64((block * n_lanes + lane) * width * 4)
            value = _dot(query, row, width)
            if not abs(value) < np.inf:
                best[lane] = np.nan
            elif value > best[lane]:  # never of NaN
                best[lane] = value


@compiled
def _sum_finite(best: Any) -> Any:
    """Sum of the lanes that hold a query token; NaN where one of them is."""
    total = np.float32(0)
    for lane in range(len(best)):
        if best[lane] != -np.inf:
            total += best[lane]
    return total
