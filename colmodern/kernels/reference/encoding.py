"""The kernels of ``cpu/encoding.py`` in plain NumPy: the same codes, bytes and lists."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from colmodern.kernels.reference.arithmetic import fused
from colmodern.kernels.types import Bytes, CentroidArrays, Codes, Floats, Int64s, TokenGroups


def assign_centroids(
    values: Floats, groups: TokenGroups, centroids: CentroidArrays, codes: Int64s
) -> None:
    """Find the nearest centroid of each token among its group's; of equal ones the smallest.

    Tokens are quantised to int8 first, so that the product is one of integers.
    """
    most = np.maximum(np.abs(values).max(axis=1), np.float32(1e-30))
    scales, by = most / np.float32(127), np.float32(127) / most
    rounded = np.rint(values * by[:, None]).astype(np.int64)
    for group in range(len(groups.firsts)):
        tokens = groups.order[groups.offsets[group] : groups.offsets[group + 1]]
        own = slice(groups.firsts[group], groups.lasts[group])
        # cpu/encoding.py adds 128 to a token's bytes and takes 128 times a centroid's sum off again
        own_values, own_scales = centroids.values[own].astype(np.int64), centroids.scales[own]
        totals = (rounded[tokens] + 128) @ own_values.T - centroids.sums[own]
        products = totals.astype(np.float32) * own_scales * scales[tokens, None]
        nearest = np.argmax(products - centroids.half_norms[own], axis=1)
        codes[tokens] = groups.firsts[group] + nearest


def encode_residuals(
    values: Floats,
    codebook: Floats,
    half_norms: Floats,
    gain_step: float,
    gains: Bytes,
    residuals: Bytes,
) -> None:
    """Length and direction code of each vector.

    Each sum is float32, from the first dimension to the last.
    """
    n_bytes, _, width = codebook.shape
    squares = np.zeros(len(values), np.float32)
    for d in range(values.shape[1]):
        squares += values[:, d] * values[:, d]
    norms = np.sqrt(squares)
    unit = values * (np.float32(1) / np.maximum(norms, np.float32(1e-12)))[:, None]
    along, length = np.zeros_like(norms), np.full_like(norms, 1e-12)
    for byte in range(n_bytes):
        residuals[:, byte] = _nearest_entries(unit, codebook, half_norms, byte)
        for j in range(width):
            weights = codebook[byte, residuals[:, byte], j]
            along += unit[:, byte * width + j] * weights
            length += weights * weights
    steps = norms * along / length / np.float32(gain_step)
    gains[:] = np.clip(np.rint(steps), 0, 255).astype(np.uint8)


def encode_by_weights(
    values: Floats,
    cutoffs: Floats,
    levels: Floats,
    scales: Floats,
    tries: Floats,
    gain_step: float,
    gains: Bytes,
    residuals: Bytes,
) -> None:
    """Length and direction code of each vector, its direction taken at the best of some lengths."""
    n, dim = values.shape
    tiny = np.float32(1e-12)
    squares = np.zeros(n, np.float32)
    for d in range(dim):
        squares += values[:, d] * values[:, d]
    norms = np.sqrt(squares)
    rest = values * (np.float32(1) / np.maximum(norms, tiny))[:, None] / scales
    best, length_of_best = np.full(n, -1, np.float32), np.zeros(n, np.float32)
    for size in tries:
        weights = levels[(rest[:, :, None] * size > cutoffs).sum(axis=2)]
        along, length = np.zeros(n, np.float32), np.full(n, tiny)
        for d in range(dim):
            scaled = weights[:, d] * (scales[d] * scales[d])
            along = fused(rest[:, d], scaled, along)
            length = fused(weights[:, d], scaled, length)
        near = along * along / length
        length_of_best = np.where(near > best, size, length_of_best)
        best = np.maximum(near, best)
    codes = (
        (rest[:, :, None] * length_of_best[:, None, None] > cutoffs).sum(axis=2).astype(np.uint8)
    )
    residuals[:] = codes[:, ::2] | codes[:, 1::2] << 4
    along, length = np.zeros(n, np.float32), np.full(n, tiny)
    for d in range(dim):
        weights = levels[codes[:, d]] * scales[d]
        along += rest[:, d] * scales[d] * weights
        length += weights * weights
    steps = norms * along / length / np.float32(gain_step)
    gains[:] = np.clip(np.rint(steps), 0, 255).astype(np.uint8)


def _nearest_entries(unit: Floats, codebook: Floats, half_norms: Floats, byte: int) -> Int64s:
    """(n_tokens,) the first of the nearest codebook entries for one byte."""
    width = codebook.shape[2]
    near = np.tile(-half_norms[byte], (len(unit), 1))
    for j in range(width):
        near = fused(unit[:, byte * width + j, None], codebook[byte, :, j], near)
    return np.asarray(np.argmax(near, axis=1))


def mean_by_document(values: Floats, doc_offsets: Int64s, means: Floats) -> None:
    """The mean of each document's tokens; zero for a document without tokens."""
    for doc, (start, stop) in enumerate(pairwise(doc_offsets)):
        means[doc] = values[start:stop].mean(axis=0) if stop > start else 0


def sum_by_entry(
    units: Floats,
    codebook: Floats,
    half_norms: Floats,
    start: int,
    stop: int,
    sums: npt.NDArray[np.float64],
    counts: Int64s,
) -> None:
    """One step of k-means for all bytes of a codebook: sums of what is nearest to each entry."""
    n_bytes, _, width = codebook.shape
    chunk = units[start:stop]
    for byte in range(n_bytes):
        entries = _nearest_entries(chunk, codebook, half_norms, byte)
        for unit, entry in zip(chunk, entries, strict=True):
            counts[byte, entry] += 1
            sums[byte, entry] += unit[byte * width : (byte + 1) * width]


def count_postings(
    codes: Codes, doc_offsets: Int64s, first_doc: int, last_doc: int, ends: Int64s
) -> None:
    """Documents under each centroid, each once, as ends[c + 1] of centroids 0 to c."""
    ends[:] = 0
    for doc in range(first_doc, last_doc):
        for code in set(codes[doc_offsets[doc] : doc_offsets[doc + 1]].tolist()):
            ends[code + 1] += 1
    ends[:] = np.cumsum(ends)


def fill_postings(
    codes: Codes,
    doc_offsets: Int64s,
    first_doc: int,
    last_doc: int,
    ends: Int64s,
    docs: npt.NDArray[np.uint16],
) -> None:
    """Write each centroid's documents, ascending, counted from first_doc."""
    lists: list[list[int]] = [[] for _ in range(len(ends) - 1)]
    for doc in range(first_doc, last_doc):
        for code in set(codes[doc_offsets[doc] : doc_offsets[doc + 1]].tolist()):
            lists[code].append(doc - first_doc)
    docs[:] = [doc for postings in lists for doc in postings]
