"""The kernels of ``encoding.py`` in plain NumPy: the same codes, bytes and lists."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from colmodern.kernels.reference import Array, fused
from colmodern.kernels.types import CentroidArrays, TokenGroups


def assign_centroids(
    values: Array, groups: TokenGroups, centroids: CentroidArrays, codes: Array
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
        # encoding.py adds 128 to a token's bytes and takes 128 times a centroid's sum off again
        own_values, own_scales = centroids.values[own].astype(np.int64), centroids.scales[own]
        totals = (rounded[tokens] + 128) @ own_values.T - centroids.sums[own]
        products = totals.astype(np.float32) * own_scales * scales[tokens, None]
        nearest = np.argmax(products - centroids.half_norms[own], axis=1)
        codes[tokens] = groups.firsts[group] + nearest


def encode_residuals(
    values: Array,
    codebook: Array,
    half_norms: Array,
    gain_step: float,
    gains: Array,
    residuals: Array,
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
    for part in range(n_bytes):
        residuals[:, part] = _nearest_entries(unit, codebook, half_norms, part)
        for j in range(width):
            weights = codebook[part, residuals[:, part], j]
            along += unit[:, part * width + j] * weights
            length += weights * weights
    steps = norms * along / length / np.float32(gain_step)
    gains[:] = np.clip(np.rint(steps), 0, 255).astype(np.uint8)


def encode_by_weights(
    values: Array,
    cutoffs: Array,
    levels: Array,
    scales: Array,
    tries: Array,
    gain_step: float,
    gains: Array,
    residuals: Array,
) -> None:
    """Length and direction code of each vector, its direction taken at the best of some lengths."""
    n, dim = values.shape
    one, tiny = np.float32(1), np.float32(1e-12)
    squares = np.zeros(n, np.float32)
    for d in range(dim):
        squares += values[:, d] * values[:, d]
    norms = np.sqrt(squares)
    rest = values * (one / np.maximum(norms, tiny))[:, None] / scales
    best, chosen = np.full(n, -1, np.float32), np.zeros(n, np.float32)
    for size in tries:
        weights = levels[(rest[:, :, None] * size > cutoffs).sum(axis=2)]
        along, length = np.zeros(n, np.float32), np.full(n, tiny)
        for d in range(dim):
            part = weights[:, d] * (scales[d] * scales[d])
            along = fused(rest[:, d], part, along)
            length = fused(weights[:, d], part, length)
        near = along * along / length
        chosen = np.where(near > best, size, chosen)
        best = np.maximum(near, best)
    codes = (rest[:, :, None] * chosen[:, None, None] > cutoffs).sum(axis=2).astype(np.uint8)
    residuals[:] = codes[:, ::2] | codes[:, 1::2] << 4
    along, length = np.zeros(n, np.float32), np.full(n, tiny)
    for d in range(dim):
        weights = levels[codes[:, d]] * scales[d]
        along += rest[:, d] * scales[d] * weights
        length += weights * weights
    steps = norms * along / length / np.float32(gain_step)
    gains[:] = np.clip(np.rint(steps), 0, 255).astype(np.uint8)


def _nearest_entries(unit: Array, codebook: Array, half_norms: Array, part: int) -> Array:
    """(n_tokens,) the first of the nearest codebook entries of one part."""
    width = codebook.shape[2]
    near = np.tile(-half_norms[part], (len(unit), 1))
    for j in range(width):
        near = fused(unit[:, part * width + j, None], codebook[part, :, j], near)
    return np.asarray(np.argmax(near, axis=1))


def mean_by_document(rows: Array, doc_offsets: Array, means: Array) -> None:
    """The mean of each document's rows; zero for a document without rows."""
    for doc, (start, stop) in enumerate(pairwise(doc_offsets)):
        means[doc] = rows[start:stop].mean(axis=0) if stop > start else 0


def sum_by_entry(
    units: Array,
    codebook: Array,
    half_norms: Array,
    start: int,
    stop: int,
    sums: Array,
    counts: Array,
) -> None:
    """One step of k-means for all parts of a codebook: what is nearest to each entry."""
    n_bytes, _, width = codebook.shape
    some = units[start:stop]
    for part in range(n_bytes):
        entries = _nearest_entries(some, codebook, half_norms, part)
        for row, entry in zip(some, entries, strict=True):
            counts[part, entry] += 1
            sums[part, entry] += row[part * width : (part + 1) * width]


def count_postings(
    codes: Array, doc_offsets: Array, first_doc: int, last_doc: int, ends: Array
) -> None:
    """Documents under each centroid, each once, as ends[c + 1] of centroids 0 to c."""
    ends[:] = 0
    for doc in range(first_doc, last_doc):
        for code in set(codes[doc_offsets[doc] : doc_offsets[doc + 1]].tolist()):
            ends[code + 1] += 1
    ends[:] = np.cumsum(ends)


def fill_postings(
    codes: Array, doc_offsets: Array, first_doc: int, last_doc: int, ends: Array, docs: Array
) -> None:
    """Write each centroid's documents, ascending, counted from first_doc."""
    lists: list[list[int]] = [[] for _ in range(len(ends) - 1)]
    for doc in range(first_doc, last_doc):
        for code in set(codes[doc_offsets[doc] : doc_offsets[doc + 1]].tolist()):
            lists[code].append(doc - first_doc)
    docs[:] = [doc for postings in lists for doc in postings]
