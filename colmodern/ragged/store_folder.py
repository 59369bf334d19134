"""The content of an embedding store's folder: shards, foreign files, leftovers of dead writers."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from colmodern.errors import StorageError
from colmodern.files import remove_leftovers
from colmodern.ragged.manifest import MANIFEST, RECORD, ShardRecord, read_store_manifest
from colmodern.ragged.shard import shard_name
from colmodern.writer_lock import LOCK

AHEAD = ".ahead"  # folder of shards that are finished before their turn
_SHARD = re.compile(r"shard-\d{5,12}")
_LEFTOVER = re.compile(r"\.(shard-\d{5,12}|manifest\.json)\..*\d+\.tmp")


def expect_ours(folder: Path) -> None:
    """Check that a folder is free, or holds nothing but an unfinished store.

    Raises:
        StorageError: It is a file, or holds anything else.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise StorageError(f"{folder} is a file; choose a folder to write to")
    if (folder / AHEAD).is_symlink():
        raise StorageError(f"{folder / AHEAD} is a link; delete it, then run again")
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    is_begun = (folder / shard_name(0) / RECORD).is_file()
    ours = {AHEAD, LOCK, *(name for name in names if _LEFTOVER.fullmatch(name))}
    if not is_begun and names - ours:
        raise StorageError(f"{folder} is not empty and holds no embeddings; choose another folder")


def expect_free(path: Path, *, overwrite: bool) -> None:
    """Check that a store may be written at ``path``.

    Raises:
        StorageError: There is a store, and not ``overwrite``, or anything else.
    """
    if os.path.lexists(path / MANIFEST):
        read_store_manifest(path)  # raises for the manifest of anything but a store
        if not overwrite:
            raise StorageError(f"{path} exists; choose another folder, or pass overwrite=True")
        return
    expect_ours(path)
    if (path / shard_name(0)).exists() and not overwrite:
        raise StorageError(
            f"{path} holds unfinished embeddings; choose another folder, or pass overwrite=True"
        )


def manifest_fields(
    records: Sequence[ShardRecord],
    fingerprint: str,
    dtype: str,
    facts: dict[str, float],
    *,
    dim: int = 0,
) -> dict[str, Any]:
    """Fields of a manifest, without the description of the encoder."""
    return {
        "fingerprint": fingerprint,
        "dtype": dtype,
        "dim": records[0].dim if records else dim,
        "n_docs": sum(record.n_docs for record in records),
        "n_tokens": sum(record.n_tokens for record in records),
        "facts": facts,
        "shards": [record.entry() for record in records],
    }


def clear(folder: Path) -> None:
    """Delete the temporary files of all writers; the caller holds the lock."""
    remove_leftovers(folder, is_locked=True)
    remove_leftovers(folder / AHEAD, is_locked=True)


def leftovers(folder: Path) -> Iterator[Path]:
    """Temporary files, the lock and ``AHEAD``, which no finished store has."""
    names = {AHEAD, LOCK}
    return (p for p in folder.iterdir() if p.name in names or _LEFTOVER.fullmatch(p.name))


def shard_folders(folder: Path) -> Iterator[Path]:
    """Folders of all shards, including those that no manifest names."""
    return (path for path in folder.iterdir() if _SHARD.fullmatch(path.name))


def numbered(folder: Path) -> Iterator[Path]:
    """Folders shard-00000, shard-00001, ... up to the first missing one."""
    index = 0
    while os.path.lexists(path := folder / shard_name(index)):
        yield path
        index += 1


def unlink_lock(folder: Path) -> None:
    """Delete the lock's file while it is held, so that a finished store has none."""
    with suppress(PermissionError):  # Windows does not delete an open file
        (folder / LOCK).unlink(missing_ok=True)
