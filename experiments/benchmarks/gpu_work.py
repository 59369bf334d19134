"""What the benchmarks of kernels are made of: sizes, made-up inputs, one kernel at one shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from colmodern.ragged.offsets import offsets_of

DIM, QUERY_TOKENS = 128, 32


class Sizes(NamedTuple):
    """Sizes of what is scored: those for a GPU, and those that the interpreter can do."""

    many: int = 10_000
    rerank: tuple[int, ...] = (100, 1000)
    batch: int = 64
    mean: int = 300  # tokens of a document
    scanned: int = 100_000
    candidates: int = 2000
    centroids: int = 1 << 16
    assigned: int = 1 << 17
    rows: int = 1 << 16  # tokens of a batch of an encoder


TINY = Sizes(12, (3,), 5, 40, 12, 6, 300, 200, 70)


class Work(NamedTuple):
    """One kernel at one shape.

    n_bytes, n_flops: that it cannot do without; tokens: of documents times queries, to divide by
    """

    name: str
    shape: str
    kernels: tuple[str, ...]  # whose launches it depends on
    call: Callable[[], torch.Tensor]
    n_bytes: float = 0.0
    n_flops: float = 0.0
    tokens: int = 0
    peers: tuple[tuple[str, Callable[[], torch.Tensor]], ...] = ()
    tolerance: float = 0.02
    truth: Callable[[], torch.Tensor] | None = None
    checked: int | None = None  # the first documents, which truth is of; None: all


def unit(shape: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    values = torch.randn(shape, device=device)
    return (values / values.norm(dim=-1, keepdim=True)).to(dtype)


def ragged(n: int, mean: int, device: torch.device) -> torch.Tensor:
    lengths = np.random.default_rng(0).integers(mean * 2 // 3, mean * 4 // 3 + 1, n)
    return torch.from_numpy(offsets_of(lengths)).to(device)
