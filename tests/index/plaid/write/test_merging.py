"""Merging of segments in the change that adds, and changes that fail before and after they hold."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from index.plaid.corpora import copy_of, corpus, decoded, digests, lengths_like_passages, names

from colmodern import PlaidIndex
from colmodern.errors import StorageError
from colmodern.files import sha256_of_file
from colmodern.index.plaid.disk import manifest, tombstones
from colmodern.index.plaid.disk.manifest import UNSYNCED, read_manifest
from colmodern.index.plaid.write import tiers, update

BASE = corpus(lengths_like_passages(60))
MORE = corpus(lengths_like_passages(90, seed=5), seed=5)
QUERIES = corpus([1, 9, 32, 40], seed=2)


@pytest.fixture(autouse=True, scope="module")
def small_classes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiers, "SMALL", 60)
        yield


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> PlaidIndex:
    return PlaidIndex.build(BASE, tmp_path_factory.mktemp("base") / "i", names(60))


@pytest.fixture
def plaid(built: PlaidIndex, tmp_path: Path) -> PlaidIndex:
    return copy_of(built, tmp_path / "i")


def folder_of(index: PlaidIndex) -> Path:
    return Path(index.info()["path"])


def answers(index: PlaidIndex) -> list:
    """With all documents, with candidates only, and with few tokens probed."""
    return [
        index.search_batch(QUERIES, 200),
        index.search_batch(QUERIES, 5),
        index.search_batch(QUERIES, 10, nprobe=2, n_candidates=20),
    ]


def test_merging_changes_no_result_and_no_order_whatever_comes_and_goes(
    built: PlaidIndex, tmp_path: Path
) -> None:
    merged, plain = (copy_of(built, tmp_path / name) for name in ("merged", "plain"))
    rng = np.random.default_rng(1)
    n, seen = 0, set()
    while n < 90:
        size = int(rng.integers(8, 20))
        more = MORE[n : n + size], [f"m{i}" for i in range(n, min(n + size, 90))]
        alive = sorted(decoded(plain))
        gone = rng.choice(alive, min(3, len(alive)), replace=False).tolist()
        for index, merge in ((merged, True), (plain, False)):
            index.add(*more, merge=merge)
            index.delete(gone)
            index.update(MORE[:1], ["d0"], merge=merge)
        n += size
        assert answers(merged) == answers(plain)
        assert list(decoded(merged)) == list(decoded(plain))
        seen.add(merged.info()["segments"])
    PlaidIndex.check(folder_of(merged))
    assert answers(PlaidIndex.load(folder_of(merged))) == answers(merged)
    assert merged.info()["deleted"] < plain.info()["deleted"]
    assert len(seen) > 2
    assert max(seen) < 8 < plain.info()["segments"]
    for index in (merged, plain):
        index.compact()
    assert digests(segment_of(merged)) == digests(segment_of(plain))
    assert answers(merged) == answers(plain)


def segment_of(index: PlaidIndex) -> Path:
    return folder_of(index) / index._state.snapshot.manifest.segments[0].name


def test_an_object_that_changed_holds_what_a_loaded_one_holds(plaid: PlaidIndex) -> None:
    for i in range(0, 90, 9):
        plaid.add(MORE[i : i + 9], names(90, "m")[i : i + 9])
        plaid.delete([f"m{i}", f"d{i // 2}"])
        mine, loaded = plaid._state.snapshot, PlaidIndex.load(folder_of(plaid))._state.snapshot
        assert mine.manifest == loaded.manifest
        assert mine.deleted.tolist() == loaded.deleted.tolist()
        for one, other in zip(mine.segments, loaded.segments, strict=True):
            assert list(one.ids) == list(other.ids)
            assert all(map(np.array_equal, one.arrays, other.arrays))


def test_readers_of_older_states_go_on_while_segments_are_merged(plaid: PlaidIndex) -> None:
    readers = []
    for i in range(0, 90, 10):
        readers.append((PlaidIndex.load(folder_of(plaid)), answers(plaid)))
        plaid.add(MORE[i : i + 10], names(90, "m")[i : i + 10])
    assert all(answers(reader) == before for reader, before in readers)


def test_segments_without_a_document_are_left_out(plaid: PlaidIndex) -> None:
    plaid.add(MORE[:40], names(40, "m"), merge=False)
    plaid.add(MORE[40:], names(90, "m")[40:], merge=False)
    plaid.delete([*names(40, "m"), "d3"])
    plaid.add(MORE[:1], ["x"])
    plaid.add(MORE[1:2], ["y"])
    assert plaid.info()["deleted"] == 1
    assert len(decoded(plaid)) == plaid.n_docs == 59 + 50 + 2
    PlaidIndex.check(folder_of(plaid))


def test_many_single_documents_keep_few_descriptors_segments_and_files(plaid: PlaidIndex) -> None:
    before = len(os.listdir("/dev/fd"))
    for i in range(40):
        plaid.add(MORE[i : i + 1], [f"m{i}"])
        assert plaid.info()["segments"] <= 8
    assert len(os.listdir("/dev/fd")) == before
    on_disk = {path.name for path in folder_of(plaid).glob("segment-*")}
    assert on_disk == {segment.name for segment in read_manifest(folder_of(plaid)).segments}


@pytest.mark.parametrize("name", ["residuals.npy", "ids.bin", "list_docs.npy"])
def test_damaged_segments_and_deletions_are_not_copied(plaid: PlaidIndex, name: str) -> None:
    plaid.add(MORE[:2], ["a", "b"], merge=False)
    plaid.delete(["a"])
    path = folder_of(plaid) / plaid._state.snapshot.manifest.segments[1].name / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    before = digests(folder_of(plaid))
    changes: list[Callable[[PlaidIndex], object]] = [
        lambda index: index.compact(),
        lambda index: index.add(MORE[2:3], ["c"]),
    ]
    for change in changes:
        with pytest.raises(StorageError, match=rf"{name} differs from its checksum"):
            change(PlaidIndex.load(folder_of(plaid)))
    assert digests(folder_of(plaid)) == before
    plaid.add(MORE[2:3], ["c"], merge=False)
    assert plaid.n_docs == 62


def test_damaged_deletions_are_not_copied(plaid: PlaidIndex) -> None:
    plaid.add(MORE[:2], ["a", "b"], merge=False)
    plaid.delete(["d1", "a"])
    path = folder_of(plaid) / "deleted-00000.npy"
    content = bytearray(path.read_bytes())
    content[-16] ^= 2
    path.write_bytes(content)
    with pytest.raises(StorageError, match=r"deleted-00000\.npy differs from its checksum"):
        plaid.add(MORE[2:3], ["c"])


def test_only_files_of_deletions_that_changed_are_written_anew(plaid: PlaidIndex) -> None:
    plaid.delete(["d1", "d2"])
    plaid.add(MORE[:2], ["a", "b"], merge=False)
    plaid.delete(["a", "d5"])
    plaid.add(MORE[2:3], ["c"])
    names_, counts = zip(
        *((one.name, one.n) for one in read_manifest(folder_of(plaid)).deletions), strict=True
    )
    assert (names_, counts) == (("deleted-00000.npy", "deleted-00002.npy"), (2, 1))
    assert plaid._state.snapshot.deleted.tolist() == [1, 2, 5]


def test_a_disk_too_full_to_merge_is_added_to(
    plaid: PlaidIndex, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write = update.write_segment
    plaid.add(MORE[:2], ["a", "b"], merge=False)

    def full(folder: Path, source: object, ids: list[str], *more: object) -> None:
        if len(ids) > 1:
            raise OSError(28, "No space left on device")
        write(folder, source, ids, *more)

    monkeypatch.setattr(update, "write_segment", full)
    plaid.add(MORE[2:3], ["c"])
    assert plaid.info()["segments"] == 3
    assert "no room to merge" in caplog.text
    with pytest.raises(StorageError, match="disk full"):
        plaid.add(MORE[3:5], ["e", "f"])
    monkeypatch.undo()
    assert plaid.n_docs == 63
    assert len(list(folder_of(plaid).iterdir())) == 3 + 3


@pytest.mark.parametrize("fault", [OSError(5, "Input/output error"), KeyboardInterrupt()])
def test_a_change_that_holds_is_seen_whatever_fails_afterwards(
    plaid: PlaidIndex, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    def commit(folder: Path, after: object) -> None:
        manifest.commit(folder, after)
        raise fault

    for module in (update, tombstones):
        monkeypatch.setattr(module, "commit", commit)
    changes = [
        (lambda: plaid.add(MORE[:2], ["a", "b"]), 62),
        (lambda: plaid.update(MORE[3:4], ["a"]), 62),
        (lambda: plaid.delete(["d1"]), 61),
        (lambda: plaid.compact(), 61),
    ]
    for change, n_docs in changes:
        with pytest.raises(type(fault)):
            change()
        assert plaid.n_docs == n_docs
        assert answers(plaid) == answers(PlaidIndex.load(folder_of(plaid)))


def test_a_new_segment_that_cannot_be_opened_is_not_added(
    plaid: PlaidIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digests(folder_of(plaid))

    def fail(*args: object, **options: object) -> None:
        raise StorageError("too many open files")

    monkeypatch.setattr(update, "open_segment", fail)
    with pytest.raises(StorageError, match="too many"):
        plaid.add(MORE[:2], ["a", "b"])
    assert digests(folder_of(plaid)) == before
    assert plaid.n_docs == 60
    monkeypatch.undo()
    plaid.add(MORE[:2], ["a", "b"])


def test_leftovers_that_cannot_be_removed_do_not_fail_a_change(
    plaid: PlaidIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    plaid.add(MORE[:2], ["a", "b"], merge=False)

    def fail(*args: object) -> None:
        raise OSError(24, "Too many open files")

    calls = []
    remove = update.remove_leftovers
    monkeypatch.setattr(
        update, "remove_leftovers", lambda *args: fail() if calls else calls.append(remove(*args))
    )
    plaid.compact()
    assert plaid.info()["segments"] == 1
    assert len(list(folder_of(plaid).glob("segment-*"))) == 3
    monkeypatch.undo()
    plaid.delete(["a"])
    assert len(list(folder_of(plaid).glob("segment-*"))) == 1


def test_what_did_not_wait_for_the_disk_is_waited_for_by_the_next_durable_change(
    plaid: PlaidIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []

    def fsync(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)

    monkeypatch.setattr(os, "fsync", fsync)
    plaid.add(MORE[:1], ["a"], merge=False, durable=False)
    plaid.delete(["d1"], durable=False)
    plaid.update(MORE[1:2], ["a"], merge=False, durable=False)
    assert synced == []
    assert (folder_of(plaid) / UNSYNCED).exists()
    PlaidIndex.check(folder_of(plaid))
    plaid.delete(["d2"])
    assert not (folder_of(plaid) / UNSYNCED).exists()
    parts = read_manifest(folder_of(plaid))
    named = {one.name for one in (*parts.segments, *parts.deletions[:-1])}
    assert named | {"codec", "i", "manifest.json", "residuals.npy"} <= set(synced)
    synced.clear()
    plaid.delete(["d3"])
    assert len(synced) == 4  # a file and the manifest, and their names


def test_an_add_syncs_each_file_once(plaid: PlaidIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    plaid.add(MORE[:1], ["a"])
    files = list(folder_of(plaid).glob("segment-00001/*"))
    assert len(files) == 14
    assert all(synced.count(path.stat().st_ino) == 1 for path in files)
    assert len(synced) == 14 + 1 + 1 + 2


@pytest.mark.parametrize("link", [os.symlink, os.link])
@pytest.mark.parametrize("is_there", [True, False])
def test_a_link_in_place_of_the_note_on_durability_is_replaced(
    plaid: PlaidIndex, tmp_path: Path, link: Callable, is_there: bool
) -> None:
    target = tmp_path / "home"
    if is_there:
        target.write_text("precious")
        os.utime(target, (1, 1))
    elif link is os.link:
        return
    link(target, folder_of(plaid) / UNSYNCED)
    plaid.add(corpus([3], seed=5), ["new"], durable=False)
    note = folder_of(plaid) / UNSYNCED
    assert not note.is_symlink()
    assert note.stat().st_nlink == 1
    assert target.exists() == is_there
    assert not is_there or target.stat().st_mtime == 1
    note.unlink()
    note.symlink_to(tmp_path / "nothing")
    plaid.delete(["new"])
    assert not os.path.lexists(note)


def test_a_segment_name_that_is_a_link_is_freed_and_its_target_stays(
    plaid: PlaidIndex, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "precious").write_text("precious")
    for name in ("segment-00001", ".segment-00001.host.1.tmp", "deleted-00000.npy"):
        (folder_of(plaid) / name).symlink_to(home)
    (folder_of(plaid) / UNSYNCED).symlink_to(tmp_path / "nothing")
    plaid.delete(["d2"], durable=False)
    assert not (tmp_path / "nothing").exists()
    plaid.update(MORE[:1], ["d1"])
    assert [path.name for path in home.iterdir()] == ["precious"]
    assert sha256_of_file(folder_of(plaid) / "segment-00001" / "ids.bin")
    assert not (folder_of(plaid) / "segment-00001").is_symlink()
    PlaidIndex.check(folder_of(plaid))
