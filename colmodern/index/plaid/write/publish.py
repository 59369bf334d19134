"""Moves a finished index to its path; an older one stays until then, or comes back.

PARENT/.NAME.building/    the lock and the state of an unfinished build
PARENT/.NAME.building/index/   what it has made so far
PARENT/.NAME.replaced/    the older index, between the two renames that swap it for the new one
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from colmodern.disk import expect_own_folder, sync_folder, sync_tree
from colmodern.errors import StorageError
from colmodern.files import exists_error, naming_write_errors
from colmodern.index.plaid.disk.manifest import FORMAT, NAME
from colmodern.index.plaid.disk.storage import is_ours


def expect_free(path: Path, *, overwrite: bool) -> None:
    """Raise StorageError when a build must not put an index at ``path``."""
    if not os.path.lexists(path):
        return
    if not overwrite:
        raise exists_error(path)
    if not path.is_dir():
        raise StorageError(f"{path} is a file; choose a folder to write to")
    is_index = (path / NAME).is_file() and FORMAT.encode() in (path / NAME).read_bytes()[:256]
    if not is_index and any(not is_ours(entry.name) for entry in path.iterdir()):
        raise StorageError(f"{path} is not empty and holds no PLAID index; choose another folder")


def restore(path: Path) -> None:
    """Undo, or finish, what a killed ``publish`` was at.

    Raises StorageError when a link or a file lies where the older index goes.
    """
    old = _replaced(path)
    expect_own_folder(old)
    if not old.exists():
        return
    with naming_write_errors(path):
        if path.exists():
            _drop(old, path)
        else:
            os.rename(old, path)


def publish(new: Path, path: Path) -> None:
    """Rename the finished folder into place, over an older index if there is one.

    Files of the older folder that are not an index's move along. On failure all is as before; on
    success the index is on disk, and its name too.
    """
    with naming_write_errors(path):
        sync_tree(new)
        if not path.exists():
            os.rename(new, path)
            sync_folder(path.parent)
            return
        old = _replaced(path)
        expect_own_folder(old)
        try:
            os.rename(path, old)
            os.rename(new, path)
        finally:
            if not path.exists():
                os.rename(old, path)
        sync_folder(path.parent)
        _drop(old, path)


def _replaced(path: Path) -> Path:
    return path.with_name(f".{path.name}.replaced")


def _drop(old: Path, path: Path) -> None:
    """Delete an older index that the one at ``path`` has replaced, without what is not ours."""
    for entry in sorted(old.iterdir()):
        if not is_ours(entry.name) and not os.path.lexists(path / entry.name):
            os.rename(entry, path / entry.name)
    sync_folder(path)
    shutil.rmtree(old, ignore_errors=True)  # readers of it on some systems; the next build tries
