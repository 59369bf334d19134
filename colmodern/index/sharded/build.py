"""Shards of embeddings: one index of all of them, which is then split, so that they share its codec."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from colmodern.arguments import checked_path
from colmodern.disk import discard
from colmodern.errors import InputError, StorageError
from colmodern.files import read_json_object, sha256_of_json, write_json
from colmodern.index.inputs import Embeddings
from colmodern.index.plaid.index import PlaidIndex
from colmodern.index.plaid.write.source import open_source
from colmodern.index.sharded.split import checked_n_shards, expect_free, shard_index
from colmodern.progress import Progress
from colmodern.ragged.store import EmbeddingStore


def build_shards(
    embeddings: Embeddings | Path | str,
    path: Path | str,
    n_shards: int,
    doc_ids: Sequence[str] | None,
    progress: Progress,
    **settings: Any,
) -> None:
    """Build an index in ``.NAME.whole`` beside the new folder, split it, and delete it.

    A finished index that an interrupted call left is used again where the input is the same store.

    settings: those of ``PlaidIndex.build``; errors are those of it and of ``shard_index``
    """
    folder = Path(os.path.realpath(checked_path("path", path)))
    checked_n_shards(n_shards)
    expect_free(folder)
    if "overwrite" in settings:
        raise InputError("overwrite is no setting of shards; delete the folder, or choose another")
    source, ids = open_source(embeddings, doc_ids)
    whole = folder.parent / f".{folder.name}.whole"
    record = whole.with_name(f"{whole.name}.json")
    key = None
    if isinstance(source, EmbeddingStore) and doc_ids is None:
        setting_texts = {name: repr(value) for name, value in settings.items()}
        key = sha256_of_json([source.manifest, setting_texts])
    if key is None or not _is_built(whole, record, key):
        index = PlaidIndex.build(source, whole, ids, overwrite=True, progress=progress, **settings)
        write_json(record, {"key": key, "version": index.version})
        index.close()
    shard_index(whole, folder, n_shards, progress=progress)
    discard(record)
    shutil.rmtree(whole, ignore_errors=True)


def _is_built(whole: Path, record: Path, key: str) -> bool:
    """Whether an earlier call finished the index of the same input."""
    try:
        made = read_json_object(record, StorageError, cure="")
        return made.get("key") == key and PlaidIndex.load(whole).version == made.get("version")
    except StorageError:
        return False
