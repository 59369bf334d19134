"""Values of fields: numbers, dates, booleans and texts, alone or in lists and nested records."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from enum import Enum
from typing import Any

import numpy as np

from colmodern.checks import shown, text_fault
from colmodern.errors import InputError
from colmodern.types import Scalar

MOST_CHARACTERS = 1024  # a text in a filter has at most so many, and columns keep one more
_CURE = "pass numbers, dates, booleans, text, and lists or mappings of them"
_INT64 = 1 << 63
_DATE = re.compile(
    r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:?\d\d)?)?", re.ASCII
)
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
_MICROSECOND = datetime.timedelta(microseconds=1)


class Kind(str, Enum):
    """How a column holds its values.

    Attributes:
        INTEGER: Whole numbers of 64 bits.
        FLOAT: Other numbers.
        BOOLEAN: True and False.
        DATE: Texts that are dates or times in ISO 8601, as microseconds since 1970.
        TEXT: All texts, also those that are dates.
    """

    INTEGER = "integer"
    FLOAT = "float"
    BOOLEAN = "boolean"
    DATE = "date"
    TEXT = "text"

    @property
    def word(self) -> str:
        """The kind as users read it."""
        return "number" if self in (Kind.INTEGER, Kind.FLOAT) else self.value


def leaves(record: object, where: Callable[[], str]) -> Iterator[tuple[str, Scalar]]:
    """Every value of a document's record, with the name of its field.

    A list stands for its items. A key of a nested mapping is named with the keys above it, as
    "author.name". None and NaN are no values.

    Args:
        record: A mapping from names to values.
        where: Gives what it is called in messages.

    Raises:
        InputError: It is no mapping, a key is no text, or a value is of another type.
    """
    if not isinstance(record, Mapping):
        raise InputError(f"{where()} is {shown(record)}; pass a mapping from names to values")
    waiting: list[tuple[str, Any]] = [("", record)]
    while waiting:
        name, value = waiting.pop()
        kind = type(value)
        if kind is int or kind is bool or (kind is str and text_fault(value) is None):
            yield name, value
        elif isinstance(value, Mapping):
            for key, inner in value.items():
                if not isinstance(key, str) or text_fault(key):
                    raise InputError(
                        f"{where()} has the key {shown(key)}; names of fields are text"
                    )
                waiting.append((f"{name}.{key}" if name else key, inner))
        elif isinstance(value, list | tuple | set | frozenset | np.ndarray):
            waiting += [(name, item) for item in value]
        elif (leaf := scalar(value, f"the field {shown(name)} of {where()}")) is not None:
            yield name, leaf


def scalar(value: object, where: str, cure: str = _CURE) -> Scalar | None:
    """A value as a plain bool, int, float or text; None for None and NaN.

    Raises:
        InputError: It is of another type, or a text that cannot be stored.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, datetime.date):  # a datetime is one
        value = value.isoformat()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        if fault := text_fault(value):
            raise InputError(f"{where} is {shown(value)}, which {fault}; correct it")
        return str(value)
    if isinstance(value, bool | int | float):
        return value
    raise InputError(f"{where} is {shown(value)}; {cure}")


def number_kind(value: int | float) -> Kind:
    """The kind of column that a number goes to."""
    is_whole = isinstance(value, int) and -_INT64 <= value < _INT64
    return Kind.INTEGER if is_whole else Kind.FLOAT


def as_float(value: int | float) -> float:
    """A number as float64, infinite where it is too large."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def microseconds(text: str) -> int | None:
    """A date or time in ISO 8601 as microseconds since 1970; None for another text.

    A day is its first moment. What names no time zone is in UTC.
    """
    if not _DATE.fullmatch(text):
        return None
    if text.endswith("Z"):
        text = f"{text[:-1]}+00:00"
    elif len(text) > 16 and text[-5] in "+-":
        text = f"{text[:-2]}:{text[-2:]}"
    if "." in text:  # Python 3.10 reads three digits or six
        head, _, tail = text.partition(".")
        digits = re.match(r"\d+", tail)
        n = 0 if digits is None else digits.end()
        text = f"{head}.{tail[:n]:0<6}{tail[n:]}"
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.timezone.utc)
    return (moment - _EPOCH) // _MICROSECOND
