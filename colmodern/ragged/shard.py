"""Shards: folders of consecutive documents' embeddings, mapped, and verified when used."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

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
from colmodern.ragged.spans import WIDTHS, TokenSpans, fault_of_spans

SPAN_FILES = ("spans.npy", "span_rows.npy")


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
    arrays |= span_arrays(embeddings.spans)
    with staging(folder) as staged:
        for name, array in arrays.items():
            write_array(staged / f"{name}.npy", array)
        write_json(staged / "doc_ids.json", ids)
        names = [*(f"{name}.npy" for name in arrays), "doc_ids.json"]
        record = ShardRecord(
            name=folder.name,
            n_docs=embeddings.n_docs,
            n_tokens=embeddings.n_tokens,
            has_token_ids=embeddings.token_ids is not None,
            spans=_kind_of(embeddings.spans),
            sha256={name: sha256_of_file(staged / name) for name in sorted(names)},
            fingerprint=fingerprint,
            dtype=dtype,
            dim=embeddings.dim,
            facts=dict(facts or {}),
            blocks={
                f"{name}.npy": block_checksums(array)
                for name, array in arrays.items()
                if name not in ("offsets", "span_offsets")
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
        names = files_of(entry)
        for name in {"offsets.npy", "span_offsets.npy", "doc_ids.json"} & set(names):
            self._verify_file(name)
        arrays = {name: self._map(name) for name in names if name.endswith(".npy")}
        for name in {"offsets.npy", "span_offsets.npy"} & set(names):
            arrays[name] = np.array(arrays[name])  # a copy: nothing changes it after the check
        self.embeddings = self._embeddings(arrays)
        blocks: Mapping[str, str] = self.record.blocks or {}  # type: ignore[assignment]
        verifiers = {
            name: BlockVerifier(folder / name, array, blocks.get(name), entry.sha256[name])
            for name, array in arrays.items()
            if not name.endswith("offsets.npy")
        }
        self._span_verifiers = [verifiers.pop(name) for name in SPAN_FILES if name in verifiers]
        self._verifiers = list(verifiers.values())

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
        if self._span_verifiers:
            offsets = self.embeddings.offsets
            documents = slice(*np.searchsorted(offsets, [start, stop]).tolist())
            self.verify_spans(documents.start, documents.stop)

    def verify_blocks(self) -> None:
        """Verify the blocks that were not verified yet, by their fast checksums."""
        self.verify_tokens(0, self.record.n_tokens)

    def verify(self) -> None:
        """Read every file and compare it with its sha256, in addition to the checks at opening."""
        for name in self.record.sha256:
            self._verify_file(name)
        for verifier in (*self._verifiers, *self._span_verifiers):
            verifier.trust()

    def verify_spans(self, first: int, last: int) -> None:
        """Verify the spans of documents ``first`` to ``last``, and that they fit the documents."""
        if (spans := self.embeddings.spans) is None:
            return
        start, stop = (int(spans.offsets[document]) for document in (first, last))
        for verifier in self._span_verifiers:
            verifier.verify(start, stop)
        lengths = self.embeddings.lengths[first:last]
        if fault := fault_of_spans(spans.docs(first, last), lengths):
            raise DamageError(f"{self.folder / 'spans.npy'}: spans {fault}; {CURE}")

    def _expect_agreement(self, entry: ShardEntry, dtype: str, dim: int) -> None:
        mine = {**self.record.entry(), "dtype": self.record.dtype, "dim": self.record.dim}
        theirs = {
            **entry.entry(),
            "dtype": dtype,
            "dim": dim,
        }
        names = mine.keys() | theirs.keys()
        if wrong := sorted(name for name in names if mine.get(name) != theirs.get(name)):
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

    def _embeddings(self, arrays: Mapping[str, npt.NDArray[Any]]) -> TokenEmbeddings:
        record, offsets = self.record, arrays["offsets.npy"]
        steps, owners = arrays.get("spans.npy"), arrays.get("span_offsets.npy", offsets)
        n_spans = int(owners[-1]) if owners.size else 0
        expected: dict[str, tuple[str, tuple[int, ...]]] = {
            "values.npy": (record.dtype, (record.n_tokens, record.dim)),
            "offsets.npy": ("int64", (record.n_docs + 1,)),
            "token_ids.npy": ("int32", (record.n_tokens,)),
            "span_offsets.npy": ("int64", (record.n_docs + 1,)),
        }
        for name in SPAN_FILES:
            if name in arrays:
                width = arrays[name].dtype if arrays[name].dtype in WIDTHS else "uint8"
                expected[name] = (str(width), (n_spans, 2) if name == "spans.npy" else (n_spans,))
        for name, array in arrays.items():
            dtype, shape = expected[name]
            if array.dtype != dtype or array.shape != shape:
                raise DamageError(
                    f"{self.folder / name} has {array.dtype} of shape {array.shape}, other counts "
                    f"than the manifest says ({dtype}, {shape}); {CURE}"
                )
        ends = {"offsets.npy": record.n_tokens, "span_offsets.npy": n_spans}
        for name, end in ends.items():
            rising = arrays.get(name, offsets)
            if rising[0] != 0 or int(rising[-1]) < end or np.any(rising[1:] < rising[:-1]):
                raise DamageError(f"{self.folder / name} does not rise from 0 to {end}; {CURE}")
        spans = None
        if steps is not None:
            spans = TokenSpans(steps, owners, arrays.get("span_rows.npy"))
        values, token_ids = arrays["values.npy"], arrays.get("token_ids.npy")
        return TokenEmbeddings.unchecked(values, offsets, token_ids, None, spans)


def span_arrays(spans: TokenSpans | None) -> dict[str, npt.NDArray[np.generic]]:
    """The arrays that spans are stored in, by name; {} for none."""
    if spans is None:
        return {}
    arrays: dict[str, npt.NDArray[Any]] = {"spans": np.ascontiguousarray(spans.steps)}
    if spans.row_of_token is not None:
        arrays |= {
            "span_offsets": spans.offsets,
            "span_rows": np.ascontiguousarray(spans.row_of_token),
        }
    return arrays


def _kind_of(spans: TokenSpans | None) -> Literal["tokens", "pooled"] | None:
    if spans is None:
        return None
    return "pooled" if spans.is_pooled else "tokens"
