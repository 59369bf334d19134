"""Documents ranked by their passages, against loops over all of them."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import unit_rows
from oracles import maxsim

from colmodern import (
    ExactIndex,
    PassageIndex,
    PlaidIndex,
    RerankIndex,
    ShardedIndex,
    SpanSettings,
    TokenEmbeddings,
    TokenSpans,
)
from colmodern.errors import InputError
from colmodern.index.base import Index
from colmodern.passages import passage_ids

DIM = 24
COUNTS = {"d": 3, "a#1": 1, "c": 5, "b": 2, "e": 9, "f": 1}
IDS = passage_ids(COUNTS, COUNTS.values())
PASSAGES = unit_rows([4, 1, 9, 0, 12, 2, 7] * 3, dim=DIM, seed=5)
QUERIES = unit_rows([3, 32, 1, 7], dim=DIM, seed=6)
RANKS = ("best", "sum")

INDEXES: dict[str, Callable[[Path], Index]] = {
    "exact": lambda path: ExactIndex(PASSAGES, IDS),
    "exact, stored": lambda path: (
        PASSAGES.save(path / "store", IDS) or ExactIndex.load(path / "store")
    ),
    "plaid": lambda path: PlaidIndex.build(PASSAGES, path / "index", IDS, nbits=8),
    "sharded": lambda path: ShardedIndex.build(PASSAGES, path / "shards", 3, IDS, nbits=8),
}


@pytest.fixture(params=INDEXES, scope="module")
def passages(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Index:
    return INDEXES[request.param](tmp_path_factory.mktemp("passages"))


def ranking(index: Index, query: np.ndarray, rank: str) -> list[tuple[str, float, str]]:
    """Document, score and best passage by a loop over all passages; scores are the index's own."""
    options = {} if isinstance(index, ExactIndex) else {"n_candidates": 21, "exact": True}
    scores = {hit.doc_id: hit.score for hit in index.search(query, 21, **options)}
    assert len(scores) == 21
    documents = []
    for doc_id, count in COUNTS.items():
        own = [f"{doc_id}#{number}" for number in range(count)]
        best = min(own, key=lambda passage: (-scores[passage], passage))
        total = math.fsum(scores[passage] for passage in own)
        documents.append((doc_id, scores[best] if rank == "best" else total, best))
    return sorted(documents, key=lambda document: (-document[1], document[0]))


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("k", [1, 2, 5, 100])
def test_results_are_those_of_a_loop_over_all_passages(passages: Index, rank: str, k: int) -> None:
    index = PassageIndex(passages, rank)
    for query, batch in zip(QUERIES, index.search_batch(QUERIES, k), strict=True):
        expected = ranking(passages, query, rank)[:k]
        found = index.search(query, k)
        assert [hit.doc_id for hit in found] == [doc_id for doc_id, _, _ in expected]
        assert [hit.passage_id for hit in found] == [passage for _, _, passage in expected]
        if isinstance(passages, ExactIndex):
            assert [hit.score for hit in found] == [score for _, score, _ in expected]
        np.testing.assert_allclose(
            [hit.score for hit in batch], [e[1] for e in expected], atol=1e-4
        )
        assert [hit.passage_id for hit in batch] == [passage for _, _, passage in expected]


def test_exact_sums_are_those_of_the_slow_reference() -> None:
    index = PassageIndex(ExactIndex(PASSAGES, IDS), "sum")
    for query in QUERIES:
        found = {hit.doc_id: hit.score for hit in index.search(query, 6)}
        for doc_id, count in COUNTS.items():
            first = IDS.index(f"{doc_id}#0")
            scores = [maxsim(query, PASSAGES[first + i]) for i in range(count)]
            assert found[doc_id] == pytest.approx(math.fsum(scores), abs=2e-5)


@pytest.mark.parametrize("rank", RANKS)
def test_pages_follow_each_other(passages: Index, rank: str) -> None:
    index = PassageIndex(passages, rank)
    whole = index.search(QUERIES[0], 6)
    assert index.search(QUERIES[0], 2, offset=2) == whole[2:4]
    assert index.search(QUERIES[0], 9, offset=5) == whole[5:]
    assert index.search(QUERIES[0], 9, offset=6) == []


