"""Kernels that build an index: nearest centroids, residual codes, inverted lists.

Lanes hold 32 document tokens. Each token's result depends on that token alone, so a corpus gives
the same bytes however it was cut into chunks.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import int64, uint64

from colmodern.kernels.cpu.ir import dots, simd
from colmodern.kernels.cpu.ir.vectors import ALL
from colmodern.kernels.cpu.jit import compiled
from colmodern.kernels.types import (
    Address,
    Bytes,
    CentroidArrays,
    Codes,
    Floats,
    Int64s,
    TokenGroups,
)


@compiled
def assign_centroids(
    values: Floats, groups: TokenGroups, centroids: CentroidArrays, codes: Int64s
) -> None:
    """Find the nearest centroid of every token, among those of its group.

    Args:
        values: (n_tokens, dim) float32.
        groups: The tokens in groups.
        centroids: All centroids.
        codes: (n_tokens,) int64, written.
    """
    dim, order = centroids.values.shape[1], groups.order
    lanes = np.empty((dim // 4, 32, 4), np.uint8)
    scales, nearest = np.empty(32, np.float32), np.empty(32, np.int32)
    first_row, bytes_ = uint64(centroids.values.ctypes.data), uint64(lanes.ctypes.data)
    for group in range(len(groups.firsts)):
        first, last = groups.firsts[group], groups.lasts[group]
        stop = groups.offsets[group + 1]
        for start in range(groups.offsets[group], stop, 32):
            n = min(32, stop - start)
            if last - first == 1:
                for lane in range(n):
                    codes[order[start + lane]] = first
                continue
            _fill_lanes(values, order[start : start + n], lanes, scales)
            scale = simd.load_f32(uint64(scales.ctypes.data), ALL)
            best = simd.splat_f32(np.float32(-np.inf), ALL)
            where = simd.splat_i32(np.int32(first), ALL)
            for centroid in range(first, last):
                total = simd.splat_i32(-centroids.sums[centroid], ALL)
                row = first_row + uint64(centroid * dim)
                for at in range(0, dim, 4):
                    total = dots.add_dots_of_4(total, bytes_ + uint64(at * 32), row + uint64(at))
                by = simd.splat_f32(centroids.scales[centroid], ALL)
                product = simd.multiply_f32(simd.multiply_f32(simd.to_f32(total), by), scale)
                half_norm = simd.splat_f32(centroids.half_norms[centroid], ALL)
                near = simd.subtract_f32(product, half_norm)
                where = simd.choose(near, best, simd.splat_i32(np.int32(centroid), ALL), where)
                best = simd.maximum_f32(near, best)
            simd.store_i32(uint64(nearest.ctypes.data), where)
            for lane in range(n):
                codes[order[start + lane]] = nearest[lane]


@compiled
def _fill_lanes(values: Floats, tokens: Int64s, lanes: Bytes, scales: Floats) -> None:
    """Quantise up to 32 tokens to int8, plus 128, as (dim / 4, 32, 4) uint8 and (32,) scales."""
    dim = values.shape[1]
    for lane in range(32):
        token = tokens[min(lane, len(tokens) - 1)]
        largest = np.float32(1e-30)
        for d in range(dim):
            largest = max(largest, abs(values[token, d]))
        scales[lane] = largest / np.float32(127)
        by = np.float32(127) / largest
        for d in range(dim):
            lanes[d // 4, lane, d % 4] = np.uint8(np.rint(values[token, d] * by) + np.float32(128))


@compiled
def encode_residuals(
    values: Floats,
    codebook: Floats,
    half_norms: Floats,
    gain_step: np.float32,
    gains: Bytes,
    residuals: Bytes,
) -> None:
    """Encode vectors, residuals of tokens or of documents, as a length and a direction.

    Args:
        values: (n, dim) float32.
        codebook: (n_bytes, 256, width) float32 pieces of unit vectors.
        half_norms: (n_bytes, 256) float32, half the squared length of each entry.
        gain_step: Length for each step of a gain.
        gains: (n,) uint8, written.
        residuals: (n, n_bytes) uint8, written.
    """
    dim, n_bytes, width = values.shape[1], codebook.shape[0], codebook.shape[2]
    unit, norms = np.empty((dim, 32), np.float32), np.empty(32, np.float32)
    nearest = np.empty((n_bytes, 32), np.uint8)
    unit_address, nearest_address = uint64(unit.ctypes.data), uint64(nearest.ctypes.data)
    for start in range(0, len(values), 32):
        n = min(32, len(values) - start)
        for lane in range(32):
            token = start + min(lane, n - 1)
            squares = np.float32(0)
            for d in range(dim):
                r = values[token, d]
                unit[d, lane] = r
                squares += r * r
            norms[lane] = np.sqrt(squares)
            by = np.float32(1) / max(norms[lane], np.float32(1e-12))
            for d in range(dim):
                unit[d, lane] *= by
        _find_entries(unit_address, codebook, half_norms, nearest_address)
        for lane in range(n):
            along, length = np.float32(0), np.float32(1e-12)
            for byte in range(n_bytes):
                entry = nearest[byte, lane]
                residuals[start + lane, byte] = entry
                for j in range(width):
                    weight = codebook[byte, entry, j]
                    along += unit[byte * width + j, lane] * weight
                    length += weight * weight
            gain = norms[lane] * along / length / gain_step
            gains[start + lane] = np.uint8(min(max(np.rint(gain), np.float32(0)), np.float32(255)))


@compiled
def encode_by_weights(
    values: Floats,
    cutoffs: Floats,
    levels: Floats,
    scales: Floats,
    tries: Floats,
    gain_step: np.float32,
    gains: Bytes,
    residuals: Bytes,
) -> None:
    """Encode vectors with four bits a dimension and weights that all dimensions share.

    The nearest weights depend on the length that a direction is taken to have. Of several lengths
    the one is kept whose weights point nearest to where the vector does, as in
    https://arxiv.org/abs/2409.09913.

    Args:
        values: (n, dim) float32.
        cutoffs: (15,) float32, between the levels.
        levels: (16,) float32, rising; a weight is a level times a scale.
        scales: (dim,) float32.
        tries: (n_tries,) float32 lengths.
        gain_step: Length for each step of a gain.
        gains: (n,) uint8, written.
        residuals: (n, dim / 2) uint8, written.
    """
    dim = values.shape[1]
    rest, norms = np.empty((dim, 32), np.float32), np.empty(32, np.float32)
    codes = np.empty((dim, 32), np.uint8)
    rest_address, zero = uint64(rest.ctypes.data), simd.splat_f32(np.float32(0), ALL)
    for start in range(0, len(values), 32):
        n = min(32, len(values) - start)
        for lane in range(32):
            row, squares = start + min(lane, n - 1), np.float32(0)
            for d in range(dim):
                squares += values[row, d] * values[row, d]
            norms[lane] = np.sqrt(squares)
            by = np.float32(1) / max(norms[lane], np.float32(1e-12))
            for d in range(dim):
                rest[d, lane] = values[row, d] * by / scales[d]
        best = simd.splat_f32(np.float32(-1), ALL)
        best_size = zero
        for i in range(len(tries)):
            size = simd.splat_f32(tries[i], ALL)
            along, length = zero, simd.splat_f32(np.float32(1e-12), ALL)
            for d in range(dim):
                x = simd.load_f32(rest_address + uint64(d * 128), ALL)
                scaled = simd.multiply_f32(x, size)
                weight = simd.splat_f32(levels[0], ALL)
                for j in range(15):
                    above = simd.splat_f32(levels[j + 1], ALL)
                    weight = simd.choose_f32(scaled, simd.splat_f32(cutoffs[j], ALL), above, weight)
                product = simd.multiply_f32(weight, simd.splat_f32(scales[d] * scales[d], ALL))
                along = simd.multiply_add(x, product, along)
                length = simd.multiply_add(weight, product, length)
            near = simd.divide_f32(simd.multiply_f32(along, along), length)
            best_size = simd.choose_f32(near, best, size, best_size)
            best = simd.maximum_f32(near, best)
        for d in range(dim):
            scaled = simd.multiply_f32(
                simd.load_f32(rest_address + uint64(d * 128), ALL), best_size
            )
            code = simd.splat_i32(np.int32(0), ALL)
            for j in range(15):
                cutoff = simd.splat_f32(cutoffs[j], ALL)
                code = simd.choose(scaled, cutoff, simd.splat_i32(np.int32(j + 1), ALL), code)
            simd.store_low_bytes(uint64(codes.ctypes.data) + uint64(d * 32), code)
        for lane in range(n):
            along_, length_ = np.float32(0), np.float32(1e-12)
            for d in range(dim):
                weight_ = levels[codes[d, lane]] * scales[d]
                along_ += rest[d, lane] * scales[d] * weight_
                length_ += weight_ * weight_
            gain = norms[lane] * along_ / length_ / gain_step
            gains[start + lane] = np.uint8(min(max(np.rint(gain), np.float32(0)), np.float32(255)))
            for byte in range(dim // 2):
                low, high = codes[2 * byte, lane], codes[2 * byte + 1, lane]
                residuals[start + lane, byte] = low | (high << 4)


@compiled
def _find_entries(unit: Address, codebook: Floats, half_norms: Floats, nearest: Address) -> None:
    """Find the codebook entry nearest to 32 vectors, byte by byte.

    Args:
        unit: Address of (dim, 32) float32.
        codebook: (n_bytes, 256, width) float32.
        half_norms: (n_bytes, 256) float32, half the squared length of each entry.
        nearest: Address of (n_bytes, 32) uint8, written.
    """
    width = codebook.shape[2]
    for byte in range(codebook.shape[0]):
        best = simd.splat_f32(np.float32(-np.inf), ALL)
        where = simd.splat_i32(np.int32(0), ALL)
        for entry in range(256):
            near = simd.splat_f32(-half_norms[byte, entry], ALL)
            for j in range(width):
                lanes = simd.load_f32(unit + uint64((byte * width + j) * 128), ALL)
                near = simd.multiply_add(lanes, simd.splat_f32(codebook[byte, entry, j], ALL), near)
            where = simd.choose(near, best, simd.splat_i32(np.int32(entry), ALL), where)
            best = simd.maximum_f32(near, best)
        simd.store_low_bytes(nearest + uint64(byte * 32), where)


@compiled
def mean_by_document(values: Floats, doc_offsets: Int64s, means: Floats) -> None:
    """Write the mean of each document's tokens; zero for a document without tokens.

    Args:
        values: (n_tokens, dim) float32.
        doc_offsets: (n_docs + 1,) int64.
        means: (n_docs, dim) float32, written.
    """
    for doc in range(means.shape[0]):
        start, stop = doc_offsets[doc], doc_offsets[doc + 1]
        mean = means[doc]
        mean[:] = 0
        for token in range(start, stop):
            for d in range(values.shape[1]):
                mean[d] += values[token, d]
        if stop > start:
            mean /= np.float32(stop - start)


@compiled
def sum_by_entry(
    units: Floats,
    codebook: Floats,
    half_norms: Floats,
    start: int,
    stop: int,
    sums: npt.NDArray[np.float64],
    counts: Int64s,
) -> None:
    """One step of k-means for all bytes of a codebook: sums of what is nearest to each entry.

    Args:
        units: (n_tokens, dim) float32.
        codebook: (n_bytes, 256, width) float32.
        half_norms: (n_bytes, 256) float32, half the squared length of each entry.
        start: First token to be added.
        stop: The token behind the last to be added.
        sums: (n_bytes, 256, width) float64, added to.
        counts: (n_bytes, 256) int64, added to.
    """
    n_bytes, width = codebook.shape[0], codebook.shape[2]
    unit = np.empty((units.shape[1], 32), np.float32)
    nearest = np.empty((n_bytes, 32), np.uint8)
    for first in range(start, stop, 32):
        n = min(32, stop - first)
        for lane in range(32):
            for d in range(units.shape[1]):
                unit[d, lane] = units[first + min(lane, n - 1), d]
        unit_address, nearest_address = uint64(unit.ctypes.data), uint64(nearest.ctypes.data)
        _find_entries(unit_address, codebook, half_norms, nearest_address)
        for byte in range(n_bytes):
            for lane in range(n):
                entry = nearest[byte, lane]
                counts[byte, entry] += 1
                for j in range(width):
                    sums[byte, entry, j] += unit[byte * width + j, lane]


@compiled
def count_postings(
    codes: Codes, doc_offsets: Int64s, first_doc: int, last_doc: int, ends: Int64s
) -> None:
    """Count documents under each centroid, each once.

    Args:
        codes: (n_tokens,) centroid of each token.
        doc_offsets: (n_docs + 1,) int64.
        first_doc: First document of the block.
        last_doc: The document behind the block's last.
        ends: (n_centroids + 1,) int64, written: ends[c + 1] postings have centroids 0 to c.
    """
    latest = np.full(len(ends) - 1, -1, np.int64)
    ends[:] = 0
    for doc in range(first_doc, last_doc):
        for token in range(doc_offsets[doc], doc_offsets[doc + 1]):
            code = int64(codes[token])
            if latest[code] != doc:
                latest[code] = doc
                ends[code + 1] += 1
    for code in range(len(ends) - 1):
        ends[code + 1] += ends[code]


@compiled
def fill_postings(
    codes: Codes,
    doc_offsets: Int64s,
    first_doc: int,
    last_doc: int,
    ends: Int64s,
    docs: npt.NDArray[np.uint16],
) -> None:
    """Write each centroid's documents, ascending, from ends as count_postings made them.

    Args:
        codes: (n_tokens,) centroid of each token.
        doc_offsets: (n_docs + 1,) int64.
        first_doc: First document of the block.
        last_doc: The document behind the block's last.
        ends: (n_centroids + 1,) int64, ends of the lists.
        docs: (n_postings,) uint16, documents counted from first_doc, written.
    """
    latest = np.full(len(ends) - 1, -1, np.int64)
    next_posting = ends[:-1].copy()
    for doc in range(first_doc, last_doc):
        for token in range(doc_offsets[doc], doc_offsets[doc + 1]):
            code = int64(codes[token])
            if latest[code] != doc:
                latest[code] = doc
                docs[next_posting[code]] = np.uint16(doc - first_doc)
                next_posting[code] += 1
