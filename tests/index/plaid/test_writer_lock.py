from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from colmodern import writer_lock
from colmodern.errors import StorageError
from colmodern.index.plaid.storage import open_index


def test_a_second_writer_is_refused_at_once_and_the_next_is_not(index: Path) -> None:
    with writer_lock.writer_lock(index):
        with (
            pytest.raises(StorageError, match="being written by another process; wait"),
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
        pytest.raises(StorageError, match="cannot write"),
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
