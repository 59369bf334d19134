from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from colmodern.disk import (
    create,
    durability,
    make_folder,
    open_regular,
    remove,
    rename,
    sync_tree,
)
from colmodern.errors import ResourceError, StorageError
from colmodern.files import replacing, staging, temporary_beside, write_bytes, write_json

pytestmark = pytest.mark.skipif(os.name == "nt", reason="folders are not synced there")
REPLACE, FSYNC = os.replace, os.fsync


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was synced and renamed, in order, by the names that things had at the time."""
    log: list[str] = []

    def fsync(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        log.append(f"sync {path.name}" + ("/" if path.is_dir() else ""))
        FSYNC(descriptor)

    def replace(old: Path, new: Path) -> None:
        log.append(f"rename {Path(new).name}")
        REPLACE(old, new)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    return log


needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")


@needs_proc
def test_content_is_on_disk_before_the_name_and_the_name_before_the_call_returns(
    tmp_path: Path, events: list[str]
) -> None:
    write_json(tmp_path / "a.json", {})
    temporary = temporary_beside(tmp_path / "a.json").name
    assert events == [f"sync {temporary}", "rename a.json", f"sync {tmp_path.name}/"]


@needs_proc
def test_a_staged_folder_is_synced_once_with_all_that_is_in_it(
    tmp_path: Path, events: list[str]
) -> None:
    with staging(tmp_path / "f") as folder:
        write_bytes(folder / "a", b"1")
        (folder / "deep").mkdir()
        (folder / "deep" / "b").write_text("2")  # as a library writes that knows of no syncing
    synced, last = events[:-2], events[-2:]
    temporary = f"sync {temporary_beside(tmp_path / 'f').name}/"
    assert sorted(synced) == sorted(["sync a", temporary, "sync b", "sync deep/"])
    assert last == ["rename f", f"sync {tmp_path.name}/"]


@needs_proc
def test_the_names_of_new_folders_are_synced_from_above(tmp_path: Path, events: list[str]) -> None:
    make_folder(tmp_path / "a" / "b")
    assert events == [f"sync {tmp_path.name}/", "sync a/"]
    make_folder(tmp_path / "a" / "b")
    assert len(events) == 2


@needs_proc
def test_nothing_is_waited_for_without_durability(tmp_path: Path, events: list[str]) -> None:
    with durability(False):
        write_json(tmp_path / "a" / "b.json", 1)
        with staging(tmp_path / "f") as folder:
            write_bytes(folder / "c", b"1")
        sync_tree(tmp_path)
    assert events == ["rename b.json", "rename f"]
    write_json(tmp_path / "a" / "b.json", 1)
    assert len(events) > 2


def test_a_disk_that_fails_after_the_rename_is_told_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match=r"b was written, but the disk failed .*a power cut may"):
        write_json(tmp_path / "b", 1)
    assert (tmp_path / "b").read_text() == "1\n"


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_whose_folders_cannot_be_synced_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fail(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(code, "no")

    monkeypatch.setattr(os, "fsync", fail)
    write_json(tmp_path / "b", 1)
    assert (tmp_path / "b").read_text() == "1\n"


def a_link(path: Path, target: Path) -> None:
    path.symlink_to(target)


def a_hard_link(path: Path, target: Path) -> None:
    os.link(target, path)


def a_pipe(path: Path, target: Path) -> None:
    os.mkfifo(path)


def a_folder_with_a_link(path: Path, target: Path) -> None:
    path.mkdir()
    (path / "inside").symlink_to(target.parent)


@pytest.mark.parametrize("put", [a_link, a_hard_link, a_pipe, a_folder_with_a_link])
def test_what_lies_at_a_temporary_name_is_removed_and_its_target_is_not(
    tmp_path: Path, put: Callable[[Path, Path], None]
) -> None:
    (tmp_path / "home").mkdir()
    precious = tmp_path / "home" / "precious"
    precious.write_text("precious")
    put(temporary_beside(tmp_path / "a.json"), precious)
    write_json(tmp_path / "a.json", 1)
    assert not (tmp_path / "a.json").is_symlink()
    assert (tmp_path / "a.json").read_text() == "1\n"
    put(temporary_beside(tmp_path / "folder"), precious)
    with staging(tmp_path / "folder") as folder:
        (folder / "part").write_text("all")
    assert not (tmp_path / "folder").is_symlink()
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["part"]
    assert precious.read_text() == "precious"


def test_a_link_to_a_folder_at_a_temporary_name_is_removed(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "precious").write_text("precious")
    for name in ("a.json", "folder"):
        temporary_beside(tmp_path / name).symlink_to(tmp_path / "home")
    write_json(tmp_path / "a.json", 1)
    with staging(tmp_path / "folder") as folder:
        (folder / "part").write_text("all")
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["precious"]


def test_a_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic links"):
        write_bytes(tmp_path / "link", b"1")
    with (
        pytest.raises(StorageError, match="it is a link, and links are not written through"),
        replacing(tmp_path / "other"),
    ):
        write_bytes(tmp_path / "link", b"1")
    with pytest.raises(FileExistsError):
        create(tmp_path / "link")
    remove(tmp_path / "link")
    remove(tmp_path / "link")
    assert (tmp_path / "precious").read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_a_pipe_is_neither_read_nor_written(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.npy")
    with pytest.raises(ValueError, match=r"a\.npy is not a regular file"):
        open_regular(tmp_path / "a.npy")
    with pytest.raises(OSError, match="No such device"):
        write_bytes(tmp_path / "a.npy", b"1")


def test_a_process_without_descriptors_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(ResourceError, match="too many open files"):
        write_json(tmp_path / "a.json", 1)
    assert not list(tmp_path.iterdir())


def test_a_failed_rename_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="directory"):
        rename(tmp_path / "file", tmp_path / "folder")
    assert (tmp_path / "file").is_file()
