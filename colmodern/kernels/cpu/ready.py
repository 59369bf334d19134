"""Which kernels lie compiled in the cache: an empty file for each set of argument types."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numba.core.registry import cpu_target

from colmodern.errors import StorageError
from colmodern.kernels.cpu.jit import kept_in
from colmodern.writer_lock import LockedError, writer_lock

_PATIENCE = 300.0  # seconds until another process's compiling is no longer waited for


def types_key(*values: Any) -> str:
    """A name for the types of kernel arguments, and for the CPU that code is compiled for."""
    cpu = cpu_target.target_context.codegen().magic_tuple()
    return hashlib.sha256(repr((cpu, [_type_of(value) for value in values])).encode()).hexdigest()


def is_ready(key: str) -> bool:
    """Whether some process has compiled the kernels that ``key`` names, and kept them."""
    folder = _folder()
    try:
        return folder is not None and (folder / key).exists()
    except OSError:
        return False


def mark_ready(key: str) -> None:
    """Note that the kernels that ``key`` names are in the cache; nothing where none is kept."""
    folder = _folder()
    if folder is not None:
        with suppress(OSError):  # it is compiled, and found missing by the next process
            folder.mkdir(parents=True, exist_ok=True)
            (folder / key).touch()


@contextmanager
def compiling_alone(key: str) -> Iterator[None]:
    """Hold back a second process that would compile the same until the first is done."""
    folder, end = _folder(), time.monotonic() + _PATIENCE
    with ExitStack() as stack:
        while folder is not None and time.monotonic() < end and not is_ready(key):
            lock = folder / "locks" / key
            try:
                lock.mkdir(parents=True, exist_ok=True)
                stack.enter_context(writer_lock(lock))
                break
            except LockedError:
                time.sleep(0.1)
            except (StorageError, OSError):  # without a lock it may be compiled twice
                break
        yield


def _folder() -> Path | None:
    folder = kept_in()
    return None if folder is None else folder / "ready"


def _type_of(value: Any) -> Any:
    """What numba tells two arguments apart by."""
    if isinstance(value, np.ndarray):
        flags = value.flags
        return value.dtype.str, value.ndim, flags.writeable, flags.c_contiguous
    if isinstance(value, tuple):
        return type(value).__name__, *map(_type_of, value)
    return value if isinstance(value, (bool, str)) else type(value).__name__
