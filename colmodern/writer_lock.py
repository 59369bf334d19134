"""A lock that lets one writer at a time write a folder."""

from __future__ import annotations

import errno
import logging
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock

from colmodern.disk import without_following
from colmodern.errors import StorageError
from colmodern.files import naming_write_errors

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    def _unlock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


LOCK = ".lock"
_TAKEN = {errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK, errno.EDEADLK}
_log = logging.getLogger(__name__)


class LockedError(StorageError):
    """Another process or thread holds the lock of a folder."""


_held: set[int] = set()  # descriptors of this process's locks
_forking = Lock()  # so that no descriptor is between being opened and being in _held


def _forget_locks() -> None:
    """In a forked child: locks belong to the parent, and closing does not release them."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()
    _forking.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_forking.acquire, after_in_parent=_forking.release, after_in_child=_forget_locks
    )


@contextmanager
def writer_lock(folder: Path) -> Iterator[None]:
    """Be the only writer of an existing folder; the system releases the lock when the process ends.

    The folder may be renamed meanwhile. A process forked meanwhile neither keeps the lock nor
    releases it.

    Raises:
        LockedError: Another process or thread is writing the folder. Raised at once.
        StorageError: The lock file cannot be written or is a link.
    """
    path, owner = folder / LOCK, os.getpid()
    with naming_write_errors(path), _forking:
        if not folder.is_dir():
            raise StorageError(
                f"folder {folder} was moved or deleted; load it again from its new path"
            )
        descriptor = without_following(str(path), os.O_RDWR | os.O_CREAT)
        _held.add(descriptor)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise StorageError(f"{path} is not a regular file; remove it, then run again")
        _take(descriptor, folder)
        # between opening and locking, an earlier writer may have renamed or replaced the folder
        if not path.exists() or not os.path.samestat(os.fstat(descriptor), path.stat()):
            raise StorageError(f"{folder} was replaced by another writer just now; run again")
        yield
    finally:
        if os.getpid() == owner:  # a child that was forked in the block has closed it
            _release(descriptor)


def _release(descriptor: int) -> None:
    with _forking:
        _held.discard(descriptor)
        # closing is not enough: a child that was not forked by Python shares the lock
        with suppress(OSError):
            _unlock(descriptor)
        os.close(descriptor)


def _take(descriptor: int, folder: Path) -> None:
    try:
        _lock(descriptor)
    except OSError as error:
        if error.errno in _TAKEN:
            raise LockedError(
                f"{folder} is being written by another process or thread; wait for it to end, then run again"
            ) from error
        # some network file systems have no locks; the user has to see to it
        _log.warning("%s cannot be locked (%s); let only one process write it", folder, error)
