"""Values that cannot be scored: NaN, infinity, and numbers whose products overflow float32."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# products of two such values, summed over any dim and any number of query tokens, fit float32
LARGEST_VALUE = 1e15
_CHUNK = 1 << 19  # values checked together: they stay in the cache
_HALF_EXPONENT = np.uint16(0x7C00)  # exponent bits, all set in a float16 that is NaN or infinite


def is_finite(values: npt.NDArray[np.floating]) -> bool:
    """Whether every value of (n_tokens, dim) rows can be scored in float32.

    Reads the values once, in chunks that stay in the cache.
    """
    step = max(1, _CHUNK // max(1, values.shape[1]))
    with np.errstate(all="ignore"):
        return all(
            _are_usable(values[start : start + step]) for start in range(0, len(values), step)
        )


def _are_usable(values: npt.NDArray[np.floating]) -> bool:
    if values.size == 0:
        return True
    if values.dtype == np.float16:
        bits = np.ascontiguousarray(values).view(np.uint16)
        return bool((bits & _HALF_EXPONENT).max() < _HALF_EXPONENT)
    flat = np.ascontiguousarray(values, np.float32).ravel()
    # a sum of squares is small only if all values are; a large sum may come from many values
    return bool(flat @ flat <= LARGEST_VALUE) or bool(np.abs(flat).max() <= LARGEST_VALUE)


def first_unusable_row(values: npt.NDArray[np.floating]) -> int:
    """Index of the first row with a value that cannot be scored; there must be one."""
    step = max(1, _CHUNK // max(1, values.shape[1]))
    with np.errstate(all="ignore"):
        for start in range(0, len(values), step):
            chunk = np.asarray(values[start : start + step], np.float32)
            usable = (np.abs(chunk) <= LARGEST_VALUE).all(axis=1)
            if not usable.all():
                return start + int(np.argmin(usable))
    raise AssertionError("all values can be scored")


def fault_of(row: npt.NDArray[np.floating]) -> str:
    """The fault of a row that cannot be scored, for messages."""
    with np.errstate(over="ignore"):
        if not np.isfinite(np.asarray(row, np.float32)).all():
            return "values that are not finite"
    return f"values beyond {LARGEST_VALUE:g}, whose products overflow,"
