"""Arithmetic of the CPU's vector units that NumPy lacks."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from colmodern.kernels.types import Floats, Int16s, Mask

Integers: TypeAlias = npt.NDArray[np.integer]

LOWEST = -32_768  # the least int16


def fused(a: Floats, b: Floats, c: Floats) -> Floats:
    """Fused ``a * b + c`` in float32, rounded once."""
    product = a.astype(np.float64) * b  # exact: float64 has more than twice the bits
    total = product + c
    rest = total - product
    error = (product - (total - rest)) + (c - rest)
    # unless float64 was exact, an odd last bit keeps the next rounding from seeing a tie
    is_even = (total.view(np.int64) & 1) == 0
    nudged = np.nextafter(total, np.copysign(np.inf, error))
    return np.asarray(np.where((error != 0) & is_even, nudged, total), np.float32)


def to_int16(values: npt.NDArray[np.number]) -> Int16s:
    """Numbers as int16, staying at its ends."""
    return np.asarray(np.clip(values, -32_768, 32_767), np.int16)


def is_filled(mask: Mask, n_lanes: int) -> npt.NDArray[np.bool_]:
    """(n_lanes,) bool, the lanes that hold a query token."""
    return (int(mask) >> np.arange(n_lanes) & 1).astype(bool)
