"""Faults of the machine, not of the input and not of colmodern: what is missing, and what to do."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

from colmodern.errors import ColmodernError, MissingExtraError, ResourceError

PYTORCH = 920_000_000  # bytes of address space that loading it takes
ENCODING = 300_000_000  # bytes for texts, tokens and a batch, beside a loaded model
COMPILED_SEARCH = 400_000_000  # bytes of address space: compiler, kernels and their threads

_NO_MEMORY = re.compile(
    r"can't allocate memory|cannot allocate memory|not enough memory|out of memory|bad_alloc|"
    r"failed to map segment|unable to allocate|insufficient memory",
    re.IGNORECASE,
)
_NO_THREAD = re.compile(r"can't start new thread|resource temporarily unavailable", re.IGNORECASE)
_NO_SHARED_MEMORY = re.compile(
    r"shared memory|sem_open|SemLock|_posixshmem|/dev/shm", re.IGNORECASE
)
_NO_NUMBA_CACHE = re.compile(r"cannot cache function|no locator available", re.IGNORECASE)
_MEMORY = (
    "out of memory; finished work is kept: free memory, raise the limit (ulimit -v, the "
    "container's), or lower max_memory, encoder.max_memory or --max-memory"
)
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_WORDS = {
    **dict.fromkeys(
        (errno.EMFILE, errno.ENFILE),
        "too many open files in this process or machine; raise the limit (ulimit -n) or close some",
    ),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "no permission; ask for it, or choose another"),
    errno.EFBIG: "a file may not be that large (ulimit -f, or the file system); raise the limit",
    errno.EROFS: "the file system can only be read; choose another folder",
    errno.ENAMETOOLONG: "the name is too long for the file system; choose a shorter one",
    errno.ELOOP: "its links lead in a circle; mend them",
    errno.ENOTDIR: "a part of the path is a file; choose another",
    errno.EISDIR: "it is a folder; give a file",
    errno.EIO: "the disk or file system fails (input/output error); look at the system's log",
    errno.ESTALE: "the network file system lost the file; run again",
    errno.ENODEV: "the file system cannot do that; choose another folder",
    errno.EXDEV: "it is on another file system; choose a folder on the same one",
}


def explain_fault(error: BaseException) -> str | None:
    """One line on what the machine lacks and how to mend it.

    Args:
        error: what ended the work, of any class that is not colmodern's own.

    Returns:
        The line; None where the error is no fault of the machine.
    """
    text = f"{error}"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return _MEMORY
    if not isinstance(error, (OSError, RuntimeError, ImportError, SystemError)):
        return None
    if getattr(error, "errno", None) == errno.ENOMEM or _NO_MEMORY.search(text):
        return _MEMORY
    if getattr(error, "errno", None) == errno.EAGAIN or _NO_THREAD.search(text):
        return (
            "no further process or thread can be started; raise the limit (ulimit -u, the "
            "container's pids), or use fewer: OMP_NUM_THREADS=1"
        )
    if _NO_SHARED_MEMORY.search(text) or getattr(error, "errno", None) == errno.ENOSYS:
        return (
            "this machine has no shared memory or semaphores for several processes (/dev/shm is "
            "missing, full or not allowed); mount it, or leave encoder.devices and --devices out"
        )
    if _NO_NUMBA_CACHE.search(text):
        return (
            "compiled kernels cannot be kept: no folder for them can be written; set "
            "COLMODERN_CACHE to one that can"
        )
    if "determine home directory" in text:
        return "there is no home folder of that user; set HOME, or write paths without ~"
    if "usable temporary directory" in text:
        return (
            "no folder for temporary files can be written; free space in /tmp or set TMPDIR to "
            "another"
        )
    return _of_system_call(error) if isinstance(error, OSError) else None


def check_address_space(needed: int, purpose: str, *, cure: str = "") -> None:
    """Refuse work that would end in a crash of compiled code under a limit of address space.

    Args:
        needed: bytes beside what the process has mapped now.
        purpose: what needs them, for the message.
        cure: what can be done beside raising the limit.

    Raises:
        ResourceError: the limit (``ulimit -v``) leaves less.
    """
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):
        return  # not Linux: there is no such limit, or nobody knows what is mapped
    left = limit - mapped
    if limit != resource.RLIM_INFINITY and left < needed:
        raise ResourceError(
            f"{purpose} needs about {needed // 1_000_000} MB of address space and the limit leaves "
            f"{max(0, left) // 1_000_000} MB; raise it (ulimit -v){cure}"
        )


def is_of_environment(error: BaseException) -> bool:
    """Whether an error stops other evaluations of a suite just as well: no disk, hub or package."""
    return any(
        isinstance(cause, (MissingExtraError, ConnectionError))
        or getattr(cause, "errno", None) in _FULL
        or type(cause).__name__ in _HUB_AWAY
        for cause in _causes(error)
    )


def is_disk_full(error: BaseException) -> bool:
    """Whether an error comes of a full disk or quota."""
    return any(getattr(cause, "errno", None) in _FULL for cause in _causes(error))


# exceptions of huggingface_hub, requests and httpx, by name: none of these need be loaded
_HUB_AWAY = {
    "LocalEntryNotFoundError",
    "OfflineModeIsEnabled",
    "ConnectError",
    "ConnectTimeout",
    "ProxyError",
}


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it was raised from."""
    cause: BaseException | None = error
    for _ in range(20):  # a chain may be a circle
        if cause is None:
            return
        yield cause
        cause = cause.__cause__ or cause.__context__


def _of_system_call(error: OSError) -> str | None:
    if isinstance(error, ColmodernError) or error.errno is None:
        return None
    name = f"{error.filename}: " if error.filename is not None else ""
    if error.errno in _FULL - {errno.EFBIG}:
        where = error.filename or "the output, to stdout, a file or a temporary file (TMPDIR)"
        return f"disk full while writing {where}; free some space, then run again"
    if words := _WORDS.get(error.errno):
        return f"{name}{words}"
    if error.errno == errno.ENOENT and error.filename is not None:
        return f"{name}no such file or folder; check the path"
    return f"{name}{error.strerror or os.strerror(error.errno)}" if name else None
