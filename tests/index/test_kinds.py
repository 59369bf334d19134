"""The laws of colmodern.index.base, for every kind of index."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import SCORE_TOLERANCE, unit_rows

from colmodern import ExactIndex, PlaidIndex, ShardedIndex, TokenEmbeddings, shard_index
from colmodern.errors import InputError
from colmodern.index.base import Index

DIM = 24
DOCUMENTS = unit_rows([4, 1, 9, 0, 30, 2, 7] * 4, dim=DIM, seed=5)
NAMES = [f"d{(5 * i) % 28:02d}" for i in range(28)]
QUERIES = unit_rows([3, 32, 1, 7], dim=DIM, seed=6)
NO_TOKENS = np.zeros((0, DIM), np.float32)


def sharded(documents: TokenEmbeddings, path: Path) -> ShardedIndex:
    PlaidIndex.build(documents, path / "index", NAMES)
    shard_index(path / "index", path / "shards", 3)
    return ShardedIndex.load(path / "shards")


KINDS: dict[str, Callable[[TokenEmbeddings, Path], Index]] = {
    "exact": lambda documents, path: ExactIndex(documents, NAMES),
    "exact, int8": lambda documents, path: ExactIndex(documents, NAMES, precision="int8"),
    "exact, stored": lambda documents, path: (
        documents.save(path / "store", NAMES) or ExactIndex.load(path / "store")
    ),
    "plaid": lambda documents, path: PlaidIndex.build(documents, path / "index", NAMES),
    "sharded": lambda documents, path: sharded(documents, path),
    "shards joined": lambda documents, path: ShardedIndex(
        [
            ExactIndex(documents[:9], NAMES[:9]),
            ExactIndex(documents[9:20], NAMES[9:20]),
            PlaidIndex.build(documents[20:], path / "index", NAMES[20:]),
        ]
    ),
    "plaid, 1 bit": lambda documents, path: PlaidIndex.build(
        documents, path / "index", NAMES, nbits=1
    ),
}


@pytest.fixture(params=KINDS, scope="module")
def build(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable:
    return lambda documents: KINDS[request.param](documents, tmp_path_factory.mktemp("kind"))


@pytest.fixture(scope="module")
def index(build: Callable[[TokenEmbeddings], Index]) -> Index:
    return build(DOCUMENTS)


def test_sizes_are_those_of_the_documents(index: Index) -> None:
    assert (index.n_docs, index.dim) == (28, DIM)
    info = index.info()
    assert (info["documents"], info["tokens"], info["dim"]) == (28, DOCUMENTS.n_tokens, DIM)
    assert info["bytes"]["total"] == sum(info["bytes"].values()) / 2 > 0
    assert info["bytes_per_token"].keys() == info["bytes"].keys()
    assert {"path", "fingerprint", "settings"} < info.keys()


def test_length_and_membership_are_those_of_the_documents(index: Index) -> None:
    assert len(index) == 28
    assert all(name in index for name in NAMES)
    for other in ("d28", "", "D00", 0, None, ["d00"]):
        assert other not in index


@pytest.mark.parametrize("k", [1, 7, 28, 1000])
def test_results_are_the_best_in_descending_order(index: Index, k: int) -> None:
    everything = index.search_batch(QUERIES, 28)
    for results, all_results in zip(index.search_batch(QUERIES, k), everything, strict=True):
        assert len(results) == min(k, 28)
        assert len({doc_id for doc_id, _ in results}) == len(results)
        assert results == sorted(results, key=lambda result: (-result.score, result.doc_id))
        best = [score for _, score in all_results[: len(results)]]
        np.testing.assert_allclose(
            [score for _, score in results], best, atol=SCORE_TOLERANCE["float32"]
        )


def test_equal_scores_are_ordered_by_document_id(
    build: Callable[[TokenEmbeddings], Index],
) -> None:
    # whole numbers: other sums are rounded otherwise in shards of other sizes
    same = TokenEmbeddings.from_list([np.eye(2, DIM, dtype=np.float32)] * 28)
    index = build(same)
    results = index.search(same[0], 28)
    assert len({score for _, score in results}) <= 2  # of exact shards, and of a compressed one
    assert results == sorted(results, key=lambda result: (-result.score, result.doc_id))
    assert index.search(same[0], 3) == results[:3]


def test_a_batch_answers_as_searches_one_by_one(index: Index) -> None:
    batch = index.search_batch(QUERIES, 5)
    for query, results in zip(QUERIES, batch, strict=True):
        alone = index.search(query, 5)
        assert [doc_id for doc_id, _ in alone] == [doc_id for doc_id, _ in results]
        np.testing.assert_allclose(
            [score for _, score in alone],
            [score for _, score in results],
            atol=SCORE_TOLERANCE["float32"],
        )
    assert index.search_batch(TokenEmbeddings.from_list([], dim=DIM), 5) == []


def test_ten_documents_are_the_default(index: Index) -> None:
    assert len(index.search(QUERIES[0])) == 10
    assert [len(results) for results in index.search_batch(QUERIES)] == [10] * 4


def test_a_query_without_tokens_scores_zero(index: Index) -> None:
    assert index.search(NO_TOKENS, 3) == [(doc_id, 0.0) for doc_id in sorted(NAMES)[:3]]


@pytest.mark.parametrize("k", [0, -1, 2.0, None, "3"])
def test_k_is_a_number_from_one(index: Index, k: object) -> None:
    for search, queries in ((index.search, QUERIES[0]), (index.search_batch, QUERIES)):
        with pytest.raises(InputError, match=r"^k=.*; pass a whole number"):
            search(queries, k)


def test_another_dim_is_refused(index: Index) -> None:
    other = unit_rows([3], dim=8, seed=0)
    with pytest.raises(InputError, match="query has dim=8, the index has dim=24"):
        index.search(other[0])
    with pytest.raises(InputError, match="queries has dim=8, the index has dim=24"):
        index.search_batch(other)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(index: Index, value: float) -> None:
    queries = unit_rows([3, 32, 1, 7], dim=DIM, seed=6)
    queries.values[3 + 3, 5] = value  # row 3 of query 1
    with pytest.raises(InputError, match=r"query has .* in row 3; encode it again"):
        index.search(queries[1])
    with pytest.raises(InputError, match=r"queries\[1\] has .* in row 3; encode it again"):
        index.search_batch(queries)


def test_a_pickle_opens_as_the_same_index(index: Index) -> None:
    copy = pickle.loads(pickle.dumps(index))
    assert copy.search_batch(QUERIES, 5) == index.search_batch(QUERIES, 5)
    assert copy.info() == index.info()


def test_a_closed_index_refuses_every_use(build: Callable[[TokenEmbeddings], Index]) -> None:
    index = build(DOCUMENTS)
    index.search(QUERIES[0], 2)
    index.close()
    index.close()
    assert "closed" in repr(index)
    uses: list[Callable[[], object]] = [
        lambda: index.search(QUERIES[0]),
        lambda: index.search_batch(QUERIES),
        lambda: index.info(),
        lambda: index.n_docs,
        lambda: index.dim,
        lambda: len(index),
        lambda: "d00" in index,
        lambda: pickle.dumps(index),
    ]
    for use in uses:
        with pytest.raises(InputError, match="the index is closed; open it again"):
            use()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith("plaid")])
def test_a_filter_leaves_the_best_of_what_it_lets_through(kind: str, tmp_path: Path) -> None:
    index = KINDS[kind](DOCUMENTS, tmp_path)
    assert isinstance(index, PlaidIndex)
    allowed = set(NAMES[::3])
    expected = [r for r in index.search(QUERIES[1], 28) if r.doc_id in allowed][:4]
    for filter in (allowed, allowed.__contains__, index.filter(allowed)):
        results = index.search(QUERIES[1], 4, filter=filter)
        assert [doc_id for doc_id, _ in results] == [doc_id for doc_id, _ in expected]
