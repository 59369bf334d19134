"""What is made of a partial answer says that it is partial."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import unit_rows

from colmodern import (
    ExactIndex,
    HybridIndex,
    PassageIndex,
    PlaidIndex,
    RerankIndex,
    ShardedIndex,
    TokenEmbeddings,
    evaluate,
    fuse,
)
from colmodern.errors import InputError, UnavailableError
from colmodern.index.ranking import mean_scores
from colmodern.partial import ShardedResults, ShardsReport, joined
from colmodern.passages import passage_ids

EMBEDDINGS = unit_rows([4, 7, 12] * 4, dim=24, seed=1)
QUERIES = unit_rows([3, 5], dim=24, seed=2)
TEXTS = ["", ""]
IDS = passage_ids(["a", "b", "c", "d"], [3, 3, 3, 3])
GONE = {"right": "the cable is out"}


class Shard(PlaidIndex):
    """A shard that fails once it has answered ``n_answers`` searches more."""

    n_answers = 1000

    @classmethod
    def of(cls, embeddings: TokenEmbeddings, ids: list[str], path: Path) -> Shard:
        PlaidIndex.build(embeddings, path, ids, nbits=8).close()
        return cls.load(path)

    def _answer(self, search: Callable[[], Any]) -> Any:
        self.n_answers -= 1
        if self.n_answers < 0:
            raise OSError(GONE["right"])
        return search()

    def search(self, *args: Any, **options: Any) -> Any:
        return self._answer(lambda: PlaidIndex.search(self, *args, **options))

    def search_batch(self, *args: Any, **options: Any) -> Any:
        return self._answer(lambda: PlaidIndex.search_batch(self, *args, **options))


@pytest.fixture
def shards(tmp_path: Path) -> tuple[ShardedIndex, Shard]:
    """Passages of a and b on the left, of d on the right, of c on both; partial answers will do."""
    left = Shard.of(EMBEDDINGS[:7], IDS[:7], tmp_path / "left")
    right = Shard.of(EMBEDDINGS[7:], IDS[7:], tmp_path / "right")
    return ShardedIndex({"left": left, "right": right}, allow_partial=True), right


def rankings(index: Any) -> list[Any]:
    """The answers of an index to one query, to a batch, and to each query of the batch."""
    if isinstance(index, PassageIndex):
        batch = index.search_batch(QUERIES, 3)
        return [index.search(QUERIES[0], 3), batch, *batch]
    batch = index.search_batch(TEXTS, QUERIES, 3)
    return [index.search("", QUERIES[0], 3), batch, *batch]


@pytest.mark.parametrize("rank", ["best", "sum"])
def test_documents_ranked_by_a_part_of_the_passages_are_partial(
    shards: tuple[ShardedIndex, Shard], rank: Any
) -> None:
    sharded, right = shards
    index = PassageIndex(sharded, rank)
    for results in rankings(index):
        assert results.is_complete
        assert results.shards.answered == ("left", "right")
    right.n_answers = 0
    for results in rankings(index):
        assert not results.is_complete
        assert results.shards == (("left",), GONE)
    results = index.search(QUERIES[0], 3)
    assert {hit.doc_id for hit in results} == {"a", "b", "c"}
    assert not results[:1].is_complete
    assert not pickle.loads(pickle.dumps(results)).is_complete
    with pytest.raises(InputError, match="results of query 'q' are incomplete: right is missing"):
        evaluate({"q": results}, {"q": {"a": 1}})
    with pytest.raises(UnavailableError, match="1 of 2 shards did not answer"):
        index.search(QUERIES[0], 3, allow_partial=False)


def test_a_shard_that_fails_during_a_search_of_passages_is_missing(tmp_path: Path) -> None:
    # the best passages are all of one document, so that the search looks deeper
    same = TokenEmbeddings.from_list([QUERIES[0]] * 20)
    documents = [*same, *EMBEDDINGS]
    ids = passage_ids(["z", "a", "b", "c", "d"], [20, 3, 3, 3, 3])
    left = Shard.of(TokenEmbeddings.from_list(documents[:26]), ids[:26], tmp_path / "left")
    right = Shard.of(TokenEmbeddings.from_list(documents[26:]), ids[26:], tmp_path / "right")
    right.n_answers = 1
    index = PassageIndex(ShardedIndex({"left": left, "right": right}, allow_partial=True))
    results = index.search(QUERIES[0], 3)
    assert results[0].doc_id == "z"
    assert results.shards.missing == GONE  # type: ignore[attr-defined]


def test_a_document_whose_shard_is_gone_is_an_error_that_says_so(
    shards: tuple[ShardedIndex, Shard],
) -> None:
    sharded, right = shards
    right.n_answers = 0
    index = PassageIndex(sharded)
    assert index.best_passage(QUERIES[0], "a").startswith("a#")
    with pytest.raises(UnavailableError, match="with passages of 'c' do not answer; search again"):
        index.best_passage(QUERIES[0], "c")
    with pytest.raises(
        UnavailableError, match=r"\(right: the cable is out\); search again when they do"
    ):
        index.best_passage(QUERIES[0], "d")


@pytest.mark.parametrize("kind", ["hybrid", "rerank", "rerank of nothing", "hybrid of rerank"])
def test_searches_made_of_partial_ones_are_partial(
    shards: tuple[ShardedIndex, Shard], kind: str
) -> None:
    sharded, right = shards
    exact = ExactIndex(EMBEDDINGS, IDS)
    rerank = RerankIndex(sharded, EMBEDDINGS, IDS)
    index = {
        "hybrid": HybridIndex({"shards": sharded, "exact": exact}),
        "rerank": rerank,
        "rerank of nothing": RerankIndex(sharded, EMBEDDINGS, [f"x{i}" for i in range(12)]),
        "hybrid of rerank": HybridIndex({"inner": rerank, "exact": exact}),
    }[kind]
    assert all(results.is_complete for results in rankings(index))
    right.n_answers = 0
    name = {"hybrid": "shards: right", "hybrid of rerank": "inner: right"}.get(kind, "right")
    for results in rankings(index):
        assert not results.is_complete
        assert dict(results.shards.missing) == {name: GONE["right"]}


def test_fused_runs_and_mean_scores_stay_partial(shards: tuple[ShardedIndex, Shard]) -> None:
    sharded, right = shards
    whole = ExactIndex(EMBEDDINGS, IDS).search_batch(QUERIES, 3)
    right.n_answers = 0
    partial = sharded.search_batch(QUERIES, 3)
    means = mean_scores(partial, QUERIES)
    assert not means.is_complete
    assert not means[1].is_complete  # type: ignore[attr-defined]
    assert mean_scores(whole, QUERIES).is_complete
    fused = fuse([{"p": whole[0], "q": whole[1]}, {"q": partial[1]}])
    assert fused["p"].is_complete
    assert not fused["q"].is_complete


def test_a_shard_that_one_of_several_searches_lacks_is_missing() -> None:
    reports = [ShardsReport(("a", "b"), {}), None, ShardsReport(("a", "c"), {"b": "late"})]
    assert joined(reports) == (("a", "c"), {"b": "late"})
    assert joined([None]) is None
    assert not ShardedResults([], ShardsReport((), {"b": "late"})).is_complete
