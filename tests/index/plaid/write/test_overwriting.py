"""A build and what is at its path: an index before it, files of others, links."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest
from index.plaid.corpora import digests
from index.plaid.write.test_build import DOCUMENTS, IDS, QUERIES, Told, small_pieces, whole

from colmodern import PlaidIndex
from colmodern.disk import remove
from colmodern.errors import StorageError
from colmodern.index.plaid.disk.manifest import building_folder
from colmodern.index.plaid.write import build, publish
from colmodern.writer_lock import LOCK

__all__ = ["small_pieces", "whole"]  # fixtures


def test_something_at_the_path_is_not_overwritten_unasked(tmp_path: Path) -> None:
    PlaidIndex.build(DOCUMENTS[:9], tmp_path / "i", IDS[:9])
    before = digests(tmp_path)
    with pytest.raises(StorageError, match=r"i exists; choose another folder, delete it, or pass"):
        PlaidIndex.build(DOCUMENTS, tmp_path / "i", IDS)
    assert digests(tmp_path) == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_or_file_of_somebody_else_is_never_overwritten(
    tmp_path: Path, overwrite: bool
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("more work")
    before = digests(tmp_path)
    for name in ("mine", "file"):
        with pytest.raises(StorageError, match=r"exists; choose|holds no|is a file"):
            PlaidIndex.build(DOCUMENTS, tmp_path / name, IDS, overwrite=overwrite)
    assert digests(tmp_path) == before


def test_an_overwritten_index_can_be_read_until_the_new_one_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: dict[str, str]
) -> None:
    folder = tmp_path / "i"
    old = PlaidIndex.build(DOCUMENTS[:9], folder, IDS[:9])
    (folder / "notes.txt").write_text("mine")
    answers = old.search_batch(QUERIES)
    seen = []

    def watching(new: Path, path: Path) -> None:
        seen.append(PlaidIndex.load(folder).search_batch(QUERIES) == answers)
        with pytest.raises(StorageError, match="is being written"):
            PlaidIndex.load(folder).delete(["d1"])
        publish.publish(new, path)

    monkeypatch.setattr(build, "publish", watching)
    new = PlaidIndex.build(DOCUMENTS, folder, IDS, overwrite=True)
    assert seen == [True]
    assert (new.n_docs, old.search_batch(QUERIES)) == (120, answers)
    assert (folder / "notes.txt").read_text() == "mine"
    assert digests(folder).items() >= whole.items()
    assert list(tmp_path.iterdir()) == [folder]
    new.delete(["d1"])  # the lock is the new folder's


def test_a_link_stays_a_link_and_its_target_is_overwritten(tmp_path: Path) -> None:
    PlaidIndex.build(DOCUMENTS[:9], tmp_path / "real", IDS[:9])
    (tmp_path / "link").symlink_to("real")
    PlaidIndex.build(DOCUMENTS[:5], tmp_path / "link", IDS[:5], overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert PlaidIndex.load(tmp_path / "real").n_docs == 5


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A folder of somebody's that nothing may change."""
    folder = tmp_path / "home"
    (folder / "segment-00000").mkdir(parents=True)
    for name in ("precious", ".precious.tmp", "manifest.json", "segment-00000/codes.npy"):
        (folder / name).write_text("precious")
    before = digests(folder)
    yield folder
    assert digests(folder) == before


@pytest.mark.parametrize("name", [".i.building", ".i.replaced"])
@pytest.mark.parametrize("is_there", [True, False])
def test_a_link_where_a_build_works_is_refused(
    tmp_path: Path, home: Path, name: str, is_there: bool
) -> None:
    PlaidIndex.build(DOCUMENTS[:9], tmp_path / "i", IDS[:9])
    (tmp_path / name).symlink_to(home if is_there else tmp_path / "nothing")
    with pytest.raises(StorageError, match=rf"\{name} is a link, .*remove it, then run again"):
        PlaidIndex.build(DOCUMENTS, tmp_path / "i", IDS, overwrite=True)
    (tmp_path / name).unlink()
    assert PlaidIndex.build(DOCUMENTS, tmp_path / "i", IDS, overwrite=True).n_docs == 120
    assert not (tmp_path / "nothing").exists()


