"""Shards that fail, are late or are damaged: an error, or a part that says what it lacks."""

from __future__ import annotations

import pickle
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from index.sharded.test_sharded_index import IDS, QUERIES, folder, whole

from colmodern import PlaidIndex, ShardedIndex, evaluate, shard_of
from colmodern.errors import InputError, StorageError, UnavailableError
from colmodern.evaluation.trec import write_run

__all__ = ["folder", "whole"]  # fixtures


class Broken:
    """A shard that fails, or answers late, after it was opened."""

    def __init__(self, index: PlaidIndex) -> None:
        self._index = index
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)

    @property
    def n_docs(self) -> int:
        self.gate.wait(30)
        return self._index.n_docs

    def known_ids(self, doc_ids: list[str]) -> list[str]:
        if self.error is not None:
            raise self.error
        return self._index.known_ids(doc_ids)

    def __contains__(self, doc_id: object) -> bool:
        return doc_id in self._index

    def search(self, query: Any, k: int = 10, filter: Any = None) -> Any:
        self.gate.wait(30)
        if self.error is not None:
            raise self.error
        return self._index.search(query, k, filter=filter)

    def search_batch(self, queries: Any, k: int = 10) -> Any:
        if self.error is not None:
            raise self.error
        return self._index.search_batch(queries, k)


@pytest.fixture
def broken(folder: Path) -> Iterator[tuple[ShardedIndex, Broken]]:
    first, second, third = (PlaidIndex.load(path) for path in sorted(folder.glob("shard-*")))
    shard = Broken(second)
    yield ShardedIndex({"a": first, "b": shard, "c": third}, is_hashed=True), shard  # type: ignore[dict-item]
    shard.gate.set()


def test_a_shard_that_fails_makes_a_search_fail_or_say_so(
    broken: tuple[ShardedIndex, Broken],
) -> None:
    index, shard = broken
    complete = index.search(QUERIES[0], 400)
    shard.error = OSError("the cable is out")
    with pytest.raises(UnavailableError, match=r"1 of 3 shards did not answer \(b: the cable is"):
        index.search(QUERIES[0], 400)
    results = index.search(QUERIES[0], 400, allow_partial=True)
    assert not results.is_complete
    assert results.shards == (("a", "c"), {"b": "the cable is out"})
    assert results == [doc for doc in complete if shard_of(doc.doc_id, 3) != 1]
    assert not results[:2].is_complete
    assert pickle.loads(pickle.dumps(results)).shards == results.shards
    batch = index.search_batch(QUERIES, 3, allow_partial=True)
    assert not batch.is_complete
    assert not batch[2].is_complete  # type: ignore[attr-defined]
    shard.error = None
    assert index.search(QUERIES[0], 400).is_complete


def test_a_shard_that_does_not_say_which_ids_it_has_is_missing(folder: Path) -> None:
    shards = [Broken(PlaidIndex.load(path)) for path in sorted(folder.glob("shard-*"))]
    index = ShardedIndex(shards, allow_partial=True)  # type: ignore[arg-type]
    whole = index.search(QUERIES[0], 5, filter=IDS[:60])
    assert whole.is_complete
    shards[1].error = OSError("the cable is out")
    results = index.search(QUERIES[0], 60, filter=IDS[:60])
    assert results.shards.missing == {"shard-1": "the cable is out"}
    assert {shard_of(doc.doc_id, 3) for doc in results} == {0, 2}
    with pytest.raises(
        UnavailableError, match=r"1 of 3 shards did not answer \(shard-1: the cable"
    ):
        index.search(QUERIES[0], 5, filter=IDS[:60], allow_partial=False)
    shards[1].error = None
    assert index.search(QUERIES[0], 5, filter=IDS[:60]) == whole


def test_a_late_shard_is_missing_at_the_deadline(broken: tuple[ShardedIndex, Broken]) -> None:
    index, shard = broken
    index.search(QUERIES[0], 3)
    shard.gate.clear()
    start = time.monotonic()
    results = index.search(QUERIES[0], 3, timeout_s=0.2, allow_partial=True)
    assert time.monotonic() - start < 5
    assert results.shards.missing == {"b": "it did not answer within 0.2 s"}
    with pytest.raises(UnavailableError, match=r"b: it did not answer within 0\.2 s"):
        index.search(QUERIES[0], 3, timeout_s=0.2)
    shard.gate.set()
    assert index.search(QUERIES[0], 3, timeout_s=30).is_complete


def test_facts_may_take_longer_than_searches(folder: Path) -> None:
    shards = [Broken(PlaidIndex.load(path)) for path in sorted(folder.glob("shard-*"))]
    index = ShardedIndex(shards, timeout_s=0.01)  # type: ignore[arg-type]
    shards[1].gate.clear()
    with pytest.raises(UnavailableError, match=r"did not answer within 0\.01 s"):
        index.search(QUERIES[0], 3)
    opening = threading.Timer(0.1, shards[1].gate.set)
    opening.start()
    assert index.n_docs == sum(len(shard.doc_ids) for shard in shards)
    opening.join()


def test_evaluation_refuses_incomplete_answers(
    broken: tuple[ShardedIndex, Broken], tmp_path: Path
) -> None:
    index, shard = broken
    run = {"q": index.search(QUERIES[0], 5)}
    judgments = {"q": {run["q"][0].doc_id: 1}}
    assert evaluate(run, judgments, ["RR@5"]).mean == {"RR@5": 1.0}
    shard.error = OSError("gone")
    run = {"q": index.search(QUERIES[0], 5, allow_partial=True)}
    with pytest.raises(InputError, match=r"results of query 'q' are incomplete: b is missing"):
        evaluate(run, judgments)
    with pytest.raises(InputError, match=r"results of query 'q' are incomplete: b is missing"):
        write_run(tmp_path / "run.trec", run, tag="t")
    assert not (tmp_path / "run.trec").exists()


def test_no_answer_at_all_is_an_error_even_where_parts_will_do(folder: Path) -> None:
    shards = [Broken(PlaidIndex.load(path)) for path in sorted(folder.glob("shard-*"))]
    index = ShardedIndex(shards, allow_partial=True)  # type: ignore[arg-type]
    for shard in shards:
        shard.error = RuntimeError()
    with pytest.raises(UnavailableError, match=r"3 of 3 shards did not answer .*RuntimeError"):
        index.search(QUERIES[0])


def test_a_damaged_shard_is_named(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    path = copy / "shard-00001" / "segment-00000" / "residuals.npy"
    bits = bytearray(path.read_bytes())
    bits[-7] ^= 1
    path.write_bytes(bits)
    index = ShardedIndex.load(copy)
    with pytest.raises(
        UnavailableError, match=r"shard-00001: .*residuals\.npy differs from its ch"
    ):
        index.search(QUERIES[0])
    results = index.search(QUERIES[0], 400, allow_partial=True)
    assert {shard_of(doc.doc_id, 3) for doc in results} == {0, 2}
    with pytest.raises(StorageError, match=r"residuals\.npy differs from its checksum"):
        ShardedIndex.check(copy)
