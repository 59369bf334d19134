"""Documents are added to, replaced in and deleted from the shards of their ids."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest
from index.plaid.corpora import corpus, lengths_like_passages, names

from colmodern import PlaidIndex, ShardedIndex, shard_index, shard_of
from colmodern.errors import InputError, StorageError
from colmodern.progress import Silent
from colmodern.ragged.store import EmbeddingStore
from colmodern.writer_lock import LockedError, writer_lock

DOCUMENTS = corpus(lengths_like_passages(120))
IDS = names(120)
MORE = corpus(lengths_like_passages(40, seed=5), seed=5)
MORE_IDS = names(40, "m")
QUERIES = corpus([3, 32, 8], seed=4)
EVERYTHING = {"nprobe": 1 << 20, "n_candidates": 1 << 20}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("changes")
    PlaidIndex.build(DOCUMENTS, folder / "i", IDS)
    shard_index(folder / "i", folder / "s", 3)
    return folder


@pytest.fixture
def folder(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built, tmp_path / "copy")
    return tmp_path / "copy"


def test_changes_give_what_they_give_in_one_index(folder: Path) -> None:
    one, several = PlaidIndex.load(folder / "i"), ShardedIndex.load(folder / "s")
    version = several.version
    for index in (one, several):
        index.add(MORE[:25], MORE_IDS[:25], fields=[{"n": i} for i in range(25)])
        index.update(MORE, MORE_IDS)
        assert index.delete([*IDS[::9], *MORE_IDS[:3]]) == 17
    assert several.version != version
    for seen in (several, ShardedIndex.load(folder / "s")):
        assert sorted(seen.doc_ids) == sorted(one.doc_ids)
        for query in QUERIES:
            assert seen.search(query, 30, **EVERYTHING) == one.search(query, 30, **EVERYTHING)
    several.compact()
    ShardedIndex.check(folder / "s")
    assert several.info()["deleted"] == 0


def test_a_store_is_added(folder: Path, tmp_path: Path) -> None:
    several = ShardedIndex.load(folder / "s")
    EmbeddingStore.write(tmp_path / "more", MORE, MORE_IDS)
    several.add(tmp_path / "more")
    assert several.n_docs == 160
    other = ShardedIndex.load(folder / "s")
    several.delete(MORE_IDS)
    assert other.n_docs == 160
    assert other.refresh()
    assert not other.refresh()
    assert other.n_docs == 120


def test_a_wrong_change_changes_nothing(folder: Path) -> None:
    several = ShardedIndex.load(folder / "s")
    version = several.version
    cases = [
        (lambda: several.add(MORE[:2], ["new", IDS[7]]), "document 'd7' is in shard shard-0000"),
        (lambda: several.add(MORE[:2], ["new", "new"]), r"doc_ids\[0\] and doc_ids\[1\] are both"),
        (lambda: several.add(MORE[:2]), "doc_ids is missing"),
        (lambda: several.add(corpus([3], dim=24), ["new"]), "have dim=24, the index has dim=16"),
        (lambda: several.update(MORE[:2], ["new"]), "doc_ids"),
        (lambda: several.delete([IDS[1], "none"]), "document 'none' is not in the index"),
        (lambda: several.delete(IDS[1]), "doc_ids='d1'"),
    ]
    for change, message in cases:
        with pytest.raises(InputError, match=message):
            change()
        assert ShardedIndex.load(folder / "s").version == several.version == version


def test_a_change_that_fails_half_way_says_so_and_is_completed_by_update(folder: Path) -> None:
    one, several = PlaidIndex.load(folder / "i"), ShardedIndex.load(folder / "s")
    one.add(MORE, MORE_IDS)
    said = (
        r"^shard shard-00002: .* is being written .*; shard-00000, shard-00001 have a part of the change "
        r"already: update\(\) with the same documents, or `colmodern index update`, completes it"
    )
    with writer_lock(folder / "s" / "shard-00002"):
        for change in (several.add, several.update):
            with pytest.raises(LockedError, match=said):
                change(MORE, MORE_IDS)
    n_lacking = sum(shard_of(doc_id, 3) == 2 for doc_id in MORE_IDS)
    assert several.n_docs == 160 - n_lacking
    for _ in range(2):
        several.update(MORE, MORE_IDS)
        for query in QUERIES:
            assert several.search(query, 30, **EVERYTHING) == one.search(query, 30, **EVERYTHING)
    ShardedIndex.check(folder / "s")


def test_a_delete_that_fails_half_way_says_so_and_the_rest_is_deleted(folder: Path) -> None:
    several, gone = ShardedIndex.load(folder / "s"), IDS[::4]
    said = (
        r"^shard shard-00001: .* is being written .*; shard-00000 has a part of the change already: "
        r"delete\(known_ids\(doc_ids\)\), or `colmodern index delete --skip-unknown`, deletes the rest"
    )
    with writer_lock(folder / "s" / "shard-00001"), pytest.raises(LockedError, match=said):
        several.delete(gone)
    left = several.known_ids(gone)
    assert left == [doc_id for doc_id in gone if shard_of(doc_id, 3) != 0]
    with pytest.raises(InputError, match="is not in the index"):
        several.delete(gone)
    assert several.delete(left) == len(left)
    assert several.delete(several.known_ids(gone)) == 0
    assert set(several.doc_ids) == set(IDS) - set(gone)


class LockAfter(Silent):
    """Takes the lock of an index once so many documents are changed."""

    def __init__(self, index: Path, n_docs: int, locks: ExitStack) -> None:
        self._index, self._left, self._locks = index, n_docs, locks

    def advance(self, n: int) -> None:
        before, self._left = self._left, self._left - n
        if self._left <= 0 < before:
            self._locks.enter_context(writer_lock(self._index))


def test_a_shard_that_fails_in_a_later_chunk_has_a_part_of_the_change(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("colmodern.index.sharded.changes._MOST_TOKENS", len(MORE.values) // 2)
    several = ShardedIndex.load(folder / "s")
    said = (
        r"^shard shard-00000: .*; shard-00000, shard-00001, shard-00002 have a part of the change"
    )
    locks = ExitStack()
    lock = LockAfter(folder / "s" / "shard-00000", len(MORE) // 3, locks)
    with locks, pytest.raises(LockedError, match=said):
        several.add(MORE, MORE_IDS, progress=lock)
    assert 120 < several.n_docs < 160
    several.update(MORE, MORE_IDS)
    assert several.n_docs == 160


def test_a_shard_with_another_codec_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.rmtree(folder / "s" / "shard-00001")
    for use in (ShardedIndex.load, ShardedIndex.check):
        with pytest.raises(
            StorageError, match=r"shard-00001 is missing; shard the index again, or"
        ):
            use(folder / "s")
    own = [i for i, doc_id in enumerate(IDS) if shard_of(doc_id, 3) == 1]
    PlaidIndex.build(
        DOCUMENTS.select(own), folder / "s" / "shard-00001", [IDS[i] for i in own], seed=3
    )
    for use in (ShardedIndex.load, ShardedIndex.check):
        with pytest.raises(StorageError, match="shard-00001 has another codec than"):
            use(folder / "s")
