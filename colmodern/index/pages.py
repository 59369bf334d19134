"""Pages of a ranking, and rankings with the best document of each group."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import NamedTuple

from colmodern.arguments import checked_count
from colmodern.checks import shown
from colmodern.errors import InputError
from colmodern.types import GroupedHit, Results, Scalar, ScoredDoc

_FIRST, _MORE = 4, 4  # documents a wanted group that a search asks for; times as many in the next

# from the positions of queries and a number of documents to their results
Search = Callable[[Sequence[int], int], Sequence[Results[ScoredDoc]]]
# from doc_ids to the value that each has in the field of groups
GroupsOf = Callable[[Sequence[str]], Sequence[Scalar | None]]


class Page(NamedTuple):
    """A wanted part of a ranking.

    Attributes:
        k: Number of results.
        offset: Results before them.
        group_by: The field of which each value is among the results once; None for no groups.
    """

    k: int
    offset: int = 0
    group_by: str | None = None

    @property
    def end(self) -> int:
        """Results up to the last one."""
        return self.offset + self.k


def checked_page(k: object, offset: object, group_by: object) -> Page:
    """The page that a caller wants; raises InputError for values of other types, or negative ones."""
    if not isinstance(group_by, str | None):
        raise InputError(f"group_by={shown(group_by)}; pass the name of a field, or None")
    return Page(checked_count("k", k), checked_count("offset", offset, least=0), group_by)


def ranked_pages(
    search: Search, n_queries: int, n_docs: int, page: Page, groups_of: GroupsOf
) -> list[Results[ScoredDoc]]:
    """The page of each query.

    With groups, a ranking is searched deeper until it has enough of them, or no more documents. A
    document without a value is a group by itself.

    Args:
        search: Searches for the best documents of some queries.
        n_queries: Number of queries.
        n_docs: Documents that a search can return.
        page: What is wanted of each ranking.
        groups_of: Gives the groups of documents.
    """
    everyone = list(range(n_queries))
    if page.group_by is None:
        rankings = search(everyone, page.end) if n_queries else []
        return [ranking[page.offset :] for ranking in rankings]
    best: list[Results[ScoredDoc]] = [Results() for _ in everyone]
    waiting, depth = everyone, _FIRST * page.end
    while waiting:
        depth = max(page.k, min(depth, n_docs))
        for position, ranking in zip(waiting, search(waiting, depth), strict=True):
            groups = groups_of([result.doc_id for result in ranking])
            best[position] = first_of_each(ranking, groups)
        if depth >= n_docs:  # there are no others
            break
        waiting = [position for position in waiting if len(best[position]) < page.end]
        depth *= _MORE
    return [ranking[page.offset : page.end] for ranking in best]


def with_groups(results: Iterable[ScoredDoc], groups_of: GroupsOf) -> Results[ScoredDoc]:
    """Results with the value of their group."""
    results = list(results)
    groups = groups_of([result.doc_id for result in results])
    return Results(
        GroupedHit(result.doc_id, result.score, getattr(result, "spans", ()), group=group)
        for result, group in zip(results, groups, strict=True)
    )


def single_value(
    values: Sequence[Scalar], doc_id: str, field: str, name: str = "group_by"
) -> Scalar | None:
    """The value by which a document is grouped; raises InputError where it has several."""
    if len(values) > 1:
        raise InputError(
            f"{name}={field!r}, but document {shown(doc_id)} has {len(values)} values in this field; "
            "group by a field with one value"
        )
    return values[0] if values else None


def first_of_each(
    ranking: Sequence[ScoredDoc], groups: Sequence[Scalar | None]
) -> Results[ScoredDoc]:
    """The best document of each group, and all that have none."""
    seen: set[Hashable] = set()
    best: Results[ScoredDoc] = Results()
    for result, group in zip(ranking, groups, strict=True):
        key = (isinstance(group, bool), group)  # True is no 1
        if group is None or key not in seen:
            seen.add(key)
            best.append(result)
    return best
