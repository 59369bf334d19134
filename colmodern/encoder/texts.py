"""What callers pass as texts, checked before anything is encoded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from colmodern.encoder.settings import Role, surrogate_of
from colmodern.errors import InputError


def check_texts(texts: Iterable[str], role: Role) -> list[str]:
    """Return the texts as a list of plain strings.

    Args:
        texts: Any ordered iterable of strings: a list, generator, pandas Series or NumPy array.
        role: What the texts are; a query must have some text.

    Raises:
        InputError: ``texts`` is one string, has no order or has keys of its own, or one of its
            items is no string, half a surrogate pair, or a query without text.
    """
    _refuse_container(texts)
    try:
        items: list[Any] = list(texts)
    except TypeError as error:
        raise InputError(f"texts is a {type(texts).__name__}; pass a list of strings") from error
    return [_check_text(item, position, role) for position, item in enumerate(items)]


def _refuse_container(texts: object) -> None:
    name = type(texts).__name__
    if isinstance(texts, str | bytes | bytearray):
        kind = "one string" if isinstance(texts, str) else f"a {name}"
        raise InputError(f"texts is {kind}; pass a list of strings")
    if isinstance(texts, Mapping):
        raise InputError(
            f"texts is a {name}, whose keys would be encoded; pass list(texts.values())"
        )
    if isinstance(texts, set | frozenset):
        raise InputError(f"texts is a {name}, which has no order; pass a list of strings")
    if hasattr(texts, "columns"):  # a data frame, which iterates over the names of its columns
        raise InputError(f"texts is a {name}; pass one of its columns, as texts['text']")


def _check_text(text: object, position: int, role: Role) -> str:
    if not isinstance(text, str):
        value = f" ({text})" if isinstance(text, float | int) else ""
        raise InputError(f"texts[{position}] is a {type(text).__name__}{value}; pass strings")
    if (half := surrogate_of(text)) is not None:
        raise InputError(
            f"texts[{position}] holds {half}, which is no character; decode the text with "
            "errors='replace' where it is read"
        )
    if role == "query" and not text.strip():
        raise InputError(f"query {position} has no text; remove it or give it some")
    return text if type(text) is str else str(text)  # numpy's strings are of a class of their own
