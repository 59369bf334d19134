"""Shards: folders of consecutive documents' embeddings, mapped, and verified when used."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from colmodern.disk import expect_regular
from colmodern.files import sha256_of_file, staging, write_json
from colmodern.ragged.arrays import map_array, write_array
from colmodern.ragged.blocks import BlockVerifier, block_checksums
from colmodern.ragged.convert import refuse_infinite
from colmodern.ragged.doc_ids import checked_doc_ids
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.manifest import (
    CURE,
    RECORD,
    DamageError,
    ShardEntry,
    ShardRecord,
    files_of,
    read_shard_record,
    unreadable,
    write_shard_record,
)


def shard_name(index: int) -> str:
    """Name of the folder of the shard with this index, from 0."""
    return f"shard-{index:05d}"


def write_shard(
    folder: Path,
    embeddings: TokenEmbeddings,
    doc_ids: Sequence[str],
    *,
    fingerprint: str,
    dtype: str,
    facts: Mapping[str, float] | None = None,
) -> ShardRecord:
    """Write a shard into a folder that must not exist yet.

    Args:
        folder: STORE/shard-00000.
        embeddings: Embeddings with finite values.
        doc_ids: (n_docs,) texts.
        fingerprint: Digest of all that the embeddings depend on.
        dtype: "float16" or "float32", the dtype of stored values.
        facts: Numbers that the manifest sums up, such as seconds.

    Raises:
        InputError: The ids are not one text a document, or ``dtype`` cannot hold the values.
        StorageError: The folder exists or cannot be written.
    """
    ids = checked_doc_ids(doc_ids, embeddings.n_docs, is_unique=False)
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(embeddings.values, dtype=dtype)
    if values.dtype.itemsize < embeddings.values.dtype.itemsize:
        refuse_infinite(values, embeddings.offsets, f"{dtype} values")
    arrays = {"values": values, "offsets": embeddings.offsets}
    if embeddings.token_ids is not None:
        arrays["token_ids"] = np.ascontiguousarray(embeddings.token_ids)
    with staging(folder) as staged:
        for name, array in arrays.items():
            write_array(staged / f"{name}.npy", array)
        write_json(staged / "doc_ids.json", ids)
        names = files_of(has_token_ids=embeddings.token_ids is not None)
        record = ShardRecord(
            name=folder.name,
            n_docs=embeddings.n_docs,
            n_tokens=embeddings.n_tokens,
            has_token_ids=embeddings.token_ids is not None,
            sha256={name: sha256_of_file(staged / name) for name in sorted(names)},
            fingerprint=fingerprint,
            dtype=dtype,
            dim=embeddings.dim,
            facts=dict(facts or {}),
            blocks={
                f"{name}.npy": block_checksums(array)
                for name, array in arrays.items()
                if name != "offsets"
            },
        )
        write_shard_record(staged, record)
    return record


class MappedShard:
    """A shard whose values stay on disk; offsets and counts are verified when it is opened."""

    def __init__(self, folder: Path, entry: ShardEntry, *, dtype: str, dim: int) -> None:
        """Open a shard.

        Args:
            folder: Absolute path, since files are read again later.
            entry: The shard's entry in the manifest, or its own record.
            dtype: Dtype of its values, as the manifest has it.
            dim: Width of its values, as the manifest has it.

        Raises:
            DamageError: A file is missing or differs.
            ResourceError: A limit of the machine was reached.
        """
        self.folder = folder
        self.record = read_shard_record(folder)
        self._expect_agreement(entry, dtype, dim)
        for name in ("offsets.npy", "doc_ids.json"):
            self._verify_file(name)
        names = ("values.npy", "offsets.npy", "token_ids.npy")[: 2 + entry.has_token_ids]
        arrays = [self._map(name) for name in names]
        offsets = np.array(arrays[1])  # a copy, so that nothing changes them after the check
        self.embeddings = self._embeddings(arrays[0], offsets, *arrays[2:])
        blocks: Mapping[str, str] = self.record.blocks or {}  # type: ignore[assignment]
        self._verifiers = [
            BlockVerifier(folder / name, array, blocks.get(name), entry.sha256[name])
            for name, array in zip(names, arrays, strict=True)
            if name != "offsets.npy"
        ]

    def doc_ids(self) -> list[str]:
        """(n_docs,) ids, read from disk."""
        path = self.folder / "doc_ids.json"
        try:
            content = path.read_bytes()
        except (OSError, MemoryError) as error:
            raise unreadable(path, error) from error
        if hashlib.sha256(content).hexdigest() != self.record.sha256[path.name]:
            raise DamageError(f"{path} differs from its checksum; {CURE}")
        try:
            ids = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise DamageError(f"{path} is not JSON ({error}); {CURE}") from error
        if not isinstance(ids, list) or not all(isinstance(doc_id, str) for doc_id in ids):
            raise DamageError(f"{path} is not a list of texts; {CURE}")
        if len(ids) != self.record.n_docs:
            raise DamageError(f"{path} names {len(ids)} documents for {self.record.n_docs}; {CURE}")
        return ids

    def verify_tokens(self, start: int, stop: int) -> None:
        """Raise DamageError when tokens ``start`` to ``stop`` are not what was written."""
        for verifier in self._verifiers:
            verifier.verify(start, stop)

    def verify_blocks(self) -> None:
        """Verify the blocks that were not verified yet, by their fast checksums."""
        self.verify_tokens(0, self.record.n_tokens)

    def verify(self) -> None:
        """Read every file and compare it with its sha256, in addition to the checks at opening."""
        for name in self.record.sha256:
            self._verify_file(name)
        for verifier in self._verifiers:
            verifier.trust()

    def _expect_agreement(self, entry: ShardEntry, dtype: str, dim: int) -> None:
        mine = {**self.record.entry(), "dtype": self.record.dtype, "dim": self.record.dim}
        theirs = {
            **entry.model_dump(include=set(ShardEntry.model_fields)),
            "dtype": dtype,
            "dim": dim,
        }
        if wrong := [name for name, value in theirs.items() if mine[name] != value]:
            raise DamageError(
                f"{self.folder / RECORD} has another {wrong[0]} than the manifest says; {CURE}"
            )

    def _verify_file(self, name: str) -> None:
        path = self.folder / name
        try:
            expect_regular(path)
            sha256 = sha256_of_file(path)
        except (OSError, ValueError, MemoryError) as error:
            raise unreadable(path, error) from error
        if sha256 != self.record.sha256[name]:
            raise DamageError(f"{path} differs from its checksum; {CURE}")

    def _map(self, name: str) -> npt.NDArray[Any]:
        path = self.folder / name
        try:
            return map_array(path)
        except (OSError, ValueError, MemoryError) as error:
            raise unreadable(path, error) from error

    def _embeddings(
        self,
        values: npt.NDArray[Any],
        offsets: npt.NDArray[Any],
        token_ids: npt.NDArray[Any] | None = None,
    ) -> TokenEmbeddings:
        record = self.record
        expected = {
            "values.npy": (values, record.dtype, (record.n_tokens, record.dim)),
            "offsets.npy": (offsets, "int64", (record.n_docs + 1,)),
            "token_ids.npy": (token_ids, "int32", (record.n_tokens,)),
        }
        for name, (array, dtype, shape) in expected.items():
            if array is not None and (array.dtype != dtype or array.shape != shape):
                raise DamageError(
                    f"{self.folder / name} has {array.dtype} of shape {array.shape}, other counts "
                    f"than the manifest says ({dtype}, {shape}); {CURE}"
                )
        if offsets[0] != 0 or offsets[-1] != record.n_tokens or np.any(offsets[1:] < offsets[:-1]):
            raise DamageError(
                f"{self.folder / 'offsets.npy'} does not rise from 0 to {record.n_tokens}; {CURE}"
            )
        return TokenEmbeddings.unchecked(values, offsets, token_ids)
