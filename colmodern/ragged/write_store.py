"""Writing an embedding store from memory, all or nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError

from colmodern.arguments import checked_count, expect_choice, expect_flags
from colmodern.disk import discard
from colmodern.errors import InputError
from colmodern.files import naming_write_errors, sha256_of_json, sha256_of_texts
from colmodern.progress import Progress
from colmodern.ragged.arrays import sha256_of_array
from colmodern.ragged.doc_ids import checked_doc_ids
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.manifest import (
    MANIFEST,
    EncoderRecord,
    ShardRecord,
    read_store_manifest,
    write_store_manifest,
)
from colmodern.ragged.shard import shard_name, span_arrays, write_shard
from colmodern.ragged.store_folder import (
    AHEAD,
    clear,
    expect_free,
    manifest_fields,
    shard_folders,
    unlink_lock,
)
from colmodern.writer_lock import writer_lock

DTYPES = ("float16", "float32")


class DescribedEncoder(Protocol):
    """An encoder that describes itself, such as ``Encoder``."""

    def describe(self) -> dict[str, Any]:
        """The encoder's model, settings and fingerprint."""


def write_store(
    path: Path,
    embeddings: TokenEmbeddings,
    doc_ids: Sequence[str] | None,
    *,
    encoder: DescribedEncoder | None,
    dtype: str | None,
    shard_tokens: int,
    overwrite: bool,
    progress: Progress,
) -> None:
    """Write a store, all or nothing; arguments and errors are those of ``EmbeddingStore.write``."""
    if not isinstance(embeddings, TokenEmbeddings):
        raise InputError(
            f"embeddings is a {type(embeddings).__name__}; pass TokenEmbeddings, for example "
            "TokenEmbeddings.from_list(arrays)"
        )
    if dtype is None:
        dtype = str(embeddings.values.dtype)
    expect_choice("dtype", dtype, DTYPES)
    shard_tokens = checked_count("shard_tokens", shard_tokens)
    expect_flags(overwrite=overwrite)
    names = [str(i) for i in range(embeddings.n_docs)] if doc_ids is None else doc_ids
    ids = checked_doc_ids(names, embeddings.n_docs)
    provenance = _provenance(embeddings, encoder)
    fingerprint = sha256_of_json(
        [
            sha256_of_array(embeddings.values),
            sha256_of_array(embeddings.offsets),
            None if embeddings.token_ids is None else sha256_of_array(embeddings.token_ids),
            sha256_of_texts(ids),
            dtype,
            provenance,
            *(sha256_of_array(array) for array in span_arrays(embeddings.spans).values()),
        ]
    )
    with naming_write_errors(path):
        expect_free(path, overwrite=overwrite)
        is_new = not path.exists()
        path.mkdir(parents=True, exist_ok=True)
    with naming_write_errors(path), writer_lock(path):
        expect_free(path, overwrite=overwrite)
        first = _make_room(path)
        old = list(shard_folders(path))
        records: list[ShardRecord] = []
        progress.start("write embeddings", embeddings.n_docs, unit="texts")
        try:
            for start, shard in embeddings.chunks(shard_tokens):
                folder = path / shard_name(first + len(records))
                shard_ids = ids[start : start + shard.n_docs]
                records.append(
                    write_shard(folder, shard, shard_ids, fingerprint=fingerprint, dtype=dtype)
                )
                progress.advance(shard.n_docs)
            fields = manifest_fields(records, fingerprint, dtype, {}, dim=embeddings.dim)
            write_store_manifest(path, {**fields, **provenance, "shards": fields["shards"]})
        except BaseException:
            for folder in set(shard_folders(path)) - set(old):
                discard(folder)
            unlink_lock(path)
            if is_new:
                with suppress(OSError):  # somebody else has put files there
                    path.rmdir()
            raise
        for folder in old:
            discard(folder)
        progress.finish()
        unlink_lock(path)


def _provenance(embeddings: TokenEmbeddings, encoder: DescribedEncoder | None) -> dict[str, object]:
    """The manifest's description of the encoder, as far as it is known."""
    if encoder is None:
        mine = embeddings.fingerprint
        return {} if mine is None else {"encoder": {"fingerprint": mine}}
    if not hasattr(encoder, "describe"):
        raise InputError(
            f"encoder is a {type(encoder).__name__}; pass the Encoder that made the embeddings"
        )
    described = encoder.describe()
    try:
        fingerprint = EncoderRecord.model_validate(described).fingerprint
    except ValidationError as error:
        raise InputError(f"encoder.describe() is not that of an Encoder: {error}") from error
    if embeddings.fingerprint not in (None, fingerprint):
        raise InputError(
            f"embeddings have fingerprint={embeddings.fingerprint[:12]}, the encoder has "
            f"{str(fingerprint)[:12]}: pass the encoder, with the settings, that made them"
        )
    return {"encoder": described}


def _make_room(path: Path) -> int:
    """Delete the shards that no manifest names; returns the first free number of a shard."""
    clear(path)
    discard(path / AHEAD)
    names: set[str] = set()
    if os.path.lexists(path / MANIFEST):
        names = {shard.name for shard in read_store_manifest(path)[0].shards}
    for folder in shard_folders(path):
        if folder.name not in names:
            discard(folder)
    return 1 + max((int(name.partition("-")[2]) for name in names), default=-1)
