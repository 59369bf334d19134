"""The ids, among many, that an index has."""

from __future__ import annotations

from collections.abc import Container, Sequence


def known_ids(index: Container[object], doc_ids: Sequence[str]) -> list[str]:
    """The ids that an index has, in their order, with one request where it is elsewhere."""
    ask = getattr(index, "known_ids", None)
    return [doc_id for doc_id in doc_ids if doc_id in index] if ask is None else ask(doc_ids)
