"""Fused and reranked searches of live indexes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import unit_rows

from colmodern import BM25Index, ExactIndex, HybridIndex, PlaidIndex, RerankIndex, fuse
from colmodern.errors import InputError
from colmodern.index.ranking import mean_scores

NAMES = [f"d{number:02d}" for number in range(30)]
EMBEDDINGS = unit_rows([4, 7, 12] * 10, dim=24, seed=1)
TEXTS = ["wing lift", "drag", "unknown"]
QUERIES = unit_rows([3, 5, 2], dim=24, seed=2)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("parts")
    words = {n: ("wing lift " * (i % 4) + "drag " * (i % 3)).strip() for i, n in enumerate(NAMES)}
    return {
        "bm25": BM25Index.build(words, folder / "bm25", stemmer=None),
        "plaid": PlaidIndex.build(EMBEDDINGS, folder / "plaid", NAMES),
    }


@pytest.mark.parametrize("fusion", ["rrf", "weighted", "interleave"])
def test_a_hybrid_has_the_fused_results_of_its_indexes(parts: dict[str, Any], fusion: Any) -> None:
    hybrid = HybridIndex(parts, fusion=fusion, depth=8)
    runs = [
        dict(zip(TEXTS, parts["bm25"].search_batch(TEXTS, 8), strict=True)),
        dict(zip(TEXTS, parts["plaid"].search_batch(QUERIES, 8), strict=True)),
    ]
    expected = fuse(runs, 5, fusion=fusion)
    assert hybrid.search_batch(TEXTS, QUERIES, 5) == [expected[text] for text in TEXTS]
    for text, query in zip(TEXTS, QUERIES, strict=True):
        alone = hybrid.search(text, query, 5)
        assert [d for d, _ in alone] == [d for d, _ in expected[text]]
    assert hybrid.info()["indexes"].keys() == parts.keys()
    assert (hybrid.info()["depth"], hybrid.info()["weights"]) == (8, [1.0, 1.0])


def test_candidates_are_ordered_by_maxsim(parts: dict[str, Any]) -> None:
    rerank = RerankIndex(parts["bm25"], EMBEDDINGS, NAMES, depth=6)
    exact = ExactIndex(EMBEDDINGS, NAMES)
    for text, query, batch in zip(
        TEXTS, QUERIES, rerank.search_batch(TEXTS, QUERIES, 4), strict=True
    ):
        candidates = {doc_id for doc_id, _ in parts["bm25"].search(text, 6)}
        expected = [result for result in exact.search(query, 30) if result.doc_id in candidates][:4]
        alone = rerank.search(text, query, 4)
        assert [d for d, _ in alone] == [d for d, _ in expected] == [d for d, _ in batch]
        assert [s for _, s in alone] == pytest.approx([s for _, s in expected], abs=1e-5)
    assert rerank.search("unknown", QUERIES[2]) == []


def test_candidates_without_embeddings_are_left_out(parts: dict[str, Any], tmp_path: Path) -> None:
    few = EMBEDDINGS.select(range(10))
    few.save(tmp_path / "store", NAMES[:10])
    from colmodern import EmbeddingStore

    stored = RerankIndex(parts["plaid"], EmbeddingStore(tmp_path / "store"), depth=30)
    in_memory = RerankIndex(parts["plaid"], few, NAMES[:10], depth=30)
    results = stored.search("", QUERIES[0], 30)
    assert {doc_id for doc_id, _ in results} == set(NAMES[:10])
    assert [d for d, _ in results] == [d for d, _ in in_memory.search("", QUERIES[0], 30)]


def test_searches_nest(parts: dict[str, Any]) -> None:
    rerank = RerankIndex(parts["bm25"], EMBEDDINGS, NAMES, depth=6)
    inner = HybridIndex(parts, depth=6)
    hybrid = HybridIndex({"bm25": parts["bm25"], "rerank": rerank, "hybrid": inner}, depth=5)
    runs = [
        dict(zip(TEXTS, parts["bm25"].search_batch(TEXTS, 5), strict=True)),
        dict(zip(TEXTS, rerank.search_batch(TEXTS, QUERIES, 5), strict=True)),
        dict(zip(TEXTS, inner.search_batch(TEXTS, QUERIES, 5), strict=True)),
    ]
    expected = fuse(runs, 4)
    assert hybrid.search_batch(TEXTS, QUERIES, 4) == [expected[text] for text in TEXTS]
    over = RerankIndex(hybrid, EMBEDDINGS, NAMES, depth=5)
    exact = ExactIndex(EMBEDDINGS, NAMES)
    for text, query in zip(TEXTS, QUERIES, strict=True):
        candidates = {doc_id for doc_id, _ in hybrid.search(text, query, 5)}
        best = [doc_id for doc_id, _ in exact.search(query, 30) if doc_id in candidates]
        assert [doc_id for doc_id, _ in over.search(text, query, 5)] == best
    assert over.info()["first"]["indexes"]["rerank"]["depth"] == 6


def test_a_closed_hybrid_leaves_its_indexes_open(parts: dict[str, Any]) -> None:
    hybrid = HybridIndex(parts)
    hybrid.close()
    assert repr(hybrid) == "HybridIndex(closed)"
    with pytest.raises(InputError, match="the index is closed"):
        hybrid.search("wing", QUERIES[0])
    assert parts["bm25"].search("wing")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: HybridIndex({"a": p["bm25"]}), "at least two"),
        (lambda p: HybridIndex([p["bm25"], p["plaid"]]), "pass a mapping"),
        (lambda p: HybridIndex({**p, "c": 3}), r"indexes\['c'\] is 3; pass an index"),
        (lambda p: HybridIndex(p, weights=[1]), "weights has 1 numbers"),
        (lambda p: HybridIndex(p, depth=0), "depth=0"),
        (lambda p: HybridIndex(p, fusion="sum"), "fusion='sum'"),
        (lambda p: HybridIndex(p).search("x", QUERIES[0], 0), "k=0"),
        (lambda p: HybridIndex(p).search(3, QUERIES[0]), "query is 3; pass a text"),
        (lambda p: HybridIndex(p).search_batch(["x"], QUERIES), "1 texts for 3 queries"),
        (lambda p: RerankIndex(3, EMBEDDINGS), "first is 3; pass an index"),
        (lambda p: RerankIndex(p["bm25"], EMBEDDINGS, ["x"]), "doc_ids has 1 entries"),
        (lambda p: RerankIndex(p["bm25"], EMBEDDINGS, NAMES, depth=True), "depth=True"),
    ],
)
def test_what_cannot_be_searched_is_refused(
    parts: dict[str, Any], call: Callable[[Any], object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        call(parts)


def test_mean_scores_divide_by_the_query_tokens(parts: dict[str, Any]) -> None:
    results = parts["plaid"].search_batch(QUERIES, 5)
    means = mean_scores(results, QUERIES)
    for ranking, divided, query in zip(results, means, QUERIES, strict=True):
        assert divided == [(doc_id, score / len(query)) for doc_id, score in ranking]
    with pytest.raises(InputError, match="3 results for 1 queries"):
        mean_scores(results, QUERIES.select([0]))
