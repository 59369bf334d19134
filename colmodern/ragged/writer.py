"""Writes embedding stores shard by shard, and resumes after an interruption.

A shard is written to a temporary folder and renamed, so an existing shard is complete; an
interrupted writer resumes after the last one. Shards that are finished before their turn wait in
FOLDER/.ahead. The writer holds FOLDER/.lock, so any temporary name is a leftover.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from colmodern.disk import discard
from colmodern.errors import InputError, StorageError
from colmodern.files import naming_write_errors
from colmodern.passages import documents_of
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.manifest import (
    MANIFEST,
    DamageError,
    ShardRecord,
    read_shard_record,
    read_store_manifest,
    write_store_manifest,
)
from colmodern.ragged.shard import MappedShard, shard_name, write_shard
from colmodern.ragged.store_folder import (
    AHEAD,
    clear,
    expect_ours,
    leftovers,
    manifest_fields,
    numbered,
    unlink_lock,
)
from colmodern.ragged.write_store import DTYPES
from colmodern.writer_lock import writer_lock

if TYPE_CHECKING:
    from colmodern.ragged.store import EmbeddingStore


N_TEXTS = "n_texts"  # fact of a shard of passages: how many documents they are of


class ShardWriter:
    """Appends shards to a folder; opening an unfinished folder resumes after its last shard.

    It is the only writer until it is closed: use it in a with block. Finished shards of an
    earlier writer are read and compared with their checksums. A finished store is not changed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        fingerprint: str,
        dtype: str = "float16",
        note: Callable[[str], object] = lambda message: None,
    ) -> None:
        """Lock the folder and verify the shards of an earlier writer.

        Args:
            folder: The store's folder, new or unfinished.
            fingerprint: Digest of all that the embeddings depend on.
            dtype: "float16" or "float32", the dtype of stored values.
            note: Called with a sentence for each damaged shard, which is then written again.

        Raises:
            StorageError: The folder has another fingerprint or foreign files, or another process
                writes it.
        """
        if dtype not in DTYPES:
            raise InputError(f"dtype={dtype!r}; choose one of {', '.join(DTYPES)}")
        self.folder = folder
        self.fingerprint = fingerprint
        self.dtype = dtype
        self.shards: list[ShardRecord] = []
        self._lock, self._is_locked = ExitStack(), False
        with naming_write_errors(folder):
            self._open(note)

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the lock; the next writer resumes an unfinished store."""
        if self._is_locked:
            unlink_lock(self.folder)
            self._is_locked = False
        self._lock.close()

    @property
    def n_docs(self) -> int:
        """Number of documents in finished shards, the index of the next shard's first document."""
        return sum(shard.n_docs for shard in self.shards)

    @property
    def n_texts(self) -> int:
        """Number of texts in finished shards, which have more documents where these are passages."""
        return int(sum(shard.facts.get(N_TEXTS, shard.n_docs) for shard in self.shards))

    def add(
        self,
        embeddings: TokenEmbeddings,
        doc_ids: Sequence[str],
        *,
        facts: dict[str, float] | None = None,
    ) -> None:
        """Write the next shard.

        Args:
            embeddings: Embeddings of its documents.
            doc_ids: (n_docs,) texts.
            facts: Numbers that the manifest sums up, such as seconds or cut tokens.

        Raises:
            InputError: The ids are not one text a document, or the dim is not that of the shards
                before.
        """
        self._expect_dim(embeddings.dim)
        record = write_shard(
            self.folder / shard_name(len(self.shards)),
            embeddings,
            doc_ids,
            fingerprint=self.fingerprint,
            dtype=self.dtype,
            facts=facts,
        )
        self.shards.append(record)

    @property
    def ahead(self) -> Path:
        """Folder of shards that are written before their turn."""
        return self.folder / AHEAD

    def has_ahead(self, index: int, doc_ids: Sequence[str]) -> bool:
        """Whether shard ``index`` waits in ``ahead``, complete and with exactly these documents.

        Of a shard of passages, these are the documents that they belong to.

        Anything else under its name, such as a shard of another size, is deleted.
        """
        folder = self.ahead / shard_name(index)
        if not os.path.lexists(folder):
            return False
        with suppress(DamageError):  # a damaged shard is written again
            record = read_shard_record(folder)
            if (record.fingerprint, record.dtype) == (self.fingerprint, self.dtype):
                shard = verified_shard(folder, record)
                ids = shard.doc_ids()
                if (documents_of(ids) if N_TEXTS in record.facts else ids) == list(doc_ids):
                    return True
        discard(folder)
        return False

    def adopt(self) -> None:
        """Move the next shard from ``ahead`` to its place in the store."""
        name = shard_name(len(self.shards))
        record = read_shard_record(self.ahead / name)
        self._expect_dim(record.dim)
        with naming_write_errors(self.folder / name):
            os.replace(self.ahead / name, self.folder / name)
        self.shards.append(record)

    def finish(self, **provenance: object) -> EmbeddingStore:
        """Write the manifest, with more fields of ``provenance``, and open the store."""
        from colmodern.ragged.store import EmbeddingStore  # the store imports this module

        facts: dict[str, float] = {}
        for shard in self.shards:
            for key, value in shard.facts.items():
                facts[key] = facts.get(key, 0) + value
        discard(self.ahead)
        with naming_write_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        fields = manifest_fields(self.shards, self.fingerprint, self.dtype, facts)
        write_store_manifest(self.folder, {**fields, **provenance, "shards": fields["shards"]})
        self.close()
        return EmbeddingStore(self.folder)

    def _open(self, note: Callable[[str], object]) -> None:
        """Lock the folder, unless it is finished, and take over the shards of an earlier writer."""
        if self._is_finished():
            return
        expect_ours(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock.enter_context(writer_lock(self.folder))
        self._is_locked = True
        try:
            if not self._is_finished():  # another writer may have finished it in between
                clear(self.folder)
                self._resume(note)
        except BaseException:
            self.close()
            raise

    def _is_finished(self) -> bool:
        """Whether there is a manifest; raises StorageError for one of other embeddings."""
        if not os.path.lexists(self.folder / MANIFEST):
            return False
        manifest, _ = read_store_manifest(self.folder)
        self._expect_same(manifest.fingerprint, manifest.dtype)
        self.shards = [read_shard_record(self.folder / shard.name) for shard in manifest.shards]
        if any(leftovers(self.folder)):  # a writer was killed just before its end
            with suppress(StorageError), writer_lock(self.folder):  # a read-only store keeps them
                clear(self.folder)
                discard(self.ahead)
                unlink_lock(self.folder)
        return True

    def _resume(self, note: Callable[[str], object]) -> None:
        """Take over the shards of an earlier writer, up to the first damaged one."""
        folders = list(numbered(self.folder))
        records = [read_shard_record(folder) for folder in folders]
        for record in records:  # checked before anything is changed
            self._expect_same(record.fingerprint, record.dtype)
        for folder, record in zip(folders, records, strict=True):
            try:
                verified_shard(folder, record)
            except DamageError as error:
                note(f"{str(error).rpartition(';')[0]}: it is encoded again")
                self._set_aside(folders[len(self.shards) :])
                return
            self.shards.append(record)

    def _set_aside(self, folders: list[Path]) -> None:
        """Delete the first shard, which is damaged, and move the ones after it to ``ahead``."""
        with naming_write_errors(self.folder):
            self.ahead.mkdir(exist_ok=True)
            for folder in folders[:0:-1]:  # from the end, so that a kill leaves no gap
                if not (self.ahead / folder.name).exists():
                    os.replace(folder, self.ahead / folder.name)
                discard(folder)
            discard(folders[0])

    def _expect_same(self, fingerprint: str, dtype: str) -> None:
        if (fingerprint, dtype) != (self.fingerprint, self.dtype):
            raise StorageError(
                f"{self.folder} holds embeddings of another encoder, collection or dtype; "
                "choose another folder, or delete this one"
            )

    def _expect_dim(self, dim: int) -> None:
        if self.shards and dim != self.shards[0].dim:
            raise InputError(
                f"embeddings have dim={dim}, the shards before have dim={self.shards[0].dim}; "
                "encode all with the same encoder"
            )


def verified_shard(folder: Path, record: ShardRecord) -> MappedShard:
    """A shard whose files were all compared with their checksums.

    Raises:
        DamageError: A file differs.
    """
    absolute = Path(os.path.abspath(folder))
    shard = MappedShard(absolute, record, dtype=record.dtype, dim=record.dim)
    shard.doc_ids()
    shard.verify_blocks()
    return shard
