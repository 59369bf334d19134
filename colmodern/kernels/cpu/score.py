"""Float32 scores of the last candidates, from decoded tokens or from stored embeddings.

Only tokens that score_compressed found to be near the best are scored, and those that score_slack
lets through in addition and that are near it as well.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import int64, uint32, uint64

from colmodern.kernels.cpu.ir import simd
from colmodern.kernels.cpu.ir.vectors import ALL
from colmodern.kernels.cpu.jit import borrowing, compiled
from colmodern.kernels.cpu.refine import (
    GROUP,
    SimilarRows,
    append_near,
    choose_more_tokens,
    longest_group,
)
from colmodern.kernels.cpu.residual_query import similarities
from colmodern.kernels.cpu.token_block import TokenBlock, token_block
from colmodern.kernels.types import (
    Address,
    Bytes,
    CodecArrays,
    Floats,
    Int8s,
    Int16s,
    Int64s,
    Mask,
    Masks,
    NearTokens,
    QueryTables,
    ResidualQuery,
    SegmentArrays,
    StoredDocs,
)


class _Scratch(NamedTuple):
    """Memory for the tokens of a group of documents.

    Attributes:
        similar: (n_tokens, n_lanes) int16 similarities.
        best: (n_lanes,) int16, the best of one document.
        tokens: (n_tokens + 1,) int64 tokens that are scored in float32.
        masks: (n_tokens + 1,) uint16 or uint32 lanes of each.
    """

    similar: Int16s
    best: Int16s
    tokens: Int64s
    masks: Masks


@compiled
def _scratch(docs: Int64s, segment: SegmentArrays, query: QueryTables) -> _Scratch:
    longest, n_lanes = longest_group(docs, segment.doc_offsets), query.centroid_scores.shape[2]
    return _Scratch(
        np.empty((longest, n_lanes), np.int16),
        np.empty(n_lanes, np.int16),
        np.empty(longest + 1, np.int64),
        np.empty(longest + 1, query.lanes.dtype),
    )


@borrowing
def _contenders(
    doc: int,
    i: int,
    block: TokenBlock,
    query: ResidualQuery,
    margin: int,
    near: NearTokens,
    scratch: _Scratch,
    n: int,
) -> int:
    """Append the tokens of a document that are within ``margin`` of the best in some lane.

    They are appended to the first n of scratch.tokens and scratch.masks.

    Args:
        doc: A document of the segment.
        i: Its position in ``near``.
        block: The block of lanes, and the segment's tokens.
        query: The query's form for residuals.
        margin: As score_compressed took it.
        near: As score_compressed wrote it.
        scratch: Written.
        n: Tokens in scratch so far.

    Returns:
        The new number of tokens in scratch.
    """
    tokens, masks, best = scratch.tokens, scratch.masks, scratch.best
    start, stop = block.doc_offsets[doc], block.doc_offsets[doc + 1]
    begin = near.starts[i] + block.number * (stop - start)
    near_tokens, near_lanes, near_best = near.tokens, near.lanes, near.best
    for at in range(begin, begin + near.counts[i, block.number]):
        tokens[n], masks[n] = near_tokens[at], near_lanes[at]
        n += 1
    first = n
    residuals, n_bytes = uint64(block.residuals.ctypes.data), block.residuals.shape[1]
    last = choose_more_tokens(doc, block, tokens, first)
    for at in range(first, last):
        residual = residuals + uint64(tokens[at] * n_bytes)
        simd.prefetch(residual)
        simd.prefetch(residual + uint64(n_bytes - 1))
    similarities(query, block, tokens[first:last], scratch.similar)
    for lane in range(len(best)):
        best[lane] = near_best[i, block.number, lane]
    rows = SimilarRows(uint64(scratch.similar.ctypes.data), uint64(best.ctypes.data), margin)
    # what is kept moves up within the same arrays
    n, _ = append_near(rows, block, tokens, first, last, tokens, masks, n)
    return n


@borrowing
def _dot(a: Address, b: Address, dim: int) -> np.float32:
    """Product of float32 rows at addresses a and b; dim is a multiple of 32."""
    total = simd.splat_f32(np.float32(0), ALL)
    for at in range(0, dim, 32):
        x = simd.load_f32(a + uint64(at * 4), ALL)
        y = simd.load_f32(b + uint64(at * 4), ALL)
        total = simd.multiply_add(x, y, total)
    product: np.float32 = simd.total_f32(total)
    return product


@borrowing
def _decode(
    centroid: Int8s,
    scale: np.float32,
    codebook: Floats,
    residual: Bytes,
    gain: np.float32,
    row: Floats,
) -> None:
    """Write one decoded token, without what its document and the corpus share, into row."""
    dim, width = len(centroid), codebook.shape[2]
    entries, bytes_ = uint64(codebook.ctypes.data), uint64(residual.ctypes.data)
    values, out = uint64(centroid.ctypes.data), uint64(row.ctypes.data)
    scales, gains = simd.splat_f32(scale, ALL), simd.splat_f32(gain, ALL)
    whole = dim // 32 * 32
    for d in range(0, whole, 32):
        number = uint64(d // width)
        entry_0, byte = entries + number * uint64(1024 * width), bytes_ + number
        if width == 2:
            rest = simd.load_entries_of_2(entry_0, byte, ALL)
        elif width == 4:
            rest = simd.load_entries_of_4(entry_0, byte, ALL)
        elif width == 8:
            rest = simd.load_entries_of_8(entry_0, byte, ALL)
        else:
            rest = simd.load_entries_of_1(entry_0, byte, ALL)
        middle = simd.multiply_f32(simd.load_i8_as_f32(values + uint64(d), ALL), scales)
        decoded = simd.add_f32(middle, simd.multiply_f32(rest, gains))
        simd.store_f32(out + uint64(d * 4), decoded)
    for d in range(whole, dim):
        entry = codebook[d // width, residual[d // width], d % width]
        row[d] = np.float32(centroid[d]) * scale + gain * entry


@compiled
def score_decoded(
    docs: Int64s,
    segment: SegmentArrays,
    query: QueryTables,
    codec: CodecArrays,
    margin: int,
    near: NearTokens,
    out: Floats,
) -> None:
    """MaxSim in float32 with the decoded tokens, of those within ``margin`` units of the best.

    Args:
        docs: (n,) int64 documents of the segment.
        segment: Holds the documents' tokens.
        query: Its score_slack says which tokens are looked at besides those in ``near``.
        codec: Decodes the tokens.
        margin: The margin that score_compressed took for the same documents.
        near: The tokens that score_compressed found for the same documents.
        out: (n,) float32, written, without what the corpus mean and document vectors add; 0 for a
            document without tokens.
    """
    scratch, gain_step = _scratch(docs, segment, query), np.float32(codec.gain_step)
    tokens, masks, ends = scratch.tokens, scratch.masks, np.empty(GROUP, np.int64)
    padded, residual_query = query.padded, query.residual_query
    row = np.zeros(padded.shape[1], np.float32)
    best = np.empty(query.centroid_scores.shape[2], np.float32)
    # arrays are taken out of records before loops: numba counts the references to each
    codes, gains, residuals = segment.codes, segment.gains, segment.residuals
    centroids, scales, codebook = codec.centroids, codec.centroid_scales, codec.codebook
    out[:] = 0
    for block in range(len(query.lanes)):
        lookup = token_block(segment, query, block)
        for group in range(0, len(docs), GROUP):
            last, n = min(group + GROUP, len(docs)), int64(0)
            for i in range(group, last):
                n = _contenders(docs[i], i, lookup, residual_query, margin, near, scratch, n)
                ends[i - group] = n
            at = 0
            for i in range(group, last):
                best[:] = -np.inf
                while at < ends[i - group]:
                    token = tokens[at]
                    code, gain = codes[token], np.float32(gains[token]) * gain_step
                    _decode(centroids[code], scales[code], codebook, residuals[token], gain, row)
                    _raise_best(masks[at], padded, block, uint64(row.ctypes.data), best)
                    at += 1
                out[i] += _sum_finite(best)


@borrowing
def add_doc_vectors(
    docs: Int64s, segment: SegmentArrays, query: QueryTables, codec: CodecArrays, out: Floats
) -> None:
    """Add to every score what all tokens of its document share, in float32.

    Args:
        docs: (n,) int64 documents of the segment.
        segment: Holds the document vectors.
        query: Its doc_products and constant are read.
        codec: Its doc_gain_step is read.
        out: (n,) float32, added to; documents without tokens keep their score.
    """
    doc_offsets, products = segment.doc_offsets, query.doc_products
    gain_step, constant = np.float32(codec.doc_gain_step), np.float32(query.constant)
    for i in range(len(docs)):
        doc = docs[i]
        if doc_offsets[doc] < doc_offsets[doc + 1]:
            total = np.float32(0)
            for byte in range(products.shape[0]):
                total += products[byte, segment.doc_vectors[doc, byte]]
            out[i] += np.float32(segment.doc_gains[doc]) * gain_step * total + constant


@compiled
def score_stored(
    docs: Int64s,
    segment: SegmentArrays,
    query: QueryTables,
    stored: StoredDocs,
    margin: int,
    near: NearTokens,
    out: Floats,
) -> None:
    """MaxSim in float32 with the stored embeddings, of tokens within ``margin`` units of the best.

    Args:
        docs: (n,) int64 documents of the segment.
        segment: Holds the documents' tokens.
        query: As score_decoded takes it.
        stored: Embeddings of the documents.
        margin: The margin that score_compressed took for the same documents.
        near: The tokens that score_compressed found for the same documents.
        out: (n,) float32, written; NaN where a value that was read is not finite; 0 for a document
            without tokens.
    """
    scratch, dim, is_half = _scratch(docs, segment, query), stored.dim, stored.is_half
    tokens, masks, ends = scratch.tokens, scratch.masks, np.empty(GROUP, np.int64)
    padded, residual_query, doc_offsets = query.padded, query.residual_query, segment.doc_offsets
    row = np.zeros(padded.shape[1], np.float32)
    best = np.empty(query.centroid_scores.shape[2], np.float32)
    addresses, size = stored.addresses, dim * (2 if is_half else 4)
    out[:] = 0
    for block in range(len(query.lanes)):
        lookup = token_block(segment, query, block)
        for group in range(0, len(docs), GROUP):
            last, n = min(group + GROUP, len(docs)), int64(0)
            for i in range(group, last):
                before = n
                n = _contenders(docs[i], i, lookup, residual_query, margin, near, scratch, n)
                ends[i - group] = n
                first = doc_offsets[docs[i]]
                for at in range(before, n):  # far apart on disk and in memory
                    values = addresses[i] + uint64((tokens[at] - first) * size)
                    for line in range(0, size, 64):
                        simd.prefetch(values + uint64(line))
            at = 0
            for i in range(group, last):
                best[:] = -np.inf
                first = doc_offsets[docs[i]]
                while at < ends[i - group]:
                    values = addresses[i] + uint64((tokens[at] - first) * size)
                    _widen(values, dim, is_half, row)
                    _raise_best(masks[at], padded, block, uint64(row.ctypes.data), best)
                    at += 1
                out[i] += _sum_finite(best)


@borrowing
def _widen(address: Address, dim: int, is_half: bool, row: Floats) -> None:
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


@borrowing
def _raise_best(mask: Mask, queries: Floats, block: int, row: Address, best: Floats) -> None:
    """Raise the best similarity of each lane in the mask by one token.

    A similarity that is NaN or infinite makes the lane's best NaN for good: no maximum hides it.
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
            elif value > best[lane]:  # never where best is NaN
                best[lane] = value


@borrowing
def _sum_finite(best: Floats) -> np.float32:
    """Sum of the lanes that hold a query token; NaN where one of them is."""
    total: np.float32 = np.float32(0)
    for lane in range(len(best)):
        if best[lane] != -np.inf:
            total += best[lane]
    return total
