"""One writer at a time."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from colmodern.errors import StorageError
from colmodern.files import naming_write_errors

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


LOCK = ".lock"
_TAKEN = {errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK, errno.EDEADLK}
_log = logging.getLogger(__name__)


@contextmanager
def writer_lock(folder: Path) -> Iterator[None]:
    """Be the only writer of an existing folder; the system lets go when the process ends.

    The folder may be renamed meanwhile. Raises StorageError at once when another process or
    thread is writing it, or the lock file cannot be written.
    """
    path = folder / LOCK
    with naming_write_errors(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _take(descriptor, folder)
        # between opening and locking, the writer before may have renamed or replaced the folder
        if not path.exists() or not os.path.samestat(os.fstat(descriptor), path.stat()):
            raise StorageError(f"{folder} was replaced by another writer just now; run again")
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, folder: Path) -> None:
    try:
        _lock(descriptor)
    except OSError as error:
        if error.errno in _TAKEN:
            raise StorageError(
                f"{folder} is being written by another process; wait for it to end, then run again"
            ) from error
        # some network file systems have no locks: then it is up to the user to write once
        _log.warning("%s cannot be locked (%s); let only one process write it", folder, error)
