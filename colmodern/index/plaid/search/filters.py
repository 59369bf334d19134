"""Filters: the documents that a search may return."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from colmodern.checks import shown
from colmodern.errors import InputError
from colmodern.index.plaid.disk.segment import Segment
from colmodern.index.plaid.search.view import View
from colmodern.ragged.doc_ids import id_list

Blocked = list[npt.NDArray[np.bool_] | None]

_CURE = "pass a list or set of doc_ids, or a function from a doc_id to True or False"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class DocFilter:
    """A filter for one state of an index, to be used in many searches.

    Attributes:
        allowed: For each segment of the index, (n_docs,) bool.
        state: What identifies the state of the index that the filter was made for.
        n_unknown: Number of ids among those passed that the index did not have, or had deleted.
    """

    allowed: Sequence[npt.NDArray[np.bool_]]
    state: object
    n_unknown: int = 0


Filter = DocFilter | Iterable[str] | Callable[[str], bool]


def make_filter(
    view: View, state: object, allowed: Iterable[str] | Callable[[str], bool]
) -> DocFilter:
    """A filter from the ids of allowed documents, or from a function that is called with every id.

    Args:
        view: All documents of the index that are not deleted.
        state: What identifies the index's segments; kept in the filter.
        allowed: An iterable of doc_ids, or a function from a doc_id to True or False.

    Returns:
        The filter. Unknown ids are counted in ``n_unknown`` and logged as a warning: they may have
        been deleted since the list was made.

    Raises:
        InputError: One text, a mapping, ids that are no strings, a list of which the index has no
            id at all, or a function that raises or returns something else than True or False.
    """
    if isinstance(allowed, Mapping):
        raise InputError(
            f"filter={shown(allowed)} is a mapping, and documents have no fields to compare; {_CURE}"
        )
    if callable(allowed):
        masks = [
            np.fromiter(
                (_answer(allowed, doc_id) for doc_id in segment.ids), np.bool_, segment.n_docs
            )
            for segment in view.segments
        ]
        return DocFilter(masks, state)
    ids = id_list("filter", allowed, is_ordered=False, cure=_CURE)
    masks, is_known = [], np.zeros(len(ids), np.bool_)
    for segment, blocked in zip(view.segments, view.blocked, strict=True):
        docs = segment.ids.docs_of(ids)
        inside = np.zeros(segment.n_docs, np.bool_)
        inside[docs[docs >= 0]] = True
        masks.append(inside)
        is_here = docs >= 0
        if blocked is not None:
            is_here[is_here] = ~blocked[docs[is_here]]
        is_known |= is_here
    n_unknown = len(ids) - int(is_known.sum())
    if n_unknown:
        is_fault = n_unknown == len(ids) and view.n_open > 0  # an empty index has no id of any list
        _report_unknown(ids[int(np.argmin(is_known))], n_unknown, len(ids), is_fault=is_fault)
    return DocFilter(masks, state, n_unknown)


def _answer(predicate: Callable[[str], object], doc_id: str) -> bool:
    """The answer of a caller's function for a document."""
    try:
        answer = predicate(doc_id)
    except Exception as error:
        raise InputError(
            f"filter raised {type(error).__name__} for doc_id={doc_id!r}: {error}; pass a function "
            "from a doc_id to True or False"
        ) from error
    if not isinstance(answer, bool | np.bool_):
        raise InputError(
            f"filter returned {shown(answer)} for doc_id={doc_id!r}; have it return True or False"
        )
    return bool(answer)


def _report_unknown(example: str, n_unknown: int, n_ids: int, *, is_fault: bool) -> None:
    if is_fault:
        raise InputError(
            f"filter has {n_ids} ids, and the index has none of them (the first is {shown(example)}), so "
            "that no document could be returned; check the ids"
        )
    _log.warning(
        "filter has %d ids of which the index lacks %d, as %s: they match nothing",
        n_ids,
        n_unknown,
        shown(example),
    )


def join(
    deleted: Blocked, segments: Sequence[Segment], allowed: DocFilter | None
) -> tuple[Blocked, int]:
    """Documents blocked by deletions or by a filter, for each segment, and how many are left."""
    blocked = deleted
    if allowed is not None:
        blocked = [
            ~inside if mask is None else ~inside | mask
            for inside, mask in zip(allowed.allowed, deleted, strict=True)
        ]
    n_open = sum(
        segment.n_docs - (0 if mask is None else int(mask.sum()))
        for segment, mask in zip(segments, blocked, strict=True)
    )
    return blocked, n_open
