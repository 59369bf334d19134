"""Inputs of the kernels of cpu/encoding.py, as kernel_inputs.py makes those of searches."""

from __future__ import annotations

import numpy as np
from kernels.kernel_inputs import Inputs, run, slow

from colmodern.kernels.types import CentroidArrays, TokenGroups


def assign_inputs(
    group_sizes: list[int], n_centroids: int, dim: int, seed: int, *, kind: str = "random"
) -> Inputs:
    """assign_centroids; every third group owns one centroid, the others overlapping ranges."""
    rng = np.random.default_rng(seed)
    n_groups, n_tokens = len(group_sizes), sum(group_sizes)
    values = rng.normal(size=(n_tokens, dim)).astype(np.float32)
    centroids = rng.integers(-127, 128, (n_centroids, dim)).astype(np.int8)
    if kind == "equal":
        values[:], centroids[:] = values[:1], centroids[0]
    elif kind == "ends":
        values = np.sign(values)
        values[::3] = 0
        centroids = np.where(centroids < 0, -127, 127).astype(np.int8)
    firsts = rng.integers(0, n_centroids, n_groups)
    lasts = np.minimum(firsts + rng.integers(1, n_centroids + 1, n_groups), n_centroids)
    lasts[::3] = firsts[::3] + 1
    scales = np.full(n_centroids, 0.3 / 127, np.float32)
    squares = np.square(centroids.astype(np.int32)).sum(axis=1).astype(np.float32)
    offsets = np.cumsum([0, *group_sizes])
    sums = (128 * centroids.sum(axis=1, dtype=np.int32)).astype(np.int32)
    half_norms = squares * scales * scales / np.float32(2)
    return {
        "values": values,
        "groups": TokenGroups(rng.permutation(n_tokens), offsets, firsts, lasts),
        "centroids": CentroidArrays(centroids, sums, scales, half_norms),
        "codes": np.full(n_tokens, -1, np.int64),
    }


def residual_inputs(
    n_tokens: int, dim: int, nbits: int, seed: int, *, kind: str = "random"
) -> Inputs:
    """encode_residuals."""
    rng = np.random.default_rng(seed)
    n_bytes = dim * nbits // 8
    codebook = rng.normal(size=(n_bytes, 256, dim // n_bytes)).astype(np.float32)
    codebook /= np.float32(np.sqrt(dim))
    values = rng.normal(size=(n_tokens, dim)).astype(np.float32)
    if kind == "zero":
        values[:] = 0
    elif kind == "ties":  # every entry is as good
        codebook[:] = codebook[:, :1]
    return {
        "values": values,
        "codebook": codebook,
        "half_norms": (np.square(codebook).sum(axis=2) / 2).astype(np.float32),
        "gain_step": np.float32(0.02 if kind == "ends" else 0.2),
        "gains": np.full(n_tokens, 99, np.uint8),
        "residuals": np.full((n_tokens, n_bytes), 99, np.uint8),
    }


def weight_inputs(n_tokens: int, dim: int, seed: int, *, kind: str = "random") -> Inputs:
    """encode_by_weights."""
    rng = np.random.default_rng(seed)
    levels = np.sort(rng.choice(np.arange(-127, 128), 16, replace=False)).astype(np.float32)
    values = rng.normal(size=(n_tokens, dim)).astype(np.float32)
    if kind == "zero":
        values[:] = 0
    return {
        "values": values,
        "cutoffs": (levels[1:] + levels[:-1]) / 2,
        "levels": levels,
        "scales": rng.uniform(1e-3, 2e-3, dim).astype(np.float32),
        "tries": np.array([1] if kind == "one length" else [0.7, 1, 1.2], np.float32),
        "gain_step": np.float32(0.02 if kind == "ends" else 0.2),
        "gains": np.full(n_tokens, 99, np.uint8),
        "residuals": np.full((n_tokens, dim // 2), 99, np.uint8),
    }


def posting_inputs(
    lengths: list[int], n_centroids: int, first_doc: int, seed: int, *, dtype: str = "uint16"
) -> Inputs:
    """count_postings, fill_postings; documents before first_doc are of another block."""
    rng = np.random.default_rng(seed)
    inputs: Inputs = {
        "codes": rng.integers(0, n_centroids, sum(lengths)).astype(dtype),
        "doc_offsets": np.cumsum([0, *lengths]),
        "first_doc": first_doc,
        "last_doc": len(lengths),
        "ends": np.full(n_centroids + 1, -1, np.int64),
    }
    inputs["ends"] = run(slow("count_postings"), inputs)["ends"]
    inputs["docs"] = np.zeros(inputs["ends"][-1], np.uint16)
    return inputs


def step_inputs(n_tokens: int, dim: int, nbits: int, seed: int) -> Inputs:
    """sum_by_entry."""
    rng = np.random.default_rng(seed)
    n_bytes, width = dim * nbits // 8, 8 // nbits
    codebook = rng.standard_normal((n_bytes, 256, width)).astype(np.float32)
    return {
        "units": rng.standard_normal((n_tokens, dim)).astype(np.float32),
        "codebook": codebook,
        "half_norms": (np.square(codebook).sum(axis=2) / 2).astype(np.float32),
        "start": n_tokens // 3,
        "stop": n_tokens,
        "sums": np.zeros(codebook.shape),
        "counts": np.zeros(codebook.shape[:2], np.int64),
    }
