"""Pages of searches of a PLAID index, with groups and passages."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from colmodern.index.fields.conditions import field_kinds
from colmodern.index.pages import GroupsOf, Page, ranked_pages, single_value, with_groups
from colmodern.index.plaid.disk.verify import verified_fields
from colmodern.index.plaid.search.located import results_with_spans
from colmodern.index.plaid.search.request import Query, SearchRequest
from colmodern.index.plaid.search.state import State
from colmodern.index.plaid.search.view import View
from colmodern.index.spans import SpanSettings
from colmodern.threads import Threads
from colmodern.types import Results, Scalar, ScoredDoc

Answer = Callable[[SearchRequest, Sequence[Query]], Sequence[Results[ScoredDoc]]]


def answer_pages(
    state: State,
    request: SearchRequest,
    page: Page,
    queries: Sequence[Query],
    answer: Answer,
    spans: SpanSettings | None,
    threads: Threads,
) -> list[Results[ScoredDoc]]:
    """The page of each query.

    Args:
        state: The state of the index that is searched.
        request: A search for the end of the page.
        page: What is wanted of each ranking.
        queries: Checked queries.
        answer: Searches for some queries.
        spans: How to make passages; None for none.
        threads: Threads that share the queries.

    Raises:
        InputError: The index has no such field to group by, or a result has several values in it.
    """
    groups_of = _groups_of(state, request.view, page.group_by)

    def search(positions: Sequence[int], k: int) -> Sequence[Results[ScoredDoc]]:
        deep = request if k == request.k else request.with_k(k)
        return answer(deep, [queries[position] for position in positions])

    pages = ranked_pages(search, len(queries), request.view.n_open, page, groups_of)
    if spans is not None:
        pages = threads.map(
            lambda number: results_with_spans(
                state, request, pages[number], queries[number].values, spans
            ),
            range(len(pages)),
        )
    return pages if page.group_by is None else [with_groups(page, groups_of) for page in pages]


def _groups_of(state: State, view: View, field: str | None) -> GroupsOf:
    if field is None:
        return lambda doc_ids: [None] * len(doc_ids)
    folder = state.snapshot.folder
    field_kinds(field, state.snapshot.manifest.fields, "group_by")
    name: str = field

    def groups_of(doc_ids: Sequence[str]) -> Sequence[Scalar | None]:
        groups: list[Scalar | None] = [None] * len(doc_ids)
        for segment, blocked in zip(view.segments, view.blocked, strict=True):
            docs = segment.ids.docs_of(doc_ids)
            table = verified_fields(folder, segment)
            for position, doc in enumerate(docs.tolist()):
                if doc >= 0 and not (blocked is not None and blocked[doc]):
                    values = table.values_of(name, doc)
                    groups[position] = single_value(values, doc_ids[position], name)
        return groups

    return groups_of
