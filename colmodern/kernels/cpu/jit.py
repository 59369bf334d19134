"""Compiling with numba: once per version of these kernels, kept in the user's cache folder."""

from __future__ import annotations

import atexit
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba

from colmodern.files import user_cache
from colmodern.kernels.cpu.inner import InnerCompiler, OuterCompiler

_log = logging.getLogger(__name__)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile on first call, without the interpreter's lock, and keep the result on disk."""
    return _compiled(function, counts_references=True)


def borrowing(function: Callable[..., Any]) -> Callable[..., Any]:
    """``compiled`` for a function that makes and returns no array.

    Its callers hold the arrays, so it counts no references to them: half of what numba writes about
    a record is that. It becomes a part of each caller, so that records are not copied for it.
    """
    return _compiled(function, counts_references=False)


def _compiled(function: Callable[..., Any], *, counts_references: bool) -> Callable[..., Any]:
    # numba reads the folder when it decorates; its own key knows the CPU and the argument
    # types but not the functions that are called, so the folder's name stands for all sources
    before = numba.config.CACHE_DIR
    folder, options = kept_in(), {"nogil": True, "boundscheck": False, "error_model": "numpy"}
    options.update(_nrt=counts_references, forceinline=not counts_references)
    numba.config.CACHE_DIR = str(folder or "")
    try:
        dispatcher: Any = numba.njit(
            cache=folder is not None, pipeline_class=OuterCompiler, **options
        )(function)
    finally:
        numba.config.CACHE_DIR = before
    inner = numba.njit(pipeline_class=InnerCompiler, **options)(function)
    # what numba asks when the function is called in another one
    dispatcher.get_call_template = inner.get_call_template
    dispatcher.get_overload = inner.get_overload
    return dispatcher  # type: ignore[no-any-return]


@cache
def kept_in() -> Path | None:
    """The folder that compiled kernels are written to; None where none can be written.

    A home that cannot be written, or that there is none of, is replaced by a folder of this process,
    which is deleted at its end.
    """
    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        reason = "" if os.access(folder, os.W_OK) else "it cannot be written"
    except OSError as error:
        reason = error.strerror or str(error)
    except RuntimeError as error:  # pathlib raises it for a user without a home
        folder, reason = Path("~"), str(error)
    if not reason:
        return folder
    _log.warning(
        "compiled kernels cannot be kept in %s (%s): every process will compile them again, "
        "for some seconds; set COLMODERN_CACHE to a folder that you may write",
        folder,
        reason,
    )
    try:
        root = tempfile.mkdtemp(prefix="colmodern-kernels-")
    except OSError:
        return None
    atexit.register(_remove, root, os.getpid())
    return Path(root) / "kernels" / _digest()


def is_temporary() -> bool:
    """Whether compiled kernels are deleted at the end of this process."""
    folder = kept_in()
    return folder is not None and Path(tempfile.gettempdir()) == folder.parents[2]


@cache
def cache_folder() -> Path:
    """Where compiled kernels of this version are kept; COLMODERN_CACHE moves it."""
    return user_cache() / "kernels" / _digest()


def tell_if_compiling(tell: Callable[[str], None] = _log.warning, *, kernel: str = "") -> None:
    """Say so before the one call that will wait for the compiler.

    Args:
        tell: Receives the message.
        kernel: Name of a kernel that this call needs; by default any that is kept will do.
    """
    pattern = f"*.{kernel}-*.nbc" if kernel else "*.nbc"
    folder = kept_in()
    try:
        is_compiled = folder is not None and folder.is_dir() and any(folder.rglob(pattern))
    except OSError:  # only a message: who needs the kernels says what is wrong
        return
    if not is_compiled:
        where = "once for this process (seconds)"
        if folder is not None:
            where = f"once for each kind of search (seconds); kept in {folder}"
        tell(f"compiling search kernels, {where}")


@cache
def _digest() -> str:
    """Stands for numba's version and for all sources of kernels."""
    digest = hashlib.sha256(numba.__version__.encode())
    folder = Path(__file__).parent
    for source in (folder.parent / "types.py", *sorted(folder.rglob("*.py"))):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _remove(folder: str, owner: int) -> None:
    """Delete a temporary folder; not in a process that was forked from its owner."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
