"""Filters of a PLAID index: from ids, a function or conditions on fields to masks of segments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from colmodern.errors import InputError
from colmodern.index.fields.conditions import Condition, expect_fields, parse_filter
from colmodern.index.fields.masks import mask_of
from colmodern.index.filters import DocFilter, Filter, allowed_ids, answers, count_unknown
from colmodern.index.plaid.disk.segment import Segment
from colmodern.index.plaid.disk.verify import verified_fields
from colmodern.index.plaid.search.state import State
from colmodern.index.plaid.search.view import View


def _masks(state: State, condition: Condition) -> list[npt.NDArray[np.bool_]]:
    """For each segment (n_docs,) whether its documents meet a condition."""
    snapshot = state.snapshot
    expect_fields(condition, snapshot.manifest.fields)
    return [
        mask_of(verified_fields(snapshot.folder, segment), condition)
        for segment in snapshot.segments
    ]


def make_filter(state: State, allowed: Filter) -> DocFilter:
    """A filter from conditions, from ids, or from a function that is called with every id.

    Args:
        state: The state of the index.
        allowed: Conditions on fields, an iterable of doc_ids, or a function from a doc_id to True or
            False.

    Returns:
        The filter. Unknown ids are counted in ``n_unknown`` and logged as a warning: they may have
        been deleted since the list was made.

    Raises:
        InputError: One text, conditions that are none or on unknown fields, ids that are no strings,
            a list of which the index has no id at all, or a function that raises or returns
            something else than True or False.
    """
    view, segments = state.view, state.snapshot.manifest.segments
    if isinstance(allowed, DocFilter):
        return allowed
    if isinstance(allowed, Mapping):
        return DocFilter(_masks(state, parse_filter(allowed)), segments)
    if callable(allowed):
        masks = [answers(allowed, segment.ids, segment.n_docs) for segment in view.segments]
        return DocFilter(masks, segments)
    ids = allowed_ids(allowed)
    masks, is_known = [], np.zeros(len(ids), np.bool_)
    for segment, blocked in zip(view.segments, view.blocked, strict=True):
        docs = live_docs(ids, segment, blocked)
        inside = np.zeros(segment.n_docs, np.bool_)
        inside[docs[docs >= 0]] = True
        masks.append(inside)
        is_known |= docs >= 0
    return DocFilter(masks, segments, count_unknown(ids, is_known, is_empty=view.n_open == 0))


def live_docs(
    ids: Sequence[str], segment: Segment, deleted: npt.NDArray[np.bool_] | None
) -> npt.NDArray[np.int64]:
    """(n_ids,) documents of a segment that have the ids, -1 where there is none or it is deleted."""
    docs = segment.ids.docs_of(ids)
    if deleted is not None:
        known = np.flatnonzero(docs >= 0)
        docs[known[deleted[docs[known]]]] = -1
    return docs


def filtered_view(state: State, allowed: Filter | None) -> View:
    """The documents of a state that a search may return.

    Raises:
        InputError: As from ``make_filter``; or a DocFilter is of another state.
    """
    if allowed is None:
        return state.view
    if isinstance(allowed, Mapping):
        condition = parse_filter(allowed)
        return state.views.get(condition, lambda: _open(state.view, _masks(state, condition)))
    doc_filter = make_filter(state, allowed)
    if doc_filter.state != state.snapshot.manifest.segments:
        raise InputError("filter was made before the index changed; make it again")
    return _open(state.view, doc_filter.allowed)


def _open(live: View, allowed: Sequence[npt.NDArray[np.bool_]]) -> View:
    """The view without the documents that are deleted or not allowed."""
    blocked = [
        ~inside if mask is None else ~inside | mask
        for inside, mask in zip(allowed, live.blocked, strict=True)
    ]
    n_blocked = sum(int(np.count_nonzero(mask)) for mask in blocked)
    n_open = int(live.bases[-1]) - n_blocked
    return View(live.codec, live.segments, live.bases, blocked, n_open)
