"""Checks of the texts that callers pass, before anything is encoded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from colmodern.arguments import listed
from colmodern.checks import text_fault
from colmodern.encoder.text.settings import Role
from colmodern.errors import InputError


def check_texts(texts: Iterable[str], role: Role) -> list[str]:
    """Return the texts as a list of plain strings.

    Args:
        texts: Any ordered iterable of strings: a list, generator, pandas Series or NumPy array.
        role: What the texts are; a query must have some text.

    Raises:
        InputError: ``texts`` is one string, has no order or has keys of its own, or one of its
            items is not a string, half a surrogate pair, or a query without text.
    """
    items = listed("texts", texts, _cure_of(texts))
    return [_check_text(item, position, role) for position, item in enumerate(items)]


def _cure_of(texts: object) -> str:
    if isinstance(texts, Mapping):
        return "pass list(texts.values())"
    return "pass a list of strings"


def _check_text(text: object, position: int, role: Role) -> str:
    if not isinstance(text, str):
        value = f" ({text})" if isinstance(text, float | int) else ""
        raise InputError(f"texts[{position}] is a {type(text).__name__}{value}; pass strings")
    if fault := text_fault(text):
        raise InputError(
            f"texts[{position}] {fault}; decode the text with errors='replace' where it is read"
        )
    if role == "query" and not text.strip():
        raise InputError(f"query {position} has no text; remove it or give it some")
    return text if type(text) is str else str(text)  # numpy's strings are of a class of their own
