"""Filters on fields, groups and pages, alike for every kind of index."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SCORE_TOLERANCE, unit_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from index.fields.records import EVERYTHING, filters, matches, records

from colmodern import ExactIndex, GroupedHit, PlaidIndex, TokenEmbeddings
from colmodern.errors import InputError
from colmodern.index.pages import Page, ranked_pages
from colmodern.types import Results, ScoredDoc

DIM, N = 24, 60
DOCUMENTS = unit_rows([4, 1, 9, 0, 12, 2] * 10, dim=DIM, seed=5)
NAMES = [f"d{(7 * i) % N:02d}" for i in range(N)]
QUERIES = unit_rows([3, 32, 1, 7], dim=DIM, seed=6)
FIELDS: list[dict[str, Any]] = [
    {"year": 1990 + i // 2, "parent": f"p{i % 9}" if i % 7 else None, "pages": [i, i + 1],
     "even": i % 2 == 0, "kind": ["a", 1, True, "2020-01-01"][i % 4]}
    for i in range(N)
]  # fmt: skip
BY_ID = dict(zip(NAMES, FIELDS, strict=True))

Build = Callable[[Any, Path], Any]
KINDS: dict[str, Build] = {
    "exact": lambda fields, path: ExactIndex(DOCUMENTS, NAMES, fields=fields),
    "exact, int8": lambda fields, path: ExactIndex(
        DOCUMENTS, NAMES, fields=fields, precision="int8"
    ),
    "exact, stored": lambda fields, path: (
        DOCUMENTS.save(path / "store", NAMES)
        or ExactIndex.load(path / "store", fields=fields, max_memory="40K")
    ),
    "plaid": lambda fields, path: PlaidIndex.build(DOCUMENTS, path / "i", NAMES, fields=fields),
}


@pytest.fixture(params=KINDS, scope="module")
def index(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return KINDS[request.param](FIELDS, tmp_path_factory.mktemp("kind"))


def alike(results: list[ScoredDoc], expected: list[ScoredDoc]) -> None:
    assert [doc_id for doc_id, _ in results] == [doc_id for doc_id, _ in expected]
    scores = [[score for _, score in ranking] for ranking in (results, expected)]
    np.testing.assert_allclose(*scores, atol=SCORE_TOLERANCE["float32"])


@pytest.mark.parametrize(
    "filter",
    [
        {"year": {"gte": 2010}, "even": True},
        {"or": [{"pages": 7}, {"parent": {"exists": False}}]},
        {"year": 1990},
        {"not": {"parent": ["p1", "p2"]}},
        {"year": {"lt": 1900}},
        {},
    ],
)
def test_results_are_the_best_of_what_a_filter_lets_through(index: Any, filter: Any) -> None:
    allowed = {name for name in NAMES if matches(BY_ID[name], filter)}
    batch = index.search_batch(QUERIES, 6, filter=filter)
    for query, results in zip(QUERIES, batch, strict=True):
        everything = index.search(query, N)
        alike(results, [result for result in everything if result.doc_id in allowed][:6])
        alike(index.search(query, 6, filter=filter), results)
        if allowed:
            alike(index.search(query, 6, filter=allowed), results)
        alike(index.search(query, 6, filter=allowed.__contains__), results)


@given(documents=st.lists(records, min_size=5, max_size=5), filter=filters)
@settings(max_examples=40, deadline=None)
def test_exact_search_filters_as_a_loop_over_the_records(
    documents: list[Any], filter: dict[str, Any]
) -> None:
    documents = [EVERYTHING, *documents]
    exact = ExactIndex(DOCUMENTS[:6], NAMES[:6], fields=documents)
    found = {result.doc_id for result in exact.search(QUERIES[0], 6, filter=filter)}
    assert found == {n for n, one in zip(NAMES, documents, strict=False) if matches(one, filter)}


@pytest.mark.parametrize("group_by", ["parent", "year", "even", "kind"])
@pytest.mark.parametrize("k", [1, 3, 20, 200])
def test_groups_have_their_best_document(index: Any, group_by: str, k: int) -> None:
    for filter in (None, {"year": {"gte": 2000}}):
        batch = index.search_batch(QUERIES, k, group_by=group_by, filter=filter)
        for query, results in zip(QUERIES, batch, strict=True):
            best: dict[Any, ScoredDoc] = {}
            for result in index.search(query, N, filter=filter):
                value = BY_ID[result.doc_id][group_by]
                key = result.doc_id if value is None else (type(value), value)
                best.setdefault(key, result)
            alike(results, list(best.values())[:k])
            assert all(isinstance(result, GroupedHit) for result in results)
            groups = [result.group for result in results]
            assert groups == [BY_ID[result.doc_id][group_by] for result in results]
            alike(index.search(query, k, group_by=group_by, filter=filter), results)


@pytest.mark.parametrize("group_by", [None, "parent"])
def test_pages_are_parts_of_one_ranking(index: Any, group_by: str | None) -> None:
    for query in QUERIES:
        whole = index.search(query, N, group_by=group_by)
        pages = [index.search(query, 4, offset=at, group_by=group_by) for at in range(0, N + 4, 4)]
        alike([result for page in pages for result in page], whole)
        assert index.search(query, 4, offset=1000, group_by=group_by) == []


def test_a_field_of_several_values_makes_no_groups(index: Any) -> None:
    with pytest.raises(InputError, match=r"group_by='pages', but document 'd.*' has 2 values"):
        index.search(QUERIES[0], group_by="pages")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group_by": "parnt"}, "group_by names the field 'parnt', which no document has"),
        ({"group_by": 3}, "group_by=3; pass the name of a field, or None"),
        ({"offset": -1}, "offset=-1; pass a whole number, at least 0"),
        ({"offset": 1.5}, "offset=1.5"),
        ({"offset": None}, "offset=None"),
        ({"filter": {"yaer": 3}}, "filter names the field 'yaer', which no document has"),
        ({"filter": ["nobody"]}, "the index has none of them"),
        ({"filter": "d01"}, "filter='d01' is one string"),
        ({"filter": lambda doc_id: 1}, "filter returned 1"),
    ],
)
def test_what_is_no_page_is_refused(index: Any, options: Any, message: str) -> None:
    for search, queries in ((index.search, QUERIES[0]), (index.search_batch, QUERIES)):
        with pytest.raises(InputError, match=message):
            search(queries, 3, **options)


def test_a_filter_of_another_index_is_refused(index: Any, tmp_path: Path) -> None:
    other = PlaidIndex.build(DOCUMENTS[:9], tmp_path / "i", NAMES[:9], fields=FIELDS[:9])
    with pytest.raises(InputError, match="filter was made"):
        index.search(QUERIES[0], filter=other.filter({"even": True}))


def test_a_pickle_keeps_the_fields(index: Any) -> None:
    copy = pickle.loads(pickle.dumps(index))
    filter = {"even": True}
    assert copy.search(QUERIES[0], filter=filter) == index.search(QUERIES[0], filter=filter)


def test_an_index_without_fields_says_so() -> None:
    for options in ({"filter": {"year": 1}}, {"group_by": "year"}):
        with pytest.raises(InputError, match="names the field 'year', and the documents have no f"):
            ExactIndex(DOCUMENTS).search(QUERIES[0], **options)


def test_a_ranking_is_searched_deeper_only_where_groups_are_missing() -> None:
    searched: list[tuple[int, ...]] = []

    def search(positions: Any, k: int) -> list[Results[ScoredDoc]]:
        searched.append((*positions, k))
        return [
            Results(ScoredDoc(f"{i % (3 + 9 * p)}/{i}", -i) for i in range(k)) for p in positions
        ]

    pages = ranked_pages(
        search, 2, 1000, Page(5, 1, "x"), lambda ids: [doc_id.partition("/")[0] for doc_id in ids]
    )
    assert [len(page) for page in pages] == [2, 5]
    assert searched == [(0, 1, 24), (0, 96), (0, 384), (0, 1000)]


def test_a_batch_of_no_queries_has_no_pages(index: Any) -> None:
    nothing = TokenEmbeddings.from_list([], dim=DIM)
    assert index.search_batch(nothing, 5, group_by="parent", offset=2) == []
