"""Which documents a search may return."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from colmodern.errors import InputError
from colmodern.index.plaid.segment import Segment

Blocked = list[npt.NDArray[np.bool_] | None]


@dataclass(frozen=True, eq=False)
class DocFilter:
    """A filter worked out for one state of an index, to be used in many searches.

    allowed: for each segment (n_docs,) bool; state: of the index it was made for
    """

    allowed: Sequence[npt.NDArray[np.bool_]]
    state: object


Filter = DocFilter | Iterable[str] | Callable[[str], bool]


def make_filter(
    segments: Sequence[Segment], state: object, chosen: Iterable[str] | Callable[[str], bool]
) -> DocFilter:
    """A filter from the ids of allowed documents, or from a question asked of every id.

    Unknown ids are passed over: they may have been deleted. Raises InputError for one text.
    """
    if isinstance(chosen, str):
        raise InputError(f"filter={chosen!r} is one text; pass a list or set of ids, or a function")
    if callable(chosen):
        allowed = [
            np.fromiter((bool(chosen(one)) for one in segment.ids), np.bool_, segment.n_docs)
            for segment in segments
        ]
        return DocFilter(allowed, state)
    if not isinstance(chosen, Iterable):
        raise InputError(f"filter={chosen!r}; pass a list or set of ids, or a function of an id")
    ids = list(chosen)
    allowed = []
    for segment in segments:
        inside = np.zeros(segment.n_docs, np.bool_)
        rows = segment.ids.rows_of(ids)
        inside[rows[rows >= 0]] = True
        allowed.append(inside)
    return DocFilter(allowed, state)


def join(
    deleted: Blocked, segments: Sequence[Segment], allowed: DocFilter | None
) -> tuple[Blocked, int]:
    """What is blocked by deletions or by a filter, and how many documents are left."""
    blocked = deleted
    if allowed is not None:
        blocked = [
            ~inside if gone is None else ~inside | gone
            for inside, gone in zip(allowed.allowed, deleted, strict=True)
        ]
    n_open = sum(
        segment.n_docs - (0 if some is None else int(some.sum()))
        for segment, some in zip(segments, blocked, strict=True)
    )
    return blocked, n_open
