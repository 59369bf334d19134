"""Whether shards are what they should be: each document in one of them, and in the right one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from colmodern.checks import shown
from colmodern.errors import InputError, StorageError
from colmodern.index.base import Index
from colmodern.index.plaid.disk.manifest import codec_digest
from colmodern.index.plaid.index import PlaidIndex
from colmodern.index.sharded.folder import CURE, read_shards_manifest, shard_folder
from colmodern.index.sharded.merge import repeated_error
from colmodern.index.sharded.placement import shards_of
from colmodern.progress import Progress


def check_shards(folder: Path, progress: Progress | bool | None) -> None:
    """Read all of a folder of shards; raises StorageError that names the first fault."""
    manifest = read_shards_manifest(folder)
    for number, name in enumerate(manifest.shards):
        path = shard_folder(folder, name)
        PlaidIndex.check(path, progress=progress)
        shard = PlaidIndex.load(path)
        if codec_digest(shard._state.snapshot.manifest) != manifest.codec:
            raise codec_error(path, folder)
        if (wrong := _misplaced(shard.doc_ids, number, len(manifest.shards))) is not None:
            doc_id, its = wrong
            raise StorageError(
                f"{path} has document {shown(doc_id)}, which belongs to {manifest.shards[its]}; delete it "
                "there and add it to the folder of all shards"
            )
        shard.close()


def codec_error(path: Path, folder: Path) -> StorageError:
    """The error of a shard that was built with a codec of its own."""
    return StorageError(
        f"{path} has another codec than {folder} was sharded with, so that scores differ; {CURE}"
    )


def expect_unique(shards: Mapping[str, Index], *, is_hashed: bool) -> None:
    """Raise an error for a document that two shards have, or that lies in the wrong one.

    Ids of shards on other machines are not known here; a search notices such a document when it is
    among the results.

    Raises:
        StorageError: Two shards have the same document.
        InputError: ``is_hashed`` is True, and a document lies elsewhere.
    """
    owner: dict[str, str] = {}
    for number, (name, shard) in enumerate(shards.items()):
        doc_ids = getattr(shard, "doc_ids", None)
        if doc_ids is None:
            continue
        if is_hashed:
            if (wrong := _misplaced(doc_ids, number, len(shards))) is not None:
                raise InputError(
                    f"is_hashed=True, but document {shown(wrong[0])} is in shard {name} and its id "
                    f"hashes to number {wrong[1]}; pass the shards in their order, or is_hashed=False"
                )
            continue
        for doc_id in doc_ids:
            if owner.setdefault(doc_id, name) != name:
                raise repeated_error(doc_id, [owner[doc_id], name])


def _misplaced(doc_ids: Iterable[str], number: int, n_shards: int) -> tuple[str, int] | None:
    """A document that does not belong to a shard, and the number of its own; None without one."""
    ids = list(doc_ids)
    owners = shards_of(ids, n_shards)
    wrong = np.flatnonzero(owners != number)
    return (ids[int(wrong[0])], int(owners[wrong[0]])) if len(wrong) else None
