"""The life of a query in one call and step by step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from index.plaid.corpora import clustered_index, corpus, lengths_like_passages, names

from colmodern import PlaidIndex
from colmodern.index.plaid.search import steps as search_steps
from colmodern.index.plaid.search.request import SearchRequest
from colmodern.index.plaid.search.steps import Trace, fits_one_call, search_view
from colmodern.index.plaid.write import inverted_lists
from colmodern.threads import Threads
from colmodern.types import Stage

N_DOCS = 400
DOCUMENTS = corpus(lengths_like_passages(N_DOCS))
N_TOKENS = len(DOCUMENTS.values)
IDS = names(N_DOCS)


@pytest.fixture(scope="module", params=[1, 2, 4])
def index(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PlaidIndex:
    """With four blocks of lists."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inverted_lists, "_MOST_DOCS", 117)
        folder = tmp_path_factory.mktemp("plaid") / "i"
        index = PlaidIndex.build(DOCUMENTS, folder, IDS, nbits=request.param)
    assert len(index._state.view.segments[0].arrays.list_offsets) == 4
    return index


@given(
    n_query_tokens=st.sampled_from([1, 9, 16, 17, 32, 40]),
    seed=st.integers(0, 99),
    k=st.integers(1, 30),
    nprobe=st.sampled_from([None, 1, 3, 9]),
    n_candidates=st.sampled_from([None, 30, 60, N_DOCS - 60]),
    n_allowed=st.sampled_from([N_DOCS, N_DOCS - 5, N_DOCS // 2]),
    is_rescored=st.booleans(),
    n_postings=st.sampled_from([0, 0, 20, 200]),
    n_shared=st.sampled_from([0, 10, 100]),
    n_threads=st.sampled_from([1, 3]),
)
@settings(max_examples=40)
def test_one_call_does_what_the_steps_do(index: PlaidIndex, seed: int, **given: Any) -> None:
    query = np.asarray(corpus([given["n_query_tokens"]], seed=seed)[0], np.float32)
    allowed = None if given["n_allowed"] == N_DOCS else IDS[: given["n_allowed"]]
    stored = index._stored(index._state, DOCUMENTS) if given["is_rescored"] else None
    search = SearchRequest(
        index._state, given["k"], allowed, given["nprobe"], given["n_candidates"], stored
    )
    n_postings, n_shared = given["n_postings"], given["n_shared"]
    search.budget = search.budget._replace(
        n_postings=n_postings, n_shared=n_shared if n_postings else 0
    )
    trace = Trace()
    at_once = search_view(query, search.view, search.budget, Threads(1), stored=stored)
    threads = Threads(given["n_threads"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            search_steps, "_ALONE_TOKENS", 0
        )  # threads share the work of small indexes too
        steps = search_view(query, search.view, search.budget, threads, stored=stored, trace=trace)
    assert Stage.PRUNE in trace.stages or search.budget.n_candidates >= search.view.n_open
    for found, expected in zip(at_once, steps, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[PlaidIndex, PlaidIndex]:
    """Two indexes of the same documents; the centroids of the second are in clusters."""
    folder = tmp_path_factory.mktemp("pair")
    plain = PlaidIndex.build(DOCUMENTS, folder / "plain", IDS, nbits=2)
    return plain, clustered_index(DOCUMENTS, folder / "clustered", n_clusters=12, nbits=2)


def search_both(
    pair: tuple[PlaidIndex, PlaidIndex],
    n_query_tokens: int,
    seed: int,
    n_clusters: int,
    **options: Any,
) -> list[Any]:
    """The matches of both, each in one call."""
    query = np.asarray(corpus([n_query_tokens], seed=seed)[0], np.float32)
    found = []
    for index in pair:
        search = SearchRequest(index._state, 10, None, 6, 50, None)
        budget = search.budget._replace(n_clusters=n_clusters)
        found.append(search_view(query, search.view, budget, Threads(1), **options))
    return found


@given(n_query_tokens=st.integers(1, 40), seed=st.integers(0, 99))
@settings(max_examples=15)
def test_all_clusters_give_what_an_index_without_clusters_gives(
    pair: tuple[PlaidIndex, PlaidIndex], n_query_tokens: int, seed: int
) -> None:
    for n_clusters in (0, 12, 100):
        plain, clustered = search_both(pair, n_query_tokens, seed, n_clusters)
        for mine, other in zip(plain, clustered, strict=True):
            np.testing.assert_array_equal(mine, other)


@given(
    n_query_tokens=st.integers(1, 40),
    seed=st.integers(0, 99),
    n_clusters=st.integers(1, 12),
    n_threads=st.sampled_from([1, 3]),
)
@settings(max_examples=15)
def test_clusters_are_visited_alike_in_one_call_and_by_steps(
    pair: tuple[PlaidIndex, PlaidIndex],
    n_query_tokens: int,
    seed: int,
    n_clusters: int,
    n_threads: int,
) -> None:
    _, at_once = search_both(pair, n_query_tokens, seed, n_clusters)
    trace, query = Trace(), np.asarray(corpus([n_query_tokens], seed=seed)[0], np.float32)
    search = SearchRequest(pair[1]._state, 10, None, 6, 50, None)
    budget = search.budget._replace(n_clusters=n_clusters)
    steps = search_view(query, search.view, budget, Threads(n_threads), trace=trace)
    for mine, other in zip(at_once, steps, strict=True):
        np.testing.assert_array_equal(mine, other)


def test_the_nearest_clusters_hold_what_a_query_looks_for(
    pair: tuple[PlaidIndex, PlaidIndex],
) -> None:
    shared = []
    for seed in range(20):
        (plain, _), (clustered, _) = search_both(pair, 12, seed, 4)
        shared.append(len(np.intersect1d(plain, clustered)) / len(plain))
    assert np.mean(shared) > 0.9


@pytest.mark.parametrize(
    ("n_threads", "limit", "most"),
    [
        (2, "_ALONE_TOKENS", N_TOKENS),
        (2, "_ALONE_CANDIDATES", 60),
        (1, "_ALONE_TOKENS", 0),
        (1, "_ALONE_CANDIDATES", 0),
    ],
)
def test_several_threads_share_a_search_with_much_work(
    index: PlaidIndex, n_threads: int, limit: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = SearchRequest(index._state, 10, None, None, 60, None)
    monkeypatch.setattr(search_steps, limit, most)
    assert fits_one_call(search.view, search.budget, Threads(n_threads))
    monkeypatch.setattr(search_steps, limit, most - 1)
    assert fits_one_call(search.view, search.budget, Threads(n_threads)) == (n_threads == 1)


@given(seed=st.integers(0, 99), n_query_tokens=st.integers(1, 40), n_postings=st.integers(1, 400))
@settings(max_examples=15)
def test_a_bound_of_postings_reaches_fewer_documents_and_none_besides(
    index: PlaidIndex, seed: int, n_query_tokens: int, n_postings: int
) -> None:
    query = np.asarray(corpus([n_query_tokens], seed=seed)[0], np.float32)
    search = SearchRequest(index._state, 10, None, 9, 60, None)
    gathered = []
    for bound in (0, n_postings, 2 * n_postings, 1 << 40):
        trace = Trace()
        budget = search.budget._replace(n_postings=bound)
        search_view(query, search.view, budget, Threads(1), trace=trace)
        gathered.append(set(trace.stages[Stage.GATHER][0].tolist()))
    every, fewest, more, unbounded = gathered
    assert fewest <= more <= every
    assert unbounded == every


@given(seed=st.integers(0, 99), n_query_tokens=st.integers(1, 40), n_shared=st.integers(1, 200))
@settings(max_examples=15)
def test_postings_that_query_tokens_share_reach_fewer_documents_and_none_besides(
    index: PlaidIndex, seed: int, n_query_tokens: int, n_shared: int
) -> None:
    query = np.asarray(corpus([n_query_tokens], seed=seed)[0], np.float32)
    search = SearchRequest(index._state, 10, None, 9, 60, None)
    gathered = []
    for bound in (0, n_shared, 2 * n_shared, 1 << 30):
        trace = Trace()
        budget = search.budget._replace(n_postings=1 << 40, n_shared=bound)
        search_view(query, search.view, budget, Threads(1), trace=trace)
        gathered.append(set(trace.stages[Stage.GATHER][0].tolist()))
    every, fewest, more, unbounded = gathered
    assert fewest <= more <= every
    assert unbounded == every


def test_the_sizes_of_lists_are_those_of_all_blocks_and_segments(index: PlaidIndex) -> None:
    view = index._state.view
    arrays = view.segments[0].arrays
    expected = np.zeros(len(view.codec.arrays.centroids), np.int64)
    for doc in range(N_DOCS):
        start, stop = arrays.doc_offsets[doc : doc + 2]
        expected[np.unique(arrays.codes[start:stop])] += 1
    np.testing.assert_array_equal(view.list_sizes, expected)
    twice = replace(view, segments=[*view.segments, *view.segments])
    np.testing.assert_array_equal(twice.list_sizes, 2 * expected)