@pytest.mark.parametrize("rank", RANKS)
def test_a_filter_is_of_documents(passages: Index, rank: str) -> None:
    index = PassageIndex(passages, rank)
    allowed = ["e", "a#1", "f"]
    expected = [d for d in ranking(passages, QUERIES[0], rank) if d[0] in allowed]
    for filter in (allowed, set(allowed), lambda doc_id: doc_id in allowed, index.filter(allowed)):
        found = index.search(QUERIES[0], 6, filter=filter)
        assert [hit.passage_id for hit in found] == [passage for _, _, passage in expected]
    with pytest.raises(InputError, match="ids"):
        index.search(QUERIES[0], filter=["c#0", "nobody"])


def test_filters_are_also_of_fields(tmp_path: Path) -> None:
    fields = [{"year": 2000 + number} for number in range(21)]
    for passages in (
        ExactIndex(PASSAGES, IDS, fields=fields),
        PlaidIndex.build(PASSAGES, tmp_path / "index", IDS, fields=fields),
    ):
        found = PassageIndex(passages).search(QUERIES[0], 6, filter={"year": {"lt": 2003}})
        assert [hit.doc_id for hit in found] == ["d"]


def test_equal_documents_are_ordered_by_id() -> None:
    same = TokenEmbeddings.from_list([np.ones((2, DIM), np.float32) / DIM**0.5] * 40)
    documents = [f"d{number}{tail}" for number in range(10) for tail in ("", " x", "!", "$")]
    index = PassageIndex(ExactIndex(same, passage_ids(documents, [1] * 40)))
    assert [hit.doc_id for hit in index.search(same[0], 3)] == sorted(documents)[:3]


@pytest.mark.parametrize("rank", RANKS)
def test_a_query_without_tokens_scores_zero(passages: Index, rank: str) -> None:
    found = PassageIndex(passages, rank).search(np.zeros((0, DIM), np.float32), 3)
    assert found == [("a#1", 0.0), ("b", 0.0), ("c", 0.0)]


def test_fewer_candidates_bound_the_passages_of_a_sum(tmp_path: Path) -> None:
    passages = PlaidIndex.build(PASSAGES, tmp_path / "index", IDS, nbits=8)
    index, query = PassageIndex(passages, "sum"), QUERIES[1]
    few = passages.search(query, 4, n_candidates=4, exact=True)
    expected: dict[str, float] = {}
    for passage, score in few:
        doc_id = passage.rpartition("#")[0]
        expected[doc_id] = expected.get(doc_id, 0) + score
    found = index.search(query, 2, n_candidates=4)
    assert {hit.doc_id: hit.score for hit in found} == pytest.approx(
        dict(sorted(expected.items(), key=lambda item: -item[1])[:2])
    )


