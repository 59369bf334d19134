"""Where texts of different lengths begin in arrays that hold one text after another."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def offsets_of(lengths: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """(n + 1,) int64 running sum of (n,) lengths, starting with 0."""
    lengths = np.asarray(lengths, dtype=np.int64)
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def rows_of_texts(
    starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """(lengths.sum(),) int64 rows of texts, one text after another.

    starts: (n,) first row of each text; lengths: (n,) its rows
    """
    offsets = offsets_of(lengths)
    return np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
