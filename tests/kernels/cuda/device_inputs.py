"""Inputs of the GPU kernels, and the device they are checked on.

The files check_*.py are tests for a process of their own: test_cuda.py starts it, with
TRITON_INTERPRET=1 where there is no GPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from colmodern.kernels.cuda import compressed
from colmodern.kernels.reference import cuda as reference_cuda
from colmodern.ragged.offsets import offsets_of

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
LENGTHS = [0, 1, 31, 33, 127, 64, 200]
SLOW_IN_PART = [48, *(pytest.param(dim, marks=pytest.mark.slow) for dim in (64, 96, 128))]


class DividesAsGpus(TorchDispatchMode):
    """Divide by a number as torch does on GPUs: multiply with its reciprocal in float32."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is torch.ops.aten.div.Tensor and not isinstance(args[1], torch.Tensor):
            return args[0] * (torch.ones(()) / torch.tensor(float(args[1])))
        return func(*args, **(kwargs or {}))


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    rows = rng.normal(size=shape).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def to_device(array: np.ndarray | None) -> torch.Tensor | None:
    return None if array is None else torch.from_numpy(np.ascontiguousarray(array)).to(DEVICE)


def padded(rng: np.random.Generator, lengths: list[int], n_lanes: int, dim: int) -> np.ndarray:
    """(n_queries, n_lanes, dim) with zeros behind each query's tokens."""
    queries = unit(rng, len(lengths), n_lanes, dim)
    for query, length in enumerate(lengths):
        queries[query, length:] = 0
    return queries


def compressed_inputs(
    dim: int, nbits: int, seed: int, *, is_shared: bool, n_centroids: int = 70, dtype: str = "int32"
) -> dict[str, Any]:
    """Tokens, centroids and codebook as the reference takes them."""
    rng = np.random.default_rng(seed)
    n_tokens, n_bytes, span = sum(LENGTHS), dim * nbits // 8, 8 // nbits
    entries = rng.normal(size=(1 if is_shared else n_bytes, 256, span)) / np.sqrt(dim)
    entries = entries.astype(np.float16).astype(np.float32)
    scales = rng.uniform(0.5, 1.5, dim).astype(np.float32) if is_shared else None
    return {
        "tokens": reference_cuda.Tokens(
            offsets_of(LENGTHS),
            rng.integers(0, n_centroids, n_tokens).astype(dtype),
            rng.integers(0, 256, n_tokens).astype(np.uint8),
            rng.integers(0, 256, (n_tokens, n_bytes)).astype(np.uint8),
        ),
        "codebook": reference_cuda.Codebook(entries, scales),
        "centroids": rng.integers(-127, 128, (n_centroids, dim)).astype(np.int8),
        "centroid_scales": rng.uniform(0.5, 1, n_centroids).astype(np.float32)
        / np.float32(127 * np.sqrt(dim)),
        "gain_step": np.array([0.002], np.float32),
    }


def tokens_on_device(tokens: reference_cuda.Tokens) -> compressed.Tokens:
    codes = tokens.codes.view(np.int16) if tokens.codes.dtype == np.uint16 else tokens.codes
    return compressed.Tokens(
        to_device(tokens.doc_offsets),
        to_device(codes),
        to_device(tokens.gains),
        to_device(tokens.residuals),
    )


def codebook_on_device(codebook: reference_cuda.Codebook, *, is_half: bool) -> compressed.Codebook:
    entries = to_device(codebook.entries)
    return compressed.Codebook(entries.half() if is_half else entries, to_device(codebook.scales))
