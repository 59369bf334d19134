"""Kernels that build an index: nearest centroids, residual codes, inverted lists.

Lanes hold 32 document tokens. Each token's result depends on that token alone, so a corpus gives
the same bytes however it was cut into pieces.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import int64, uint64

from colmodern.kernels import dots, simd
from colmodern.kernels.jit import compiled
from colmodern.kernels.types import CentroidArrays, Floats, Int64s, TokenGroups
from colmodern.kernels.vectors import ALL


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
    rows, bytes_ = uint64(centroids.values.ctypes.data), uint64(lanes.ctypes.data)
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
                row = rows + uint64(centroid * dim)
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
def _fill_lanes(values: Any, tokens: Any, lanes: Any, scales: Any) -> None:
    """Quantise up to 32 tokens to int8, plus 128; lanes: (dim / 4, 32, 4) uint8, scales: (32,)."""
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
    values: Any, codebook: Any, half_norms: Any, gain_step: Any, gains: Any, residuals: Any
) -> None:
    """Length and direction code of vectors: what a token's, or a document's, other codes leave over.

    values: (n, dim) float32
    codebook: (n_bytes, 256, dims) float32, parts of unit vectors; half_norms: (n_bytes, 256)
    gains: (n,) uint8 and residuals: (n, n_bytes) uint8, written
    """
    dim, n_bytes, width = values.shape[1], codebook.shape[0], codebook.shape[2]
    unit, norms = np.empty((dim, 32), np.float32), np.empty(32, np.float32)
    chosen = np.empty((n_bytes, 32), np.uint8)
    places = uint64(unit.ctypes.data)
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
        _choose_entries(places, codebook, half_norms, uint64(chosen.ctypes.data))
        for lane in range(n):
            along, length = np.float32(0), np.float32(1e-12)
            for part in range(n_bytes):
                entry = chosen[part, lane]
                residuals[start + lane, part] = entry
                for j in range(width):
                    weight = codebook[part, entry, j]
                    along += unit[part * width + j, lane] * weight
                    length += weight * weight
            gain = norms[lane] * along / length / gain_step
            gains[start + lane] = np.uint8(min(max(np.rint(gain), np.float32(0)), np.float32(255)))


@compiled
def encode_by_weights(
    values: Any,
    cutoffs: Any,
    levels: Any,
    scales: Any,
    tries: Any,
    gain_step: Any,
    gains: Any,
    residuals: Any,
) -> None:
    """As encode_residuals, for four bits a dimension with weights that all dimensions share.

    Which weights are nearest depends on the length that a direction is taken to have: of some
    lengths the one is kept whose weights point nearest to where the vector does, as in
    https://arxiv.org/abs/2409.09913.

    values: (n, dim) float32
    levels: (16,) float32, rising, and scales: (dim,) float32: a weight is their product
    cutoffs: (15,) float32, between the levels; tries: (n_tries,) float32 lengths
    gains: (n,) uint8 and residuals: (n, dim / 2) uint8, written
    """
    dim = values.shape[1]
    rest, norms = np.empty((dim, 32), np.float32), np.empty(32, np.float32)
    codes = np.empty((dim, 32), np.uint8)
    places, zero = uint64(rest.ctypes.data), simd.splat_f32(np.float32(0), ALL)
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
        chosen = zero
        for i in range(len(tries)):
            size = simd.splat_f32(tries[i], ALL)
            along, length = zero, simd.splat_f32(np.float32(1e-12), ALL)
            for d in range(dim):
                x = simd.load_f32(places + uint64(d * 128), ALL)
                scaled = simd.multiply_f32(x, size)
                weight = simd.splat_f32(levels[0], ALL)
                for j in range(15):
                    above = simd.splat_f32(levels[j + 1], ALL)
                    weight = simd.choose_f32(scaled, simd.splat_f32(cutoffs[j], ALL), above, weight)
                part = simd.multiply_f32(weight, simd.splat_f32(scales[d] * scales[d], ALL))
                along = simd.multiply_add(x, part, along)
                length = simd.multiply_add(weight, part, length)
            near = simd.divide_f32(simd.multiply_f32(along, along), length)
            chosen = simd.choose_f32(near, best, size, chosen)
            best = simd.maximum_f32(near, best)
        for d in range(dim):
            scaled = simd.multiply_f32(simd.load_f32(places + uint64(d * 128), ALL), chosen)
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
def _choose_entries(unit: Any, codebook: Any, half_norms: Any, chosen: Any) -> None:
    """The nearest codebook entry of each part of 32 tokens.

    unit: address of (dim, 32) float32; chosen: address of (n_bytes, 32) uint8, written
    """
    width = codebook.shape[2]
    for part in range(codebook.shape[0]):
        best = simd.splat_f32(np.float32(-np.inf), ALL)
        where = simd.splat_i32(np.int32(0), ALL)
        for entry in range(256):
            near = simd.splat_f32(-half_norms[part, entry], ALL)
            for j in range(width):
                lanes = simd.load_f32(unit + uint64((part * width + j) * 128), ALL)
                near = simd.multiply_add(lanes, simd.splat_f32(codebook[part, entry, j], ALL), near)
            where = simd.choose(near, best, simd.splat_i32(np.int32(entry), ALL), where)
            best = simd.maximum_f32(near, best)
        simd.store_low_bytes(chosen + uint64(part * 32), where)


@compiled
def mean_by_document(rows: Any, doc_offsets: Any, means: Any) -> None:
    """The mean of each document's rows; zero for a document without rows.

    rows: (n_tokens, dim) float32; doc_offsets: (n_docs + 1,) int64
    means: (n_docs, dim) float32, written
    """
    for doc in range(means.shape[0]):
        start, stop = doc_offsets[doc], doc_offsets[doc + 1]
        mean = means[doc]
        mean[:] = 0
        for token in range(start, stop):
            for d in range(rows.shape[1]):
                mean[d] += rows[token, d]
        if stop > start:
            mean /= np.float32(stop - start)


@compiled
def sum_by_entry(
    units: Any, codebook: Any, half_norms: Any, start: int, stop: int, sums: Any, counts: Any
) -> None:
    """One step of k-means for all parts of a codebook: what is nearest to each entry.

    units: (n_tokens, dim) float32, of which start to stop are taken
    codebook, half_norms: as in encode_residuals
    sums: (n_bytes, 256, width) float64 and counts: (n_bytes, 256) int64, added to
    """
    n_bytes, width = codebook.shape[0], codebook.shape[2]
    unit = np.empty((units.shape[1], 32), np.float32)
    chosen = np.empty((n_bytes, 32), np.uint8)
    for first in range(start, stop, 32):
        n = min(32, stop - first)
        for lane in range(32):
            for d in range(units.shape[1]):
                unit[d, lane] = units[first + min(lane, n - 1), d]
        _choose_entries(uint64(unit.ctypes.data), codebook, half_norms, uint64(chosen.ctypes.data))
        for part in range(n_bytes):
            for lane in range(n):
                entry = chosen[part, lane]
                counts[part, entry] += 1
                for j in range(width):
                    sums[part, entry, j] += unit[part * width + j, lane]


@compiled
def count_postings(codes: Any, doc_offsets: Any, first_doc: int, last_doc: int, ends: Any) -> None:
    """Documents under each centroid, each once; ends: (n_centroids + 1,) int64, written.

    After it, ends[c + 1] is the number of postings of centroids 0 to c.
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
    codes: Any, doc_offsets: Any, first_doc: int, last_doc: int, ends: Any, docs: Any
) -> None:
    """Write each centroid's documents, ascending, from ends as count_postings made it.

    docs: (n_postings,) uint16, rows counted from first_doc, written
    """
    latest = np.full(len(ends) - 1, -1, np.int64)
    place = ends[:-1].copy()
    for doc in range(first_doc, last_doc):
        for token in range(doc_offsets[doc], doc_offsets[doc + 1]):
            code = int64(codes[token])
            if latest[code] != doc:
                latest[code] = doc
                docs[place[code]] = np.uint16(doc - first_doc)
                place[code] += 1
