"""Sizes as people write them."""

from __future__ import annotations

import re

from colmodern.errors import InputError

_SCALE = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def parse_bytes(size: int | str, *, name: str) -> int:
    """Number of bytes in "512M", "2G" (powers of 1000) or a plain number.

    Raises InputError that mentions ``name`` when the text is not a positive size.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)I?B?\s*", str(size).upper())
    value = int(float(match[1]) * _SCALE[match[2]]) if match else 0
    if value < 1:
        raise InputError(f"{name}={size!r} is not a size; write it as 512M or 2G")
    return value
