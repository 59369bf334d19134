"""Writing embedding stores: resumable shard by shard, or all of it at once.

A shard is written to a temporary folder and renamed, so a shard that is there is whole; an
interrupted writer goes on after the last one. Shards that are finished before their turn wait in
FOLDER/.ahead. The writer holds FOLDER/.lock, so whatever has a temporary name is a leftover.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from colmodern.disk import discard
from colmodern.errors import InputError, StorageError
from colmodern.files import naming_write_errors
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


class ShardWriter:
    """Appends shards to a folder; opening an unfinished one again goes on where it stopped.

    fingerprint: what the embeddings depend on; a folder begun with another one is refused
    dtype: "float16" or "float32", how values are stored
    note: told of finished shards that are damaged, and therefore written again

    It is the only writer until it is closed: use it in a with block. Finished shards of an
    earlier writer are read and compared with their checksums. A finished store is only looked at.

    Raises StorageError for a folder with another fingerprint or with files of someone else, or
    when another process writes it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        fingerprint: str,
        dtype: str = "float16",
        note: Callable[[str], object] = lambda message: None,
    ) -> None:
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let others write; what is not finished is gone on with by the next writer."""
        if self._is_locked:
            unlink_lock(self.folder)
            self._is_locked = False
        self._lock.close()

    @property
    def n_docs(self) -> int:
        """Documents in finished shards; the next shard begins with this one."""
        return sum(shard.n_docs for shard in self.shards)

    def add(
        self,
        embeddings: TokenEmbeddings,
        doc_ids: Sequence[str],
        *,
        facts: dict[str, float] | None = None,
    ) -> None:
        """Write one shard; ``facts`` are numbers to sum up in the manifest (seconds, cut tokens).

        Raises InputError for ids that are not one text a document, or another dim than the shards
        before have.
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
        """Where shards are written, by name, before their turn."""
        return self.folder / AHEAD

    def find_ahead(self, index: int, doc_ids: Sequence[str]) -> bool:
        """Whether shard ``index`` waits in ``ahead``, whole, and holds these documents' embeddings.

        Anything else under its name, as of another size of shards, is deleted.
        """
        folder = self.ahead / shard_name(index)
        if not os.path.lexists(folder):
            return False
        with suppress(DamageError):  # then it is written again
            record = read_shard_record(folder)
            if (record.fingerprint, record.dtype) == (self.fingerprint, self.dtype):
                shard = verified_shard(folder, record)
                if shard.doc_ids() == list(doc_ids):
                    return True
        discard(folder)
        return False

    def adopt(self) -> None:
        """Move the next shard here from ``ahead``."""
        name = shard_name(len(self.shards))
        record = read_shard_record(self.ahead / name)
        self._expect_dim(record.dim)
        with naming_write_errors(self.folder / name):
            os.replace(self.ahead / name, self.folder / name)
        self.shards.append(record)

    def finish(self, **about: Any) -> EmbeddingStore:
        """Write the manifest, with ``about`` in it, and open the store."""
        from colmodern.ragged.store import EmbeddingStore  # that module needs this one

        facts: dict[str, float] = {}
        for shard in self.shards:
            for key, value in shard.facts.items():
                facts[key] = facts.get(key, 0) + value
        discard(self.ahead)
        with naming_write_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        fields = manifest_fields(self.shards, self.fingerprint, self.dtype, facts)
        write_store_manifest(self.folder, {**fields, **about, "shards": fields["shards"]})
        self.close()
        return EmbeddingStore(self.folder)

    def _open(self, note: Callable[[str], object]) -> None:
        """Lock the folder, unless it is finished, and take what an earlier writer left."""
        if self._is_finished():
            return
        expect_ours(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock.enter_context(writer_lock(self.folder))
        self._is_locked = True
        try:
            if not self._is_finished():  # by another writer, before the lock was free
                clear(self.folder)
                self._resume(note)
        except BaseException:
            self.close()
            raise

    def _is_finished(self) -> bool:
        """Whether there is a manifest; raises StorageError for that of other embeddings."""
        if not os.path.lexists(self.folder / MANIFEST):
            return False
        manifest, _ = read_store_manifest(self.folder)
        self._expect_same(manifest.fingerprint, manifest.dtype)
        self.shards = [read_shard_record(self.folder / shard.name) for shard in manifest.shards]
        if any(leftovers(self.folder)):  # of a writer that was killed just before its end
            with suppress(StorageError), writer_lock(self.folder):  # unless it cannot be written
                clear(self.folder)
                discard(self.ahead)
                unlink_lock(self.folder)
        return True

    def _resume(self, note: Callable[[str], object]) -> None:
        """Take the shards of an earlier writer, as far as they are whole."""
        folders = list(numbered(self.folder))
        records = [read_shard_record(folder) for folder in folders]
        for record in records:  # before anything is changed
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
        """Delete the first shard, which is damaged; those behind it wait in ``ahead``."""
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
    """A shard whose files were all compared; raises DamageError when one differs."""
    absolute = Path(os.path.abspath(folder))
    shard = MappedShard(absolute, record, dtype=record.dtype, dim=record.dim)
    shard.doc_ids()
    shard.verify_blocks()
    return shard
