"""What a launch needs to know of a GPU."""

from __future__ import annotations

import os
from functools import cache

import torch

_INTERPRETED_MULTIPROCESSORS = 2  # stands for a GPU's in the interpreter
_INTERPRETED_CACHE = 1 << 20  # bytes


def is_interpreted() -> bool:
    """Whether Triton runs kernels in Python, on any tensor: a test of the whole path, not a use."""
    return os.environ.get("TRITON_INTERPRET") == "1"


@cache
def multiprocessors(device: torch.device) -> int:
    """The number of multiprocessors of a GPU."""
    if device.type != "cuda":
        return _INTERPRETED_MULTIPROCESSORS
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


@cache
def cache_bytes(device: torch.device) -> int:
    """Size of the cache that all multiprocessors share."""
    if device.type != "cuda":
        return _INTERPRETED_CACHE
    return int(torch.cuda.get_device_properties(device).L2_cache_size)


@cache
def has_paired_maxima(device: torch.device) -> bool:
    """Whether a GPU has an instruction for the maxima of two numbers of 16 bits: Hopper and later."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (9, 0)


def power_of_two(n: int, *, least: int = 1) -> int:
    """The smallest power of two that is at least ``n`` and ``least``."""
    return max(least, 1 << max(0, n - 1).bit_length())
