"""Token embeddings on disk: memory-mapped shards under one manifest.

    FOLDER/manifest.json               written last: its presence means the work finished
    FOLDER/shard-00000/values.npy      (n_tokens, dim) float16 or float32
    FOLDER/shard-00000/offsets.npy     (n_docs + 1,) int64
    FOLDER/shard-00000/token_ids.npy   (n_tokens,) int32
    FOLDER/shard-00000/doc_ids.json    n_docs strings
    FOLDER/shard-00000/shard.json      counts, checksums, what its making cost

Shards are written by ``ShardWriter`` (writer.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from colmodern.arguments import checked_count, checked_path, expect_choice
from colmodern.progress import Progress, as_progress
from colmodern.ragged.convert import as_places
from colmodern.ragged.embeddings import TokenEmbeddings, offsets_of
from colmodern.ragged.manifest import (
    CURE,
    MANIFEST,
    RECORD,
    DamageError,
    files_of,
    read_store_manifest,
)
from colmodern.ragged.shard import MappedShard
from colmodern.ragged.write_store import DescribedEncoder, write_store
from colmodern.ragged.writer import ShardWriter

__all__ = ["DescribedEncoder", "EmbeddingStore", "ShardWriter"]


class EmbeddingStore:
    """A finished folder of shards, opened without reading its values.

    folder: what ``colmodern encode``, ``write`` or ``TokenEmbeddings.save`` wrote
    verify: "lazy", or "full" to read and compare everything at once

    What it gives is what was written. Counts, offsets and ids are compared with their checksums
    when it is opened; values and token ids when they are first used, in blocks of 64 KB, once for
    each object. Damage that the disk does to a block later, while it is open, is not seen. Stores
    of colmodern's first format have no checksums of blocks (a shard is then read whole when it is
    first used) and none of the manifest.

    Raises StorageError when the folder is no store, is unfinished, or a file is missing or
    differs; ResourceError when the machine cannot open or hold the files. Methods that use values
    raise StorageError for damaged ones.
    """

    def __init__(self, folder: Path | str, *, verify: Literal["lazy", "full"] = "lazy") -> None:
        self.folder = checked_path("folder", folder, "the path of a store")
        expect_choice("verify", verify, ("lazy", "full"))
        # absolute, for the process may go elsewhere before it reads more
        self.root = Path(os.path.abspath(folder))
        manifest, self.manifest = read_store_manifest(self.folder)
        self.manifest.setdefault("environment", {})
        self.n_docs = manifest.n_docs
        self.n_tokens = manifest.n_tokens
        self.dim = manifest.dim
        self.encoder = manifest.encoder  # what made the embeddings, None when unknown
        self._entries = manifest.shards
        self._shards = [
            MappedShard(self.root / entry.name, entry, dtype=manifest.dtype, dim=manifest.dim)
            for entry in manifest.shards
        ]
        self._bounds = offsets_of([entry.n_docs for entry in manifest.shards])
        self._is_verified = np.zeros(self.n_docs, bool)  # documents whose blocks were compared
        if verify == "full":
            self.verify()

    def __repr__(self) -> str:
        size = f"n_docs={self.n_docs}, n_tokens={self.n_tokens}, dim={self.dim}"
        return f"EmbeddingStore({str(self.root)!r}, {size})"

    def __reduce__(self) -> tuple[Any, ...]:
        return EmbeddingStore, (self.root,)  # by path: the values stay on disk

    @classmethod
    def write(
        cls,
        path: Path | str,
        embeddings: TokenEmbeddings,
        doc_ids: Sequence[str] | None = None,
        *,
        encoder: DescribedEncoder | None = None,
        dtype: Literal["float16", "float32"] | None = None,
        shard_tokens: int = 1 << 18,
        overwrite: bool = False,
        progress: Progress | bool | None = None,
    ) -> EmbeddingStore:
        """Write embeddings into a new folder, all or nothing, and open it.

        Args:
            path: a folder that is not there, or is empty.
            embeddings: of documents, in memory.
            doc_ids: (n_docs,) unique texts; default "0", "1", ...
            encoder: the Encoder that made them; then ``colmodern search`` can encode queries
                for them without ``--model``.
            dtype: how values are stored; default as they are.
            shard_tokens: tokens in a shard, at most, unless a document has more.
            overwrite: replace a store at ``path``; it can be read until the new one is whole.
            progress: True for a bar on stderr.

        Returns:
            The store.

        Raises:
            InputError: ids that are not one unique text a document, an encoder with another
                fingerprint than the embeddings, values that ``dtype`` does not hold.
            StorageError: ``path`` exists (without ``overwrite``) or holds something else, is
                being written by another process, or the disk is full.
        """
        write_store(
            checked_path("path", path),
            embeddings,
            doc_ids,
            encoder=encoder,
            dtype=dtype,
            shard_tokens=shard_tokens,
            overwrite=overwrite,
            progress=as_progress(progress),
        )
        return cls(path)

    @cached_property
    def doc_ids(self) -> list[str]:
        """(n_docs,) the document ids, in order."""
        return [doc_id for shard in self._shards for doc_id in shard.doc_ids()]

    @property
    def fingerprint(self) -> str | None:
        """Of the encoder that made the embeddings, where the store says."""
        return None if self.encoder is None else self.encoder.fingerprint

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """(n_docs,) tokens of each document."""
        parts = [shard.embeddings.lengths for shard in self._shards]
        return np.concatenate([np.empty(0, np.int64), *parts])

    @property
    def shards(self) -> list[TokenEmbeddings]:
        """The shards, mapped from disk and verified: this reads all that was not read yet."""
        for shard in self._shards:
            shard.verify_blocks()
        return self.unverified_shards

    @property
    def unverified_shards(self) -> list[TokenEmbeddings]:
        """The shards, mapped from disk, for who calls ``verify_documents`` before using values."""
        return [self._with_fingerprint(shard.embeddings) for shard in self._shards]

    @property
    def n_bytes(self) -> int:
        """Size of the manifest and all files that it names, in bytes."""
        files = [self.root / MANIFEST]
        for entry in self._entries:
            names = (*files_of(has_token_ids=entry.has_token_ids), RECORD)
            files += [self.root / entry.name / name for name in names]
        return sum(file.stat().st_size for file in files if file.is_file())

    def chunks(
        self, max_tokens: int, max_docs: int = 1 << 62
    ) -> Iterator[tuple[int, TokenEmbeddings]]:
        """As TokenEmbeddings.chunks, over all shards; values are read when a chunk is asked for."""
        return self._chunks(
            checked_count("max_tokens", max_tokens), checked_count("max_docs", max_docs)
        )

    def _chunks(self, max_tokens: int, max_docs: int) -> Iterator[tuple[int, TokenEmbeddings]]:
        for first, shard in zip(self._bounds.tolist(), self._shards, strict=False):
            offsets = shard.embeddings.offsets
            for start, texts in shard.embeddings.chunks(max_tokens, max_docs):
                shard.verify_rows(int(offsets[start]), int(offsets[start + texts.n_docs]))
                yield first + start, self._with_fingerprint(texts)

    def select(self, indices: npt.ArrayLike) -> TokenEmbeddings:
        """Copy of the documents at ``indices``, as ``TokenEmbeddings.select``; others stay on disk.

        Raises:
            InputError: an index out of range, a mask of another length, or other numbers.
        """
        places = as_places(indices, self.n_docs)
        self.verify_documents(places)
        owners = np.searchsorted(self._bounds, places, side="right") - 1
        order = np.argsort(owners, kind="stable")
        parts = [
            self._shards[owner].embeddings.select(
                places[order][owners[order] == owner] - self._bounds[owner]
            )
            for owner in np.unique(owners).tolist()
        ]
        back = np.empty(len(places), np.int64)
        back[order] = np.arange(len(places))
        return self._with_fingerprint(self._joined(parts).select(back))

    def to_memory(self, *, dtype: str | None = "float32") -> TokenEmbeddings:
        """Everything as one TokenEmbeddings: for queries and small collections.

        Args:
            dtype: "float32" or "float16" of its values; None leaves them as they are stored.
        """
        expect_choice("dtype", dtype, ("float32", "float16", None))
        for shard in self._shards:
            shard.verify_blocks()
        whole = self._joined([shard.embeddings for shard in self._shards], dtype)
        return self._with_fingerprint(whole)

    def verify_documents(self, places: npt.NDArray[np.int64]) -> None:
        """Compare the values of some documents with their checksums, once for each object.

        Args:
            places: (n,) of documents, from 0.

        Raises:
            InputError: places that are none of its documents.
            StorageError: they are not what was written.
        """
        places = as_places(places, self.n_docs)
        for place in places[~self._is_verified[places]].tolist():
            owner = int(np.searchsorted(self._bounds, place, side="right")) - 1
            shard, document = self._shards[owner], place - int(self._bounds[owner])
            shard.verify_rows(*shard.embeddings.offsets[document : document + 2].tolist())
            self._is_verified[place] = True

    def verify(self, *, progress: Progress | bool | None = None) -> None:
        """Read every file, the manifest too, and compare it with its checksum.

        Raises StorageError that names the first file that differs.
        """
        progress = as_progress(progress)
        progress.start("check embeddings", len(self._entries), unit="shards")
        manifest, _ = read_store_manifest(self.root)
        if manifest.shards != self._entries:
            raise DamageError(f"{self.folder / MANIFEST} has changed since it was opened; {CURE}")
        for shard in self._shards:
            MappedShard(
                shard.folder, shard.record, dtype=shard.record.dtype, dim=shard.record.dim
            ).doc_ids()
            shard.verify()
            progress.advance(1)
        self._is_verified[:] = True
        progress.finish()

    def _with_fingerprint(self, embeddings: TokenEmbeddings) -> TokenEmbeddings:
        # queries are stored by what they depend on themselves: which settings for documents the
        # encoder had, that made them first, says nothing of a later one that uses them
        fingerprint = None if self.manifest.get("role") == "query" else self.fingerprint
        return TokenEmbeddings.unchecked(
            embeddings.values, embeddings.offsets, embeddings.token_ids, fingerprint
        )

    def _joined(self, parts: list[TokenEmbeddings], dtype: str | None = None) -> TokenEmbeddings:
        stored = self.manifest["dtype"]
        if not parts:
            return TokenEmbeddings.unchecked(
                np.empty((0, self.dim), dtype or stored), np.zeros(1, np.int64)
            )
        ids = [part.token_ids for part in parts if part.token_ids is not None]
        return TokenEmbeddings.unchecked(
            np.concatenate([np.asarray(part.values, dtype=dtype) for part in parts]),
            offsets_of(np.concatenate([part.lengths for part in parts])),
            np.concatenate(ids) if len(ids) == len(parts) else None,
        )
