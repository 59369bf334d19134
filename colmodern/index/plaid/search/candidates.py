"""Candidates of another search, which are pruned with those of the probed lists."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

import numpy as np

from colmodern.arguments import listed
from colmodern.checks import shown
from colmodern.errors import InputError
from colmodern.index.plaid.search.filters import live_docs
from colmodern.index.plaid.search.queries import Floats
from colmodern.index.plaid.search.request import Query
from colmodern.index.plaid.search.state import State
from colmodern.index.plaid.search.view import DocIndex, View
from colmodern.ragged.doc_ids import id_list
from colmodern.types import ScoredDoc

Candidates = Iterable[str | ScoredDoc]

_CURE = "pass ids of documents, or the results of another search"
_log = logging.getLogger(__name__)


def with_candidates(
    queries: Sequence[Floats], candidates: Sequence[Candidates | None], state: State, view: View
) -> list[Query]:
    """Queries with the candidates of each, as far as a search may return them.

    Args:
        queries: Checked queries.
        candidates: Those of each query; None for none.
        state: The state of the index that is searched.
        view: The documents of it that a search may return.

    Returns:
        The queries. Ids that the index lacks are logged as a warning: they may have been deleted since
        the other search was made.

    Raises:
        InputError: Candidates that are no list, or no ids.
    """
    checked, n_ids, unknown = [], 0, list[str]()
    for query, own in zip(queries, candidates, strict=True):
        if own is None:
            checked.append(Query(query))
            continue
        ids = _ids_of(own)
        docs, lacking = _docs_of(ids, state, view)
        checked.append(Query(query, docs))
        n_ids += len(ids)
        unknown += lacking
    if unknown:
        _log.warning(
            "candidates_from has %d ids of which the index lacks %d, as %s: they are left out",
            n_ids,
            len(unknown),
            shown(unknown[0]),
        )
    return checked


def lists_of(candidates: object, n_queries: int) -> Sequence[Candidates | None]:
    """The candidates of each query; raises InputError where there are more or fewer lists."""
    if candidates is None:
        return [None] * n_queries
    each: list[Candidates] = listed("candidates_from", candidates, f"{_CURE}, for each query")
    if len(each) != n_queries:
        raise InputError(
            f"candidates_from has {len(each)} lists for {n_queries} queries; pass one for each query"
        )
    return each


def _ids_of(candidates: object) -> list[str]:
    items = listed("candidates_from", candidates, _CURE, is_ordered=False)
    ids = [item.doc_id if isinstance(item, ScoredDoc) else item for item in items]
    return id_list("candidates_from", ids, is_ordered=False, cure=_CURE)


def _docs_of(ids: Sequence[str], state: State, view: View) -> tuple[DocIndex, list[str]]:
    """The doc_index values of ids, ascending, without those a search may not return; ids the index lacks."""
    by_segment, is_known = [np.empty(0, np.int64)], np.zeros(len(ids), np.bool_)
    for number, segment in enumerate(view.segments):
        docs = live_docs(ids, segment, state.view.blocked[number])
        is_here = docs >= 0
        is_known |= is_here
        docs, blocked = docs[is_here], view.blocked[number]
        by_segment.append(view.bases[number] + (docs if blocked is None else docs[~blocked[docs]]))
    lacking = [ids[position] for position in np.flatnonzero(~is_known).tolist()]
    return np.unique(np.concatenate(by_segment)), lacking
