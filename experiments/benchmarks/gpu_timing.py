"""Timing on a GPU, and the limits that times are compared with."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

_WALL_RUNS = 50
_SLOW = 0.2  # seconds; fewer runs of such calls


@dataclass(frozen=True)
class Limits:
    """Measured in this run; both 0 without a GPU.

    bandwidth: bytes a second, read and written, of a copy; flops: a second, of a bf16 product
    """

    bandwidth: float
    flops: float


def gpu_ms(call: Callable[[], object]) -> float:
    """Median milliseconds that the GPU is busy with a call, with an empty cache."""
    if not torch.cuda.is_available():
        start = time.perf_counter()
        call()
        return 1000 * (time.perf_counter() - start)
    from triton.testing import do_bench

    return float(do_bench(call, warmup=25, rep=100, return_mode="median"))


def wall_ms(call: Callable[[], object]) -> float:
    """Median milliseconds until a caller has the result."""
    if not torch.cuda.is_available():
        return gpu_ms(call)
    seconds: list[float] = []
    while len(seconds) < _WALL_RUNS and (len(seconds) < 5 or sum(seconds) < _SLOW * 10):
        torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return 1000 * median(seconds)


def measure_limits() -> tuple[Limits, list[dict[str, Any]]]:
    """What the GPU does at best, and its rows of the table."""
    if not torch.cuda.is_available():
        return Limits(0.0, 0.0), []
    n = 8192
    bandwidth, copied = _copy(1 << 30)
    flops, multiplied = _product(n)
    rows = [
        {"work": "copy", "shape": "4 GiB", "engine": "torch", "ms": copied,
         "note": f"{bandwidth / 1e12:.2f} TB/s"},
        {"work": "bf16 product", "shape": f"{n}^3", "engine": "torch", "ms": multiplied,
         "note": f"{flops / 1e12:.0f} TFLOP/s"},
    ]  # fmt: skip
    return Limits(bandwidth, flops), rows


def _copy(n: int) -> tuple[float, float]:
    """Bytes a second, and milliseconds, of copying n int32."""
    source = torch.empty(n, dtype=torch.int32, device="cuda").random_()
    target = torch.empty_like(source)
    ms = gpu_ms(lambda: target.copy_(source))
    return 2 * source.nbytes / ms * 1000, ms


def _product(n: int) -> tuple[float, float]:
    """Operations a second, and milliseconds, of a product of n x n matrices."""
    a, b = (torch.randn(n, n, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    ms = gpu_ms(lambda: a @ b)
    return 2 * n**3 / ms * 1000, ms
