"""Token embeddings on disk: memory-mapped shards under one manifest.

    FOLDER/manifest.json               written last: its presence means the work finished
    FOLDER/shard-00000/values.npy      (n_tokens, dim) float16 or float32
    FOLDER/shard-00000/offsets.npy     (n_docs + 1,) int64
    FOLDER/shard-00000/token_ids.npy   (n_tokens,) int32
    FOLDER/shard-00000/spans.npy       characters of each token, where they are kept (spans.py);
                                       after pooling with span_offsets.npy and span_rows.npy
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
from colmodern.ragged.convert import as_indices
from colmodern.ragged.embeddings import TokenEmbeddings, joined_embeddings
from colmodern.ragged.manifest import (
    CURE,
    MANIFEST,
    RECORD,
    DamageError,
    files_of,
    read_store_manifest,
)
from colmodern.ragged.offsets import offsets_of
from colmodern.ragged.shard import MappedShard
from colmodern.ragged.spans import TokenSpans
from colmodern.ragged.write_store import DescribedEncoder, write_store
from colmodern.ragged.writer import ShardWriter

__all__ = ["DescribedEncoder", "EmbeddingStore", "ShardWriter"]


class EmbeddingStore:
    """Token embeddings on disk, opened without reading their values.

    Every value that it returns was compared with its checksum: counts, offsets and ids when the
    store is opened; values and token ids when they are first used, in blocks of 64 KB, once for
    each object. Damage to a block after that, while the store is open, is not detected. Stores of
    colmodern's first format have no checksums of blocks (a shard is then read completely at its
    first use) and none of the manifest. Methods that use values raise StorageError for damaged
    ones.

    Attributes:
        folder: The path that was opened.
        root: The same path, absolute.
        manifest: The content of manifest.json.
        n_docs: Number of documents.
        n_tokens: Number of token embeddings.
        dim: Width of a token embedding.
        encoder: The encoder that made the embeddings, None when unknown.
        has_passages: Whether its documents are passages of longer ones, with ids as "manual#12".
    """

    def __init__(self, folder: Path | str, *, verify: Literal["lazy", "full"] = "lazy") -> None:
        """Open a store.

        Args:
            folder: A folder written by ``colmodern encode``, ``EmbeddingStore.write`` or
                ``TokenEmbeddings.save``.
            verify: "lazy", or "full" to read and compare everything at once.

        Raises:
            StorageError: The folder is not a store, is unfinished, or a file is missing or differs.
            ResourceError: The machine cannot open or hold the files.
        """
        self.folder = checked_path("folder", folder, "the path of a store")
        expect_choice("verify", verify, ("lazy", "full"))
        # absolute, because the process may change its folder before it reads more
        self.root = Path(os.path.abspath(folder))
        manifest, self.manifest = read_store_manifest(self.folder)
        self.manifest.setdefault("environment", {})
        self.n_docs = manifest.n_docs
        self.n_tokens = manifest.n_tokens
        self.dim = manifest.dim
        self.encoder = manifest.encoder
        self.has_passages = manifest.passages
        self._entries = manifest.shards
        self._shards = [
            MappedShard(self.root / entry.name, entry, dtype=manifest.dtype, dim=manifest.dim)
            for entry in manifest.shards
        ]
        self._bounds = offsets_of([entry.n_docs for entry in manifest.shards])
        self._is_verified = np.zeros(self.n_docs, bool)  # whether a document's blocks were compared
        if verify == "full":
            self.verify()

    def __repr__(self) -> str:
        size = f"n_docs={self.n_docs}, n_tokens={self.n_tokens}, dim={self.dim}"
        return f"EmbeddingStore({str(self.root)!r}, {size}, dtype={self.manifest['dtype']})"

    def __len__(self) -> int:
        return self.n_docs

    def __contains__(self, doc_id: object) -> bool:
        return isinstance(doc_id, str) and doc_id in self._doc_id_set

    def __reduce__(self) -> tuple[Any, ...]:
        return EmbeddingStore, (self.root,)  # pickled by path: the values stay on disk

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
            path: A folder that does not exist, or is empty.
            embeddings: Embeddings of documents, in memory.
            doc_ids: (n_docs,) unique texts; default "0", "1", ...
            encoder: The Encoder that made the embeddings; with it ``colmodern search`` can encode
                queries without ``--model``.
            dtype: Dtype of stored values; default that of the embeddings.
            shard_tokens: Most tokens in a shard, unless a single document has more.
            overwrite: Whether to replace a store at ``path``, which stays readable until the new
                one is complete.
            progress: True for a bar on stderr.

        Returns:
            The new store.

        Raises:
            InputError: The ids are not one unique text a document, the encoder's fingerprint is
                not that of the embeddings, or ``dtype`` cannot hold the values.
            StorageError: ``path`` exists (without ``overwrite``) or holds anything else, another
                process is writing it, or the disk is full.
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
        """(n_docs,) ids of the documents, in order."""
        return [doc_id for shard in self._shards for doc_id in shard.doc_ids()]

    @cached_property
    def _doc_id_set(self) -> frozenset[str]:
        return frozenset(self.doc_ids)

    @property
    def fingerprint(self) -> str | None:
        """Fingerprint of the encoder that made the embeddings, None when unknown."""
        return None if self.encoder is None else self.encoder.fingerprint

    @property
    def has_spans(self) -> bool:
        """Whether the store knows which characters each token covers."""
        return bool(self._entries) and all(entry.spans for entry in self._entries)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """(n_docs,) int64 number of tokens of each document."""
        lengths = [shard.embeddings.lengths for shard in self._shards]
        return np.concatenate([np.empty(0, np.int64), *lengths])

    @property
    def shards(self) -> list[TokenEmbeddings]:
        """The shards, mapped from disk and verified: this reads every block not yet verified."""
        for shard in self._shards:
            shard.verify_blocks()
        return self.unverified_shards

    @property
    def unverified_shards(self) -> list[TokenEmbeddings]:
        """The shards, mapped from disk; call ``verify_documents`` before using their values."""
        return [self._with_fingerprint(shard.embeddings) for shard in self._shards]

    def span_shards(self) -> Iterator[TokenSpans]:
        """Read the spans of all documents, compared with their checksums.

        Yields:
            The spans of each shard's documents, none where the store does not keep them.

        Raises:
            StorageError: They are not what was written.
        """
        for shard in self._shards if self.has_spans else []:
            shard.verify_spans(0, shard.record.n_docs)
            if shard.embeddings.spans is not None:
                yield shard.embeddings.spans

    @property
    def n_bytes(self) -> int:
        """Bytes of the manifest and of all files that it names."""
        files = [self.root / MANIFEST]
        for entry in self._entries:
            names = (*files_of(entry), RECORD)
            files += [self.root / entry.name / name for name in names]
        return sum(file.stat().st_size for file in files if file.is_file())

    def chunks(
        self, max_tokens: int, max_docs: int = 1 << 62
    ) -> Iterator[tuple[int, TokenEmbeddings]]:
        """Views of consecutive documents, in chunks; values are read when a chunk is reached.

        Args:
            max_tokens: Most tokens in a chunk; a longer document comes alone.
            max_docs: Most documents in a chunk.

        Yields:
            Index of a chunk's first document, and the chunk's embeddings.

        Raises:
            InputError: A limit is not a whole number of at least 1.
        """
        return self._chunks(
            checked_count("max_tokens", max_tokens), checked_count("max_docs", max_docs)
        )

    def _chunks(self, max_tokens: int, max_docs: int) -> Iterator[tuple[int, TokenEmbeddings]]:
        for first, shard in zip(self._bounds.tolist(), self._shards, strict=False):
            offsets = shard.embeddings.offsets
            for start, texts in shard.embeddings.chunks(max_tokens, max_docs):
                shard.verify_tokens(int(offsets[start]), int(offsets[start + texts.n_docs]))
                yield first + start, self._with_fingerprint(texts)

    def select(self, indices: npt.ArrayLike) -> TokenEmbeddings:
        """Copy documents into memory; all others stay on disk.

        Args:
            indices: (n,) whole numbers, where -1 is the last document and numbers may repeat; or a
                mask of (n_docs,) bools.

        Returns:
            Embeddings of the n documents, in the order of ``indices``.

        Raises:
            InputError: An index is out of range, a mask has another length, or the value is not
                whole numbers.
        """
        doc_indices = as_indices(indices, self.n_docs)
        self.verify_documents(doc_indices)
        owners = np.searchsorted(self._bounds, doc_indices, side="right") - 1
        order = np.argsort(owners, kind="stable")
        selections = [
            self._shards[owner].embeddings.select(
                doc_indices[order][owners[order] == owner] - self._bounds[owner]
            )
            for owner in np.unique(owners).tolist()
        ]
        back = np.empty(len(doc_indices), np.int64)
        back[order] = np.arange(len(doc_indices))
        return self._with_fingerprint(self._joined(selections).select(back))

    def to_memory(self, *, dtype: str | None = "float32") -> TokenEmbeddings:
        """Copy everything into memory: for queries and small collections.

        Args:
            dtype: "float32" or "float16" for the values; None keeps the stored dtype.

        Returns:
            Embeddings of all documents.
        """
        expect_choice("dtype", dtype, ("float32", "float16", None))
        for shard in self._shards:
            shard.verify_blocks()
        whole = self._joined([shard.embeddings for shard in self._shards], dtype)
        return self._with_fingerprint(whole)

    def verify_documents(self, indices: npt.NDArray[np.int64]) -> None:
        """Compare the values of documents with their checksums, once for each object.

        Args:
            indices: (n,) indices of documents, from 0.

        Raises:
            InputError: An index is out of range.
            StorageError: The values are not what was written.
        """
        indices = as_indices(indices, self.n_docs)
        for index in indices[~self._is_verified[indices]].tolist():
            owner = int(np.searchsorted(self._bounds, index, side="right")) - 1
            shard, document = self._shards[owner], index - int(self._bounds[owner])
            shard.verify_tokens(*shard.embeddings.offsets[document : document + 2].tolist())
            self._is_verified[index] = True

    def verify(self, *, progress: Progress | bool | None = None) -> None:
        """Read every file, including the manifest, and compare it with its checksum.

        Args:
            progress: True for a bar on stderr.

        Raises:
            StorageError: A file differs; the message names the first one.
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
        # stored queries do not depend on the encoder's settings for documents, so a later encoder
        # with other such settings may use them too
        fingerprint = None if self.manifest.get("role") == "query" else self.fingerprint
        return TokenEmbeddings.unchecked(
            embeddings.values,
            embeddings.offsets,
            embeddings.token_ids,
            fingerprint,
            embeddings.spans,
        )

    def _joined(self, chunks: list[TokenEmbeddings], dtype: str | None = None) -> TokenEmbeddings:
        stored = self.manifest["dtype"]
        if not chunks:
            return TokenEmbeddings.unchecked(
                np.empty((0, self.dim), dtype or stored), np.zeros(1, np.int64)
            )
        return joined_embeddings(chunks, dtype)
