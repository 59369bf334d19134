from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from colmodern import writer_lock
from colmodern.errors import StorageError
from colmodern.index.plaid.disk.storage import open_index


def test_a_second_writer_is_refused_at_once_and_the_next_is_not(index: Path) -> None:
    with writer_lock.writer_lock(index):
        with (
            pytest.raises(StorageError, match="being written by another process or thread; wait"),
            writer_lock.writer_lock(index),
        ):
            pytest.fail("two writers")
        code = (
            "from pathlib import Path; import sys\n"
            "from colmodern.writer_lock import writer_lock\n"
            "with writer_lock(Path(sys.argv[1])): pass"
        )
        other = subprocess.run([sys.executable, "-c", code, index], capture_output=True, text=True)
        assert "is being written by another process" in other.stderr
        open_index(index)
    with pytest.raises(KeyError), writer_lock.writer_lock(index):
        raise KeyError
    with writer_lock.writer_lock(index):
        pass


def test_the_lock_travels_with_its_folder_and_is_not_found_where_it_was(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with writer_lock.writer_lock(index):
        index.rename(index.with_name("renamed"))
        with (
            pytest.raises(StorageError, match="being written"),
            writer_lock.writer_lock(index.with_name("renamed")),
        ):
            pytest.fail("two writers")
    moved = index.with_name("renamed")
    monkeypatch.setattr(writer_lock, "_lock", lambda _: moved.rename(index))
    with pytest.raises(StorageError, match="was replaced"), writer_lock.writer_lock(moved):
        pytest.fail("the lock of another folder")


def test_a_missing_folder_cannot_be_locked(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match="was moved or deleted; load it again"),
        writer_lock.writer_lock(tmp_path / "none"),
    ):
        pytest.fail("locked nothing")


def test_a_file_system_without_locks_is_named_and_written(
    index: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(writer_lock, "_lock", fail)
    with writer_lock.writer_lock(index):
        pass
    assert "cannot be locked" in caplog.text


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_lock_file_is_not_followed_to_somewhere_else(tmp_path: Path, kind: str) -> None:
    lock, other = tmp_path / "i" / writer_lock.LOCK, tmp_path / "other"
    lock.parent.mkdir()
    make = {"link": lambda: lock.symlink_to(other), "pipe": lambda: os.mkfifo(lock)}
    make.get(kind, lock.mkdir)()
    with (
        pytest.raises(StorageError, match=r"\.lock.*(is a link|is a folder|not a regular file)"),
        writer_lock.writer_lock(lock.parent),
    ):
        pytest.fail("locked what is not ours")
    assert not other.exists()


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def fork_and_wait() -> tuple[int, int]:
    """A child that lives until its pipe is closed; (its id, the pipe)."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    return child, writing


@needs_fork
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
@pytest.mark.parametrize("knows", [True, False])
def test_a_process_forked_during_a_change_does_not_keep_the_lock(index: Path, knows: bool) -> None:
    with writer_lock.writer_lock(index):
        if not knows:  # as one that C code forks
            writer_lock._held.clear()
        child, pipe = fork_and_wait()
    with writer_lock.writer_lock(index):
        pass
    os.close(pipe)
    assert os.waitpid(child, 0)[1] == 0


@needs_fork
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_process_forked_during_a_change_does_not_release_the_lock(index: Path) -> None:
    with writer_lock.writer_lock(index):
        child = os.fork()
        if child == 0:  # leaves the block as it was entered, with locks of its own meanwhile
            other = index.with_name("other")
            other.mkdir()
            with writer_lock.writer_lock(other):
                pass
            exit_code = 0
            try:
                with writer_lock.writer_lock(index):
                    exit_code = 1
            except StorageError:
                pass
            assert not writer_lock._held
            os._exit(exit_code)
        assert os.waitpid(child, 0)[1] == 0
        with (
            pytest.raises(StorageError, match="being written"),
            writer_lock.writer_lock(index),
        ):
            pytest.fail("two writers")


@needs_fork
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_child_that_leaves_the_block_closes_nothing_of_its_own(index: Path) -> None:
    child = -1
    with writer_lock.writer_lock(index):
        child = os.fork()
        if child == 0:
            mine = os.open(os.devnull, os.O_RDONLY)  # takes the number that the lock had
    if child == 0:
        try:
            os.fstat(mine)
        except OSError:
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
