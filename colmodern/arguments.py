"""Checks of the arguments of public functions, the same at every border."""

from __future__ import annotations

import difflib
import math
import operator
import os
import warnings
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, Set
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Any, TypeVar, cast

from colmodern.checks import shown, text_fault
from colmodern.errors import InputError

_Function = TypeVar("_Function", bound=Callable[..., Any])
_LONGEST_NAME = 255  # bytes; file systems take no longer name


def checked_path(name: str, path: object, cure: str = "a path as text or a Path") -> Path:
    """A path that the operating system accepts.

    Args:
        name: Name of the argument in messages.
        path: Text or an ``os.PathLike`` of text; it need not exist.
        cure: What to pass, for messages.

    Raises:
        InputError: Another type, an empty text, or a NUL or half a surrogate pair in it.
    """
    try:
        text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    except TypeError:
        text = None
    if not isinstance(text, str):
        raise InputError(f"{name} is a {type(path).__name__}; pass {cure}")
    if not text:
        raise InputError(f"{name}='' is empty; pass {cure}")
    if "\0" in text or text_fault(text):
        what = "a NUL character" if "\0" in text else str(text_fault(text)).removeprefix("has ")
        raise InputError(f"{name}={shown(text)} is not a path: it has {what}; pass {cure}")
    if max(len(os.fsencode(level)) for level in text.split(os.sep)) > _LONGEST_NAME:
        raise InputError(f"{name}={shown(text)} is too long for a file's name; pass {cure}")
    return Path(text)


def expect_flags(**flags: object) -> None:
    """Raise InputError for a flag that is neither True nor False; NumPy's bools are accepted."""
    for name, value in flags.items():
        if not isinstance(value, bool) and type(value).__name__ not in ("bool_", "bool"):
            raise InputError(f"{name}={shown(value)}; pass True or False")


def expect_choice(name: str, value: object, choices: Iterable[str | None]) -> None:
    """Raise InputError for a value that is not among the choices, which are texts or None."""
    choices = list(choices)
    if not (isinstance(value, str | None) and value in choices):
        raise InputError(f"{name}={shown(value)}; choose one of {', '.join(map(repr, choices))}")


def checked_count(name: str, value: object, *, least: int = 1, most: int | None = None) -> int:
    """A whole number of any library as an int.

    Raises:
        InputError: No whole number, or one below ``least`` or above ``most``.
    """
    number = _whole(value)
    if number is None or number < least or (most is not None and number > most):
        limits = f"at least {least}" if most is None else f"from {least} to {most}"
        raise InputError(f"{name}={shown(value)}; pass a whole number, {limits}")
    return number


def expect_counts(**counts: object) -> None:
    """Raise InputError for a count that is neither None nor a whole number of at least 1."""
    for name, value in counts.items():
        if value is not None:
            checked_count(name, value)


def checked_seconds(name: str, value: object, *, cure: str) -> float:
    """A number of seconds above 0; raises InputError for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < value < math.inf:  # type: ignore[operator]
        raise InputError(f"{name}={shown(value)}; {cure}")
    return float(value)  # type: ignore[arg-type]


def listed(name: str, values: Any, cure: str, *, is_ordered: bool = True) -> list[Any]:
    """The items of an argument that stands for a list.

    An error that a caller's own generator raises is not caught.

    Args:
        name: Name of the argument in messages.
        values: A list, tuple, array, generator, column of a table, or other iterable.
        cure: What to pass, for messages.
        is_ordered: Whether the order counts, so that a set is refused.

    Raises:
        InputError: One string, a mapping, a table, what cannot be iterated, or an unordered set.
    """
    kind = type(values).__name__
    if isinstance(values, str | bytes | bytearray):
        what = "one string" if isinstance(values, str) else kind
        raise InputError(f"{name}={shown(values)} is {what}; {cure}")
    if isinstance(values, Mapping):
        raise InputError(f"{name} is a {kind}, whose keys would be taken; {cure}")
    if is_ordered and isinstance(values, Set) and not isinstance(values, KeysView | ItemsView):
        raise InputError(f"{name} is a {kind}, which has no order; {cure}")
    if hasattr(values, "columns"):  # iterating over a table gives the names of its columns
        raise InputError(f"{name} is a {kind}; pass one of its columns, as {name}['text']")
    if isinstance(values, Iterator):
        return list(values)
    try:
        return list(values)
    except Exception as error:  # libraries of arrays raise errors of their own
        raise InputError(f"{name}={shown(values)}; {cure}") from error


def renamed_keywords(**renamed: str) -> Callable[[_Function], _Function]:
    """A decorator that accepts old keywords of a function for one more version, with a warning.

    The function keeps its signature, which has the new names alone. Called by an old and its new
    name at once, it raises InputError; called by an unknown name, a TypeError that suggests one.

    Args:
        **renamed: Old keyword -> new keyword, as ``chosen="allowed"``.
    """

    def decorate(function: _Function) -> _Function:
        names = list(signature(function).parameters)

        @wraps(function)
        def call(*args: Any, **values: object) -> object:
            for old in renamed.keys() & values.keys():
                new = renamed[old]
                if new in values or new in names[: len(args)]:
                    raise InputError(f"{old} is the old name of {new}; pass {new} alone")
                warnings.warn(
                    f"{function.__qualname__}: {old} is now called {new}; the old name goes with "
                    "version 0.2",
                    DeprecationWarning,
                    stacklevel=2,
                )
                values[new] = values.pop(old)
            if unknown := sorted(values.keys() - set(names)):
                raise TypeError(_unknown_keyword(function.__name__, args, unknown[0], names))
            return function(*args, **values)

        return cast(_Function, call)

    return decorate


def _unknown_keyword(name: str, args: tuple[Any, ...], keyword: str, names: list[str]) -> str:
    owner = f"{args[0].__name__}." if args and isinstance(args[0], type) else ""
    close = difflib.get_close_matches(keyword, names, n=1)
    known = ", ".join(name for name in names if name not in ("self", "cls"))
    hint = f"did you mean {close[0]!r}?" if close else f"its arguments are {known}"
    return f"{owner}{name}() has no argument {keyword!r}; {hint}"


def _whole(value: object) -> int | None:
    if isinstance(value, bool) or type(value).__name__ in ("bool_", "bool"):
        return None
    if getattr(value, "ndim", 0) != 0:  # an array of one number is not one number
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except Exception:  # a foreign class may raise anything there
        return None
