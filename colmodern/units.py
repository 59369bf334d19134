"""Sizes and factors as people write them."""

from __future__ import annotations

import re

from colmodern.checks import shown
from colmodern.errors import InputError

_MOST_DIGITS = 30
_POWER = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def as_whole(value: float) -> float:
    """2 for 2.0, which is no other setting; other numbers as they are."""
    return int(value) if float(value).is_integer() else value


def parse_bytes(size: int | str, *, name: str) -> int:
    """Number of bytes in "512M", "2GB" (powers of 1000), "2GiB" (of 1024) or a plain number.

    Raises InputError that mentions ``name`` when the text is not a positive size.
    """
    text = size if isinstance(size, str) else shown(size)  # a number as it is written
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)B?\s*", text.upper())
    value = 0
    if match and len(match[1]) <= _MOST_DIGITS:
        value = int(float(match[1]) * (1024 if match[3] else 1000) ** _POWER[match[2]])
    if value < 1:
        raise InputError(f"{name}={shown(size)} is not a size; write it as 512M or 2G")
    return value
