"""An index opened for the queries of an evaluation, with their filters, and results in groups."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from colmodern.index.pages import Page, Search, ranked_pages
from colmodern.progress import Progress
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.types import Results, Scalar, ScoredDoc

if TYPE_CHECKING:
    from typing_extensions import Self


class QuerySearch(Protocol):
    """An index opened for the queries of an evaluation."""

    def search_all(self, progress: Progress) -> list[list[ScoredDoc]]:
        """Results of all queries, in their order."""

    def search_one(self, position: int) -> list[ScoredDoc]:
        """Results of the query at a position."""

    def with_k(self, k: int) -> QuerySearch:
        """The same search for another number of results."""


class QueryFilters(NamedTuple):
    """The documents that each query may return.

    Attributes:
        by_query: query_id -> ids of allowed documents; None for all. Equal filters share a list.
        key: Digest of them.
    """

    by_query: Mapping[str, list[str] | None]
    key: str

    def prepared(self, index: object, query_ids: Sequence[str]) -> list[Any]:
        """The filter of each query as an index takes it; equal ones are prepared once."""
        prepare = getattr(index, "filter", lambda ids: ids)
        made: dict[int, object] = {id(None): None}
        for ids in self.by_query.values():
            if id(ids) not in made:
                made[id(ids)] = prepare(ids)
        return [made[id(self.by_query[query_id])] for query_id in query_ids]


class QueryGroups(NamedTuple):
    """What documents are grouped by: of each group a query gets the best document.

    Attributes:
        field: The field whose values make the groups.
        value_of: doc_id -> its value, of all documents; None for one that is a group by itself.
        left_out: query_id -> documents that the query may not return, and that stand for no group.
        key: Digest of field and values.
    """

    field: str
    value_of: Mapping[str, Scalar | None]
    left_out: Mapping[str, Collection[str]]
    key: str


@dataclass(frozen=True)
class IndexSearch:
    """An index, with the queries and options of its searches.

    filters: for each query the filter of its search; None where no query has one
    """

    index: Any  # an Index whose searches take the options
    queries: TokenEmbeddings
    k: int
    options: Mapping[str, object] = field(default_factory=dict)
    filters: Sequence[object] | None = None

    def search_all(self, progress: Progress) -> list[list[ScoredDoc]]:
        """Results of all queries, in their order."""
        if self.filters is None:
            return self._batch(self.queries, progress)
        results: list[list[ScoredDoc]] = [[] for _ in self.filters]
        alike: dict[int, list[int]] = {}  # queries whose filters are the same
        for position, filter in enumerate(self.filters):
            alike.setdefault(id(filter), []).append(position)
        for positions in alike.values():
            filter = self.filters[positions[0]]
            batch = self._batch(self.queries.select(positions), progress, filter=filter)
            for position, ranking in zip(positions, batch, strict=True):
                results[position] = ranking
        return results

    def search_one(self, position: int) -> list[ScoredDoc]:
        """Results of the query at a position."""
        options = dict(self.options)
        if self.filters is not None:
            options["filter"] = self.filters[position]
        results: list[ScoredDoc] = self.index.search(self.queries[position], self.k, **options)
        return results

    def with_k(self, k: int) -> Self:
        """The same search for another number of results."""
        return replace(self, k=k)

    def with_filters(self, filters: QueryFilters | None, query_ids: Sequence[str]) -> Self:
        """The same searches, each among the documents that its query may return."""
        if filters is None:
            return self
        return replace(self, filters=filters.prepared(self.index, query_ids))

    def _batch(
        self, queries: TokenEmbeddings, progress: Progress, **filter: object
    ) -> list[list[ScoredDoc]]:
        results: list[list[ScoredDoc]] = self.index.search_batch(
            queries, self.k, **self.options, **filter, progress=progress
        )
        return results


@dataclass(frozen=True)
class GroupedSearch:
    """A search whose results are the best documents of groups; it goes deeper until there are enough.

    Attributes:
        search: Finds documents.
        groups: Their groups.
        query_ids: (n_queries,) ids of the queries.
        k: Groups of each query.
        most: Documents that ``search`` can find for a query; None for all.
    """

    search: QuerySearch
    groups: QueryGroups
    query_ids: Sequence[str]
    k: int
    most: int | None

    def search_all(self, progress: Progress) -> list[list[ScoredDoc]]:
        """Results of all queries, in their order."""

        def find(positions: Sequence[int], k: int) -> list[Results[ScoredDoc]]:
            deeper = self.search.with_k(k)
            if len(positions) < len(self.query_ids):
                return self._allowed(positions, [deeper.search_one(p) for p in positions])
            return self._allowed(positions, deeper.search_all(progress))

        return list(self._pages(find, len(self.query_ids)))

    def search_one(self, position: int) -> list[ScoredDoc]:
        """Results of the query at a position."""

        def find(_: Sequence[int], k: int) -> list[Results[ScoredDoc]]:
            return self._allowed([position], [self.search.with_k(k).search_one(position)])

        return self._pages(find, 1)[0]

    def with_k(self, k: int) -> Self:
        """The same search for another number of groups."""
        return replace(self, k=k)

    def _pages(self, find: Search, n_queries: int) -> list[Results[ScoredDoc]]:
        value_of = self.groups.value_of
        reach = len(value_of) if self.most is None else min(self.most, len(value_of))
        page = Page(self.k, 0, self.groups.field)
        return ranked_pages(find, n_queries, reach, page, lambda ids: [value_of[i] for i in ids])

    def _allowed(
        self, positions: Sequence[int], rankings: Sequence[Sequence[ScoredDoc]]
    ) -> list[Results[ScoredDoc]]:
        """The rankings without documents that their queries may not return."""
        allowed = []
        for position, ranking in zip(positions, rankings, strict=True):
            left_out = self.groups.left_out.get(self.query_ids[position], ())
            allowed.append(Results(result for result in ranking if result.doc_id not in left_out))
        return allowed
