"""Several shards answer as one index of all documents does, and never silently less."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from index.plaid.corpora import corpus, lengths_like_passages, names

from colmodern import (
    ExactIndex,
    PlaidIndex,
    ScoredDoc,
    ShardedIndex,
    TokenEmbeddings,
    shard_index,
    shard_of,
)
from colmodern.errors import InputError, StorageError
from colmodern.index.pages import Page
from colmodern.index.sharded.merge import merged
from colmodern.ragged.store import EmbeddingStore

DOCUMENTS = corpus(lengths_like_passages(300))
IDS = names(300)
QUERIES = corpus([3, 32, 8, 5, 1, 12], seed=4)
EVERYTHING = {"nprobe": 1 << 20, "n_candidates": 1 << 20}
FIELDS = [{"year": 1990 + i % 40} for i in range(300)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> PlaidIndex:
    path = tmp_path_factory.mktemp("whole") / "i"
    index = PlaidIndex.build(DOCUMENTS[:200], path, IDS[:200], fields=FIELDS[:200])
    index.add(DOCUMENTS[200:], IDS[200:], fields=FIELDS[200:], merge=False)
    index.delete(IDS[::23])
    return index


@pytest.fixture(scope="module")
def folder(whole: PlaidIndex, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shards") / "s"
    shard_index(whole.path, path, 3)
    return path


@pytest.fixture(scope="module")
def sharded(folder: Path) -> ShardedIndex:
    return ShardedIndex.load(folder)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EmbeddingStore:
    return EmbeddingStore.write(tmp_path_factory.mktemp("store") / "e", DOCUMENTS, IDS)


@pytest.mark.parametrize("k", [1, 10, 400])
def test_results_with_one_codec_are_those_of_one_index_to_the_bit(
    whole: PlaidIndex, sharded: ShardedIndex, k: int
) -> None:
    for query in QUERIES:
        results = sharded.search(query, k, **EVERYTHING)
        assert results == whole.search(query, k, **EVERYTHING)
        assert results.is_complete
    batch = sharded.search_batch(QUERIES, k, **EVERYTHING)
    assert batch == whole.search_batch(QUERIES, k, **EVERYTHING)


def test_rescored_results_are_those_of_exact_search(
    sharded: ShardedIndex, store: EmbeddingStore, whole: PlaidIndex
) -> None:
    left = [i for i, doc_id in enumerate(IDS) if doc_id in whole]
    exact = ExactIndex(DOCUMENTS.select(left), [IDS[i] for i in left])
    for query in QUERIES:
        expected = exact.search(query, 20)
        results = sharded.search(query, 20, rescore=store, **EVERYTHING)
        assert [d.doc_id for d in results] == [d.doc_id for d in expected]
        np.testing.assert_allclose(
            [d.score for d in results], [d.score for d in expected], atol=1e-5
        )
    with pytest.raises(InputError, match=r"rescore is TokenEmbeddings.* pass an EmbeddingStore"):
        sharded.search(QUERIES[0], rescore=DOCUMENTS)


def test_every_document_is_in_the_shard_that_its_id_says(
    whole: PlaidIndex, sharded: ShardedIndex
) -> None:
    for number, shard in enumerate(sharded.shards.values()):
        assert isinstance(shard, PlaidIndex)
        assert shard.doc_ids == [i for i in whole.doc_ids if shard_of(i, 3) == number]
    assert sorted(sharded.doc_ids) == sorted(whole.doc_ids)
    assert sharded.n_docs == len(sharded) == whole.n_docs
    assert "d1" in sharded
    assert "d0" not in sharded  # deleted
    assert sharded.info()["documents_of_shards"].keys() == sharded.shards.keys()


def test_placement_never_changes() -> None:
    ids = ("", "d1", "MED-10", "Zürich", "文書 1", "\ud800")
    assert [shard_of(doc_id, 1000) for doc_id in ids] == [138, 426, 907, 630, 507, 632]


def test_filters_pages_and_groups_are_those_of_one_index(
    whole: PlaidIndex, sharded: ShardedIndex
) -> None:
    conditions = {"year": {"gte": 2015}}
    allowed = [i for i in IDS[::3] if i in whole]
    for filter in (conditions, allowed, lambda doc_id: doc_id.endswith("1")):
        expected = whole.search(QUERIES[1], 12, filter=filter, **EVERYTHING)
        assert sharded.search(QUERIES[1], 12, filter=filter, **EVERYTHING) == expected
    page = {"offset": 5, **EVERYTHING}
    assert sharded.search(QUERIES[1], 5, **page) == whole.search(QUERIES[1], 5, **page)
    groups = sharded.search(QUERIES[1], 12, group_by="year", **EVERYTHING)
    expected = whole.search(QUERIES[1], 12, group_by="year", **EVERYTHING)
    assert groups == expected
    assert [hit.group for hit in groups] == [hit.group for hit in expected]  # type: ignore[attr-defined]


def test_known_ids_are_those_that_the_shards_have(sharded: ShardedIndex) -> None:
    joined = ShardedIndex({"all": sharded, "more": ExactIndex(DOCUMENTS[:2], ["more 0", "more 1"])})
    asked = [IDS[7], "none", "more 1", IDS[0], IDS[8]]  # the first id was deleted
    assert sharded.known_ids(asked) == [IDS[7], IDS[8]]
    assert sharded.known_ids(iter(asked)) == [IDS[7], IDS[8]]
    assert joined.known_ids(asked) == [IDS[7], "more 1", IDS[8]]
    assert sharded.known_ids([]) == []
    with pytest.raises(InputError, match="doc_ids"):
        sharded.known_ids("d1")


def test_ids_that_one_shard_lacks_are_no_fault(
    sharded: ShardedIndex, caplog: pytest.LogCaptureFixture
) -> None:
    of_first = next(i for i in IDS[1:] if shard_of(i, 3) == 0)
    unknown = next(f"x{n}" for n in range(99) if shard_of(f"x{n}", 3) == 1)
    [result] = sharded.search(QUERIES[0], 5, filter=[of_first, unknown])
    assert result.doc_id == of_first
    assert sharded.search_batch(QUERIES, 5, filter=[of_first, unknown])[3][0].doc_id == of_first
    with pytest.raises(InputError, match="filter has 1 ids, and the shards have none of them"):
        sharded.search(QUERIES[0], 5, filter=[unknown])
    with pytest.raises(InputError, match=r"filter='d1'"):
        sharded.search(QUERIES[0], 5, filter="d1")


@given(
    scores=st.lists(st.sampled_from([0.0, -1.5, 2.0, 2.25, 7.0]), max_size=40),
    n_shards=st.integers(1, 6),
    k=st.integers(1, 50),
    offset=st.integers(0, 10),
)
def test_merging_equals_sorting_everything(
    scores: list[float], n_shards: int, k: int, offset: int
) -> None:
    documents = [ScoredDoc(f"d{i}", score) for i, score in enumerate(scores)]
    ranking = sorted(documents, key=lambda doc: (-doc.score, doc.doc_id))
    answers = {
        str(number): [doc for doc in ranking if shard_of(doc.doc_id, n_shards) == number][
            : k + offset
        ]
        for number in range(n_shards)
    }
    assert merged(answers, Page(k, offset)) == ranking[offset : offset + k]


def test_indexes_of_every_kind_are_joined(whole: PlaidIndex, tmp_path: Path) -> None:
    parts = [slice(0, 90), slice(90, 180), slice(180, 300)]
    exact = [ExactIndex(DOCUMENTS[part], IDS[part]) for part in parts]
    expected = ExactIndex(DOCUMENTS, IDS).search_batch(QUERIES, 15)
    joined = ShardedIndex(exact)
    for results, wanted in zip(joined.search_batch(QUERIES, 15), expected, strict=True):
        assert [d.doc_id for d in results] == [d.doc_id for d in wanted]
    own = PlaidIndex.build(DOCUMENTS[parts[0]], tmp_path / "own", IDS[parts[0]], nbits=8)
    mixed = ShardedIndex({"own": own, "b": exact[1], "c": exact[2]})
    for results, wanted in zip(mixed.search_batch(QUERIES, 5), expected, strict=True):
        assert [d.doc_id for d in results][:3] == [d.doc_id for d in wanted][:3]
    [result] = joined.search(QUERIES[0], 3, filter=["d100"])
    assert result.doc_id == "d100"
    with pytest.raises(InputError, match=r"nprobe=3: shard b is of the kind ExactIndex"):
        mixed.search(QUERIES[0], nprobe=3)
    with pytest.raises(InputError, match=r"without is_hashed=True"):
        joined.delete(["d1"])


def test_what_cannot_be_joined_is_refused(sharded: ShardedIndex) -> None:
    first, second, _ = sharded.shards.values()
    other = ExactIndex(corpus([3, 4], dim=24))
    x, y = (
        ExactIndex(
            TokenEmbeddings(DOCUMENTS.values, DOCUMENTS.offsets, fingerprint=name),
            names(300, prefix=name),
        )
        for name in "xy"
    )
    cases: list[tuple[Any, str]] = [
        ([], "shards is empty"),
        (7, "shards=7; pass a list of open indexes"),
        ([first, "no index"], "shards.'shard-1'. is 'no index'"),
        ([first, PlaidIndex], "shards.'shard-1'. is"),
        ([first, first], "has the same index twice"),
        ({"": first}, "name every shard"),
        ([first, other], "shard shard-0 has dim=16 and shard shard-1 has dim=24"),
        ([x, y], "shards shard-0 and shard-1 were built with different encoders"),
    ]
    for shards, message in cases:
        with pytest.raises(InputError, match=message):
            ShardedIndex(shards)
    with pytest.raises(StorageError, match=r"document 'd\d+' is in the shards a and b"):
        ShardedIndex({"a": first, "b": PlaidIndex.load(first.path)})  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="is_hashed=True, but document"):
        ShardedIndex([second, first], is_hashed=True)
    for timeout in (0, -1, "1", True, float("nan"), float("inf")):
        with pytest.raises(InputError, match=r"^timeout_s="):
            ShardedIndex([first], timeout_s=timeout)  # type: ignore[arg-type]


@pytest.mark.parametrize("option", ["nprobe", "n_candidates"])
def test_a_shard_refuses_an_option_of_zero(folder: Path, option: str) -> None:
    index = ShardedIndex.load(folder)
    for search in (
        lambda options: index.search(QUERIES[0], 3, **options),
        lambda options: index.search_batch(QUERIES, 3, **options),
    ):
        with pytest.raises(InputError, match=rf"{option}=0; pass a whole number, at least 1"):
            search({option: 0})


def test_a_document_in_two_shards_is_noticed_in_results(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    twice = next(i for i in IDS[1:] if shard_of(i, 3) == 2)
    number = IDS.index(twice)
    PlaidIndex.load(copy / "shard-00000").add(DOCUMENTS[number : number + 1], [twice])
    with pytest.raises(StorageError, match=f"shard-00000 has document '{twice}', which belongs to"):
        ShardedIndex.check(copy)
    shards = ShardedIndex.load(copy)
    with pytest.raises(
        StorageError, match=f"'{twice}' is in the shards shard-00000 and shard-00002"
    ):
        shards.search(DOCUMENTS[number], 5)


def test_searches_from_many_threads_agree(sharded: ShardedIndex) -> None:
    expected = [sharded.search(query, 7) for query in QUERIES]
    faults: list[object] = []

    def work() -> None:
        for _ in range(5):
            for query, wanted in zip(QUERIES, expected, strict=True):
                if sharded.search(query, 7, timeout_s=60) != wanted:
                    faults.append(query)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults


def test_explain_is_that_of_the_shard(sharded: ShardedIndex) -> None:
    best = sharded.search(QUERIES[0], 1)[0]
    explanation = sharded.explain(QUERIES[0], best.doc_id)
    assert explanation.is_result
    np.testing.assert_allclose(explanation.score, best.score, atol=0.2)
    with pytest.raises(InputError, match="doc_id='none' is not in the index"):
        sharded.explain(QUERIES[0], "none")