def test_passages_that_matched_are_counted_in_the_whole_text(tmp_path: Path) -> None:
    # each token of a passage is a word of one letter in its document's text
    starts = dict.fromkeys(COUNTS, 0)
    bounds = []
    for passage, length in zip(IDS, PASSAGES.lengths.tolist(), strict=True):
        doc_id = passage.rpartition("#")[0]
        bounds += [(starts[doc_id] + 2 * i, starts[doc_id] + 2 * i + 1) for i in range(length)]
        starts[doc_id] += 2 * length
    located = TokenEmbeddings(
        PASSAGES.values, PASSAGES.offsets, spans=TokenSpans.from_bounds(bounds, PASSAGES.offsets)
    )
    texts = {doc_id: "x " * (length // 2) for doc_id, length in starts.items()}
    for passages in (
        ExactIndex(located, IDS),
        PlaidIndex.build(located, tmp_path / "index", IDS, spans=True),
    ):
        index = PassageIndex(passages)
        for hit in index.search(QUERIES[1], 6, spans=SpanSettings(texts=texts)):
            row = IDS.index(hit.passage_id)
            first = IDS.index(f"{hit.doc_id}#0")
            start = 2 * int(PASSAGES.offsets[row] - PASSAGES.offsets[first])
            end = start + 2 * int(PASSAGES.lengths[row]) - 1
            assert hit.characters == ((start, end) if start < end else None)
            assert bool(hit.spans) == (start < end)
            assert all(start <= span.start < span.end <= end for span in hit.spans)
        assert index.search(QUERIES[1], 1)[0].spans == ()
    unknown = PassageIndex(ExactIndex(PASSAGES, IDS)).search(QUERIES[1], 1)[0]
    assert unknown.characters is None


@pytest.mark.parametrize("rank", RANKS)
def test_all_passages_of_candidates_are_reranked(rank: str) -> None:
    exact = ExactIndex(PASSAGES, IDS)
    first = PassageIndex(exact, "best")
    reranked = RerankIndex(first, PASSAGES, IDS, depth=3, passages=rank)
    candidates = [hit.doc_id for hit in first.search(QUERIES[1], 3)]
    found = reranked.search("", QUERIES[1], 6)
    expected = PassageIndex(exact, rank).search(QUERIES[1], 6, filter=candidates)
    assert found == expected
    assert [hit.passage for hit in found] == [hit.passage for hit in expected]
    with pytest.raises(InputError, match="passages='mean'"):
        RerankIndex(first, PASSAGES, IDS, passages="mean")


def test_it_says_what_it_holds(passages: Index) -> None:
    index = PassageIndex(passages)
    assert (len(index), index.n_docs, index.n_passages, index.dim) == (6, 6, 21, DIM)
    assert "a#1" in index
    assert "a#1#0" not in index
    assert 3 not in index
    info = index.info()
    assert (info["documents"], info["passages"], info["rank"]) == (6, 21, "best")
    copy = pickle.loads(pickle.dumps(index))
    assert copy.search(QUERIES[0], 3) == index.search(QUERIES[0], 3)
    best = index.search(QUERIES[0], 6)
    assert {hit.doc_id: hit.passage_id for hit in best} == {
        doc_id: index.best_passage(QUERIES[0], doc_id) for doc_id in COUNTS
    }
    with pytest.raises(InputError, match="'g' is not in the index"):
        index.best_passage(QUERIES[0], "g")


def test_what_it_cannot_rank_is_refused(tmp_path: Path) -> None:
    exact = ExactIndex(PASSAGES, IDS)
    with pytest.raises(InputError, match=r"rank='mean'; choose one of 'best', 'sum'"):
        PassageIndex(exact, "mean")
    with pytest.raises(InputError, match=r"'0' is not the id of a passage"):
        PassageIndex(ExactIndex(PASSAGES))
    with pytest.raises(InputError, match=r"index is a TokenEmbeddings; pass an ExactIndex"):
        PassageIndex(PASSAGES)
    with pytest.raises(InputError, match=r"group_by: a PassageIndex groups by document"):
        PassageIndex(exact).search(QUERIES[0], group_by="year")
    with pytest.raises(InputError, match=r"k=0"):
        PassageIndex(exact).search(QUERIES[0], 0)
    with pytest.raises(InputError, match=r"offset=-1"):
        PassageIndex(exact).search(QUERIES[0], offset=-1)
    with pytest.raises(InputError, match=r"query has dim=8"):
        PassageIndex(exact).search(np.ones((1, 8), np.float32))
    exact.close()
    with pytest.raises(InputError, match="the index is closed"):
        PassageIndex(exact).search(QUERIES[0])


def test_an_update_deletes_other_documents_in_the_same_change(tmp_path: Path) -> None:
    index = PlaidIndex.build(PASSAGES, tmp_path / "index", IDS)
    before = index.version
    one = PASSAGES[:1]
    with pytest.raises(InputError, match="document 'nobody' is not in the index"):
        index.update(one, ["e#0"], delete=["e#1", "nobody"])
    assert index.version == before
    index.update(one, ["e#0"], delete=["e#1", "e#2"])
    assert index.n_docs == 19
    assert "e#0" in index
    assert "e#1" not in index
    assert PlaidIndex.load(tmp_path / "index").n_docs == 19
    with pytest.raises(InputError, match="delete"):
        index.update(one, ["e#0"], delete="e#3")
    index.update(PASSAGES[:0], [], delete=["e#0"])  # no new documents, and still a change
    assert index.n_docs == PlaidIndex.load(tmp_path / "index").n_docs == 18
    assert "e#0" not in index


def test_few_candidates_are_enough_for_every_document_of_a_page(tmp_path: Path) -> None:
    index = PassageIndex(PlaidIndex.build(PASSAGES, tmp_path / "index", IDS), "sum")
    assert len(index.search(QUERIES[0], 1, n_candidates=1)) == 1
    for offset in range(1, 4):
        assert len(index.search(QUERIES[0], 1, offset=offset, n_candidates=1)) <= 1
    hits = index.search(QUERIES[0], 6, n_candidates=len(IDS))
    assert index.search(QUERIES[0], 2, offset=2, n_candidates=len(IDS)) == hits[2:4]
