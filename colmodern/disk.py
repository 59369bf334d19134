"""Files and folders made durably and without following links.

A call that waits for the disk returns when a power cut can no longer undo what it did. The content of
a file is synced through the file, its name through the folder.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import BinaryIO

from colmodern.errors import StorageError

_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF}
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # without it, opening a pipe waits for its other end
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0) | _NO_WAIT
_BINARY = getattr(os, "O_BINARY", 0)

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}

_is_durable: ContextVar[bool] = ContextVar("_is_durable", default=True)
_staged: set[Path] = set()  # files and folders that are synced whole before they get their name


class IrregularFileError(ValueError):
    """A folder, a pipe or a device where a regular file is expected."""

    def __init__(self, path: Path, kind: str) -> None:
        super().__init__(f"{path.name} is not a regular file")
        self.kind = kind


def create(path: Path) -> None:
    """Make an empty file; OSError if anything, even a link, is there."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW, 0o666))


def mark(path: Path) -> None:
    """Make sure that an empty file of our own is there; a link or a pipe in its place is removed.

    Raises:
        OSError: it cannot be made, or a folder is there.
    """
    with suppress(FileExistsError):
        create(path)
        return
    facts = path.lstat()
    if not stat.S_ISREG(facts.st_mode) or facts.st_nlink > 1:
        path.unlink()
        create(path)


def without_following(path: str, flags: int) -> int:
    """An ``opener`` for a file to be written: a link or a pipe in its place is an OSError."""
    return os.open(path, flags | _NO_FOLLOW, 0o666)


def kind_of(mode: int) -> str | None:
    """The kind of file with this mode, as messages call it; None for a regular file."""
    kind = stat.S_IFMT(mode)
    return None if kind == stat.S_IFREG else _KINDS.get(kind, "of another kind")


def open_regular(path: Path, *, buffering: int = 0) -> BinaryIO:
    """Open a regular file for reading, without waiting for a pipe or a device.

    Args:
        path: The file.
        buffering: As in the built-in ``open``; 0 for an unbuffered stream.

    Raises:
        IrregularFileError: There is a pipe, a device or a folder.
        OSError: The file is missing or cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | _NO_WAIT | _BINARY)
    kind = kind_of(os.fstat(descriptor).st_mode)
    if kind is not None:
        os.close(descriptor)
        raise IrregularFileError(path, kind)
    return os.fdopen(descriptor, "rb", buffering=buffering)


def expect_regular(path: Path) -> None:
    """Check that a file is a regular one, without opening it.

    Raises:
        IrregularFileError: There is a pipe, a device or a folder.
        OSError: There is nothing at ``path``.
    """
    if (kind := kind_of(path.stat().st_mode)) is not None:
        raise IrregularFileError(path, kind)


def remove(path: Path) -> None:
    """Delete a file, a folder with its content, or a link (but not its target)."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def discard(path: Path) -> None:
    """Delete like ``remove``, as far as the system allows; leftovers are no error.

    Unlike ``shutil.rmtree(path, ignore_errors=True)`` it does not wait for a pipe there.
    """
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def rename(old: Path, new: Path) -> None:
    """Rename a file or folder and wait until its new name is on disk.

    Raises:
        OSError: it was not renamed.
        StorageError: it was renamed and the disk then failed.
    """
    # opened first: after the rename, nothing may fail for want of a descriptor
    descriptor = _open_folder(new.parent)
    try:
        os.replace(old, new)
        try:
            _sync_names(descriptor)
        except OSError as error:
            raise StorageError(
                f"{new} was written, but the disk failed before it was safe ({error.strerror}): "
                "a power cut may undo it; check the disk"
            ) from error
    finally:
        if descriptor is not None:
            os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder and its missing parents, and wait until their names are on disk."""
    missing = []
    while not os.path.isdir(folder):
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


def make_own_folder(folder: Path) -> None:
    """Make a folder to work in, or use the one that an earlier call made.

    Raises:
        StorageError: a link or a file is there; the target of a link is not ours.
    """
    make_folder(folder.parent)
    try:
        folder.mkdir()
    except FileExistsError:
        expect_own_folder(folder)
    else:
        sync_folder(folder.parent)


def expect_own_folder(folder: Path) -> None:
    """Raise StorageError if something other than a folder is there, such as a link to a folder."""
    if os.path.lexists(folder) and not stat.S_ISDIR(folder.lstat().st_mode):
        kind = "a link" if folder.is_symlink() else "a file"
        raise StorageError(
            f"{folder} is {kind}, where colmodern makes a folder of its own and deletes it later; "
            "remove it, then run again"
        )


def is_plain(folder: Path, *, but: str) -> bool:
    """Whether a folder holds only folders and files without links to them; ``but`` is ignored.

    Writing to a file with several names, or through a link, changes somebody else's file.
    """
    for parent, folders, names in os.walk(folder):
        for name in (*folders, *names):
            facts = Path(parent, name).lstat()
            is_file = stat.S_ISREG(facts.st_mode) and facts.st_nlink == 1
            if not (is_file or stat.S_ISDIR(facts.st_mode) or name == but):
                return False
    return True


@contextmanager
def durability(is_durable: bool) -> Iterator[None]:
    """Choose whether writes in the block wait for the disk; without waiting they are far faster.

    After a power cut, files that were not waited for may be missing, empty or incomplete.
    """
    token = _is_durable.set(is_durable)
    try:
        yield
    finally:
        _is_durable.reset(token)


def sync(descriptor: int, path: Path) -> None:
    """Wait until the content of an open file is on disk.

    Returns at once if durability is off, or if ``path`` is in a ``staging`` folder or is a
    ``replacing`` file: these are synced once, at their end.
    """
    if _is_durable.get() and not any(level in _staged for level in (path, *path.parents)):
        os.fsync(descriptor)


def sync_file(path: Path) -> None:
    """Wait until the content of a closed file is on disk, whoever wrote it."""
    if _is_durable.get():
        access = os.O_RDWR if sys.platform == "win32" else os.O_RDONLY
        descriptor = os.open(path, access | _NO_FOLLOW)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on disk, on systems that can."""
    descriptor = _open_folder(folder)
    if descriptor is not None:
        try:
            _sync_names(descriptor)
        finally:
            os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Wait until a folder and its content are on disk; links are skipped."""
    if not _is_durable.get():
        return
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names):
            if stat.S_ISREG(path.lstat().st_mode):
                sync_file(path)
        sync_folder(Path(parent))


@contextmanager
def synced_later(path: Path) -> Iterator[None]:
    """Skip the syncs of a file or folder in the block; the caller syncs it whole afterwards."""
    _staged.add(path)
    try:
        yield
    finally:
        _staged.discard(path)


def _open_folder(folder: Path) -> int | None:
    """A descriptor for ``_sync_names``; None if durability is off or folders cannot be synced."""
    if not _is_durable.get() or sys.platform == "win32":
        return None
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:  # a folder that may be written to, but not listed
        return None


def _sync_names(descriptor: int | None) -> None:
    if descriptor is None:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:  # some network file systems
            raise