def test_a_link_in_the_place_of_a_builds_lock_is_refused(tmp_path: Path, home: Path) -> None:
    (tmp_path / ".i.building").mkdir()
    (tmp_path / ".i.building" / LOCK).symlink_to(home / "precious")
    with pytest.raises(StorageError, match="is a link"):
        PlaidIndex.build(DOCUMENTS[:9], tmp_path / "i", IDS[:9])


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("index", ""),
        ("index/segment-00000", "segment-00000"),
        ("index/segment-00000/codes.npy", "precious"),
        ("index/segment-00000/list_docs.npy", "precious"),
        ("index/codec", ""),
        ("index/.manifest.json.host.1.tmp", ""),
        ("build.json", "precious"),
        ("compressed.json", "precious"),
        (".x.tmp", "segment-00000"),
    ],
)
@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_links_in_an_unfinished_build_are_removed_and_the_build_begins_anew(
    tmp_path: Path, home: Path, whole: dict[str, str], name: str, target: str, link: Callable
) -> None:
    work = building_folder(tmp_path / "i")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "publish", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            PlaidIndex.build(DOCUMENTS, tmp_path / "i", IDS)
    if link is os.link and (home / target).is_dir():
        target = "precious"
    if os.path.lexists(work / name):
        remove(work / name)
    link(home / target, work / name)
    PlaidIndex.build(DOCUMENTS, tmp_path / "i", IDS)
    assert digests(tmp_path / "i") == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "i"]


class Killed(BaseException):
    """What a killed process does from here on: nothing, no cleaning up either."""


def killed_in_publish(tmp_path: Path, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Overwrite an index of 9 documents, and be gone before the ``at``-th rename."""
    real, calls = os.rename, []

    def rename(*args: Path) -> None:
        calls.append(args)
        if len(calls) >= at:
            raise Killed
        real(*args)

    monkeypatch.setattr(publish.os, "rename", rename)
    with pytest.raises(Killed):
        PlaidIndex.build(DOCUMENTS, tmp_path / "i", IDS, overwrite=True)
    monkeypatch.undo()


@pytest.mark.parametrize("at", [1, 2])
def test_killed_between_the_renames_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: dict[str, str], at: int
) -> None:
    folder = tmp_path / "i"
    PlaidIndex.build(DOCUMENTS[:9], folder, IDS[:9])
    old = digests(folder)
    killed_in_publish(tmp_path, at, monkeypatch)
    if at == 2:
        assert digests(tmp_path / ".i.replaced") == old
        with pytest.raises(StorageError, match="is unfinished; run the same build again"):
            PlaidIndex.load(folder)
        with pytest.raises(StorageError, match="exists; choose another folder"):
            PlaidIndex.build(DOCUMENTS[:3], folder, IDS[:3])  # brings it back first
    assert digests(folder) == old
    told = Told()
    PlaidIndex.build(DOCUMENTS, folder, IDS, overwrite=True, progress=told)
    assert told.steps == []  # only published
    assert digests(folder) == whole
    assert list(tmp_path.iterdir()) == [folder]


def test_killed_before_the_old_index_was_deleted_it_goes_with_the_next_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: dict[str, str]
) -> None:
    folder = tmp_path / "i"
    PlaidIndex.build(DOCUMENTS[:9], folder, IDS[:9])
    (folder / "notes.txt").write_text("mine")
    killed_in_publish(tmp_path, 3, monkeypatch)  # the renaming of notes.txt
    assert digests(folder) == whole
    PlaidIndex.build(DOCUMENTS, folder, IDS, overwrite=True)
    assert (folder / "notes.txt").read_text() == "mine"
    assert list(tmp_path.iterdir()) == [folder]
