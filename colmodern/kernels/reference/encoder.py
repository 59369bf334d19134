"""The kernels of ``cuda/encoder.py`` in plain NumPy: computed in float32, rounded once at the end."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from colmodern.kernels.types import Floats, Values

Int32s = npt.NDArray[np.int32]
_erf = np.vectorize(math.erf, otypes=[np.float64])


def add_norm(
    sums: Floats,
    addend: Values | None,
    weight: Floats,
    bias: Floats | None,
    eps: float,
    out: Values,
) -> None:
    """Add rows to the sum over layers, in place, and write the result's layer norm to ``out``."""
    if addend is not None:
        sums += addend.astype(np.float32)
    centred = sums - sums.mean(axis=1, keepdims=True)
    variance = (centred * centred).mean(axis=1, keepdims=True)
    out[:] = centred / np.sqrt(variance + np.float32(eps)) * weight + (0 if bias is None else bias)


def gelu_gate(hidden: Values, out: Values) -> None:
    """The exact gelu of each row's first half times its second half."""
    a, gate = np.split(hidden.astype(np.float32), 2, axis=1)
    out[:] = 0.5 * a * (1 + _erf(a / math.sqrt(2))) * gate


def rotate(qkv: Values, cosines: Floats, sines: Floats, positions: Int32s) -> None:
    """Turn pairs of dimensions of (n, 3, n_heads, head_dim) queries and keys, not values, in place."""
    c, s = cosines[positions, None, None], sines[positions, None, None]
    a, b = (qkv[:, :2, :, start::2].astype(np.float32) for start in (0, 1))
    qkv[:, :2, :, ::2] = a * c - b * s
    qkv[:, :2, :, 1::2] = a * s + b * c
