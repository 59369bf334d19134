"""Compiling with numba: once per version of these kernels, kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba

from colmodern.files import user_cache

_log = logging.getLogger(__name__)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile on first call, without the interpreter's lock, and keep the result on disk."""
    # numba reads the folder when it decorates; its own key knows the CPU and the argument
    # types but not the functions that are called, so the folder's name stands for all sources
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(cache_folder())
    try:
        made: Callable[..., Any] = numba.njit(
            nogil=True, cache=_can_cache(), boundscheck=False, error_model="numpy"
        )(function)
        return made
    finally:
        numba.config.CACHE_DIR = before


@cache
def _can_cache() -> bool:
    """Whether the folder can be written; else every process compiles for itself."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _log.warning(
            "compiled kernels cannot be kept in %s (%s): every process will compile them again, "
            "for some seconds; set COLMODERN_CACHE to a folder that you may write",
            folder,
            error.strerror,
        )
        return False
    return os.access(folder, os.W_OK)


@cache
def cache_folder() -> Path:
    """Where compiled kernels of this version are kept; COLMODERN_CACHE moves it."""
    digest = hashlib.sha256(numba.__version__.encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return user_cache() / "kernels" / digest.hexdigest()[:16]


def tell_if_compiling(tell: Callable[[str], None] = _log.warning, *, kernel: str = "") -> None:
    """Say so before the one call that will wait for the compiler.

    kernel: the name of one that this call needs; by default any that is kept will do
    """
    kept = f"*.{kernel}-*.nbc" if kernel else "*.nbc"
    try:
        folder = cache_folder()
        is_compiled = folder.is_dir() and any(folder.rglob(kept))
    except OSError:  # only a message: who needs the kernels says what is wrong
        return
    if not is_compiled:
        tell(f"compiling search kernels, once for this installation (seconds); kept in {folder}")
