"""Filters of every kind of index: the documents that a search may return."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from colmodern.checks import shown
from colmodern.errors import InputError
from colmodern.ragged.doc_ids import id_list

Mask = npt.NDArray[np.bool_]

_CURE = (
    'pass a list or set of doc_ids, conditions on fields as {"year": {"gte": 2020}}, or a function '
    "from a doc_id to True or False"
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class DocFilter:
    """A filter for one state of an index, to be used in many searches.

    Attributes:
        allowed: For each segment of the index, (n_docs,) bool.
        state: What identifies the state of the index that the filter was made for.
        n_unknown: Number of ids among those passed that the index did not have, or had deleted.
    """

    allowed: Sequence[Mask]
    state: object
    n_unknown: int = 0


Filter = DocFilter | Mapping[str, object] | Iterable[str] | Callable[[str], bool]


def answers(predicate: Callable[[str], object], doc_ids: Iterable[str], n_docs: int) -> Mask:
    """(n_docs,) what a caller's function says of each id.

    Raises:
        InputError: It raises, or returns something else than True or False.
    """
    return np.fromiter((_answer(predicate, doc_id) for doc_id in doc_ids), np.bool_, n_docs)


def _answer(predicate: Callable[[str], object], doc_id: str) -> bool:
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


def allowed_ids(allowed: object) -> list[str]:
    """The ids of a filter that is a list of them; raises InputError for anything else."""
    return id_list("filter", allowed, is_ordered=False, cure=_CURE)


def count_unknown(ids: Sequence[str], is_known: Mask, *, is_empty: bool) -> int:
    """The number of ids that an index lacks, which are logged.

    Args:
        ids: The ids of a filter.
        is_known: (n_ids,) whether the index has each.
        is_empty: Whether the index has no documents, and so none of any ids.

    Raises:
        InputError: It has none of them.
    """
    n_unknown = len(ids) - int(is_known.sum())
    if not n_unknown:
        return 0
    example = shown(ids[int(np.argmin(is_known))])
    if n_unknown == len(ids) and not is_empty:
        raise InputError(
            f"filter has {len(ids)} ids, and the index has none of them (the first is {example}), so "
            "that no document could be returned; check the ids"
        )
    _log.warning(
        "filter has %d ids of which the index lacks %d, as %s: they match nothing",
        len(ids),
        n_unknown,
        example,
    )
    return n_unknown
