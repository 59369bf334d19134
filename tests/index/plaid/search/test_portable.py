"""The search in NumPy returns what the compiled one does; the reference has the same integers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from index.plaid.corpora import (
    changed_index,
    clustered_index,
    corpus,
    lengths_like_passages,
    names,
    spread,
)
from kernels.records import EMPTY_QUERY

from colmodern import PlaidIndex, TokenEmbeddings
from colmodern.index.plaid.search.portable import TOLERANCE, search_portably
from colmodern.index.plaid.search.request import SearchRequest
from colmodern.index.plaid.search.steps import search_view
from colmodern.index.plaid.search.stored import stored_of
from colmodern.kernels.portable import stages
from colmodern.kernels.portable.query import prepare_query
from colmodern.kernels.reference import probe as reference_probe
from colmodern.kernels.reference import search as reference
from colmodern.threads import Threads

N = 1500
LENGTHS = lengths_like_passages(N)


DOCUMENTS = {32: spread(LENGTHS, 32), 8: corpus(LENGTHS, 8)}


@pytest.fixture(
    scope="module", params=[(1, None, 32), (4, "residual", 8), (4, "pq", 32), (8, None, 8)]
)
def plaid(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PlaidIndex:
    """Two segments and some deletions."""
    nbits, codec, dim = request.param
    path = tmp_path_factory.mktemp("i") / "i"
    return changed_index(DOCUMENTS[dim], path, 1000, nbits=nbits, codec=codec)


@pytest.fixture(scope="module")
def compact(tmp_path_factory: pytest.TempPathFactory) -> PlaidIndex:
    """One segment, which compiled code searches in one call."""
    return PlaidIndex.build(DOCUMENTS[32], tmp_path_factory.mktemp("c") / "i", names(N), nbits=4)


@pytest.fixture(scope="module")
def clustered(tmp_path_factory: pytest.TempPathFactory) -> PlaidIndex:
    """One segment, whose centroids are in clusters."""
    return clustered_index(
        DOCUMENTS[32], tmp_path_factory.mktemp("k") / "i", n_clusters=20, nbits=2
    )


def expect_equal(
    index: PlaidIndex, query: np.ndarray, *, rescore: Any = None, k: int = 10, **budget: Any
) -> None:
    state = index._state
    stored = None if rescore is None else stored_of(rescore, state.view, None)
    request = SearchRequest(
        state, k, None, budget.get("nprobe"), budget.get("n_candidates"), stored
    )
    bounds = {name: budget.get(name, 0) for name in ("n_postings", "n_shared", "n_clusters")}
    asked = request.budget._replace(**bounds)
    options: dict[str, Any] = {"stored": stored, "added": budget.get("added")}
    expected = search_view(query, request.view, asked, Threads(1), **options)
    docs, scores = search_portably(query, request.view, asked, **options)
    np.testing.assert_array_equal(docs, expected[0])
    np.testing.assert_allclose(
        scores, expected[1], rtol=TOLERANCE, atol=TOLERANCE * np.abs(expected[1]).max()
    )


def random_query(n_tokens: int, dim: int, seed: int) -> np.ndarray:
    query = np.random.default_rng(seed).normal(size=(n_tokens, dim)).astype(np.float32)
    return query / np.linalg.norm(query, axis=1, keepdims=True)


@settings(max_examples=10, deadline=None)
@given(
    n_tokens=st.integers(1, 70),
    k=st.integers(1, 40),
    nprobe=st.none() | st.integers(1, 50),
    n_candidates=st.none() | st.integers(40, 2000),
    n_postings=st.just(0) | st.integers(1, 500),
    n_shared=st.just(0) | st.integers(1, 300),
    seed=st.integers(0, 999),
    length=st.sampled_from([1.0, 1e-3, 37.0]),
)
def test_every_search_equals_the_compiled_one(
    plaid: PlaidIndex,
    n_tokens: int,
    k: int,
    nprobe: int | None,
    n_candidates: int | None,
    n_postings: int,
    n_shared: int,
    seed: int,
    length: float,
) -> None:
    query = random_query(n_tokens, plaid.dim, seed) * np.float32(length)
    budget = {"nprobe": nprobe, "n_candidates": n_candidates, "n_postings": n_postings}
    budget["n_shared"] = n_shared if n_postings else 0
    expect_equal(plaid, query, k=k, **budget)


@pytest.mark.parametrize("n_tokens", [1, 16, 17, 45])
def test_one_segment_is_searched_alike(compact: PlaidIndex, n_tokens: int) -> None:
    for seed in range(5):
        expect_equal(compact, random_query(n_tokens, 32, seed), nprobe=[None, 4][seed % 2])


@settings(max_examples=20, deadline=None)
@given(
    n_tokens=st.sampled_from([1, 16, 17, 40]),
    nprobe=st.integers(1, 400),
    n_clusters=st.integers(0, 30),
    n_postings=st.just(0) | st.integers(1, 500),
    is_rescored=st.booleans(),
    seed=st.integers(0, 999),
)
def test_clusters_of_centroids_are_visited_alike(
    clustered: PlaidIndex, n_tokens: int, nprobe: int, is_rescored: bool, seed: int, **budget: int
) -> None:
    rescore = DOCUMENTS[32] if is_rescored else None
    query = random_query(n_tokens, 32, seed)
    n_shared = budget["n_postings"] // 2
    expect_equal(clustered, query, rescore=rescore, nprobe=nprobe, n_shared=n_shared, **budget)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_stored_embeddings_are_scored_alike(compact: PlaidIndex, dtype: Any) -> None:
    documents = DOCUMENTS[32]
    stored = TokenEmbeddings(documents.values.astype(dtype), documents.offsets)
    for seed in range(5):
        expect_equal(compact, random_query(20, 32, seed), rescore=stored)


def test_candidates_candidates_are_scored_alike(plaid: PlaidIndex) -> None:
    added = plaid._state.view.open_docs()[::7]
    for n_tokens in (1, 17, 40):
        query = random_query(n_tokens, plaid.dim, n_tokens)
        expect_equal(plaid, query, nprobe=1, n_candidates=80, added=added)


def test_a_query_of_zeros_and_one_of_equal_tokens_are_answered_alike(plaid: PlaidIndex) -> None:
    expect_equal(plaid, np.zeros((3, plaid.dim), np.float32))
    expect_equal(plaid, np.ones((20, plaid.dim), np.float32))


def test_candidates_are_those_of_the_reference(compact: PlaidIndex) -> None:
    view = compact._state.view
    segment, codec = view.segments[0].arrays, view.codec.arrays
    query = prepare_query(random_query(12, 32, 5), codec, 0)
    docs = np.arange(0, N, 3)
    lanes = np.array([(1 << 12) - 1], np.uint16)
    scores = np.zeros((1, len(codec.centroids), 16), np.int16)
    scores[0, :, :12] = query.centroid_scores
    expected = np.empty(len(docs), np.int32)
    tables = EMPTY_QUERY._replace(
        centroid_scores=scores,
        floors=np.full((1, 16), -32_768, np.int16),
        lanes=lanes,
        empty=query.empty,
    )
    reference.score_by_centroids(docs, segment, tables, expected)
    np.testing.assert_array_equal(stages.score_by_centroids(query, segment, docs), expected)

    probes = stages.probe(query, 6)
    of_reference = np.empty((12, 6), np.int32)
    reference_probe.find_probes(scores[0], np.empty(0), codec.numbers, lanes[0], of_reference)
    np.testing.assert_array_equal(probes, of_reference)
    state = np.zeros(N, np.int32)
    missing = np.empty(12, np.int32)
    reference.impute_missing(of_reference, tables, view.sample, missing)
    imputed = stages.impute_missing(query, view.sample, probes)
    np.testing.assert_array_equal(imputed, missing)
    lists = segment.list_offsets[0], segment.list_docs
    form = reference.state_form(of_reference, scores, missing)
    reference.gather(of_reference, scores, missing, *lists, form, state)
    rows, sums = np.empty(N, np.int64), np.empty(N, np.int32)
    n = reference.collect(form, state, rows, sums)
    found, totals = stages.gather(query, segment, None, probes, imputed)
    np.testing.assert_array_equal(found, rows[:n])
    np.testing.assert_array_equal(totals, sums[:n])


def test_a_filter_and_an_empty_index_are_followed(compact: PlaidIndex, tmp_path: Path) -> None:
    view = compact._state.view
    blocked = np.zeros(N, bool)
    blocked[::2] = True
    query = prepare_query(random_query(12, 32, 5), view.codec.arrays, 0)
    probes, missing = stages.probe(query, 8), np.zeros(12, np.int32)
    docs, _ = stages.gather(query, view.segments[0].arrays, blocked, probes, missing)
    assert len(docs)
    assert (docs % 2 == 1).all()
    compact.delete([])
    empty = PlaidIndex.build(DOCUMENTS[8][:20], tmp_path / "i", names(20))
    empty.delete(names(20)[:19])
    expect_equal(empty, random_query(3, 8, 0))
