"""The texts of a collection: compressed blocks in segments that never change.

    texts-00001/texts.bin        blocks of documents, each compressed by itself
    texts-00001/blocks.npy       (n_blocks + 1, 3) int64: where each block begins in texts.bin, its
                                 first document, and the CRC-32 of its compressed bytes
    texts-00001/offsets.npy      (n_docs + 1,) int64 bytes of documents, in all blocks together
    texts-00001/ids.bin, id_*    ids, as in a segment of an index

Everything but texts.bin is compared with its checksum when a segment is opened; a block of texts.bin is
compared with its own when it is read.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from colmodern.collection.documents import StoredDocument, from_bytes, to_bytes
from colmodern.disk import without_following
from colmodern.errors import StorageError
from colmodern.files import read_error, sha256_of_file
from colmodern.index.plaid.disk.doc_ids import ID_FILES, DocIds, write_doc_ids
from colmodern.ragged.arrays import write_array
from colmodern.ragged.mapped import map_file, sha256_of_mapped

TEXTS, BLOCKS, OFFSETS = "texts.bin", "blocks.npy", "offsets.npy"
CURE = "restore the folder from a backup, or create the collection again from its documents"
_BLOCK = 1 << 12  # bytes of documents that are compressed together; one block is read for one text
_LEVEL = 6  # zlib's trade of time for size
_KEPT = 64  # blocks that stay in memory
_AT_ONCE = 1024  # documents that are located together


class TextsRecord(BaseModel):
    """A segment of texts in the collection's manifest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^texts-\d{5,12}$")
    n_docs: int = Field(ge=0)
    n_bytes: int = Field(ge=0, description="bytes of texts.bin")
    sha256: dict[str, str] = Field(description="hex digest of each file")


class TextWriter:
    """Writes documents into the files of a new segment; a context manager.

    Attributes:
        ids: The ids written so far.
    """

    def __init__(self, folder: Path) -> None:
        self.ids: list[str] = []
        self._folder = folder
        self._stream = open(folder / TEXTS, "wb", opener=without_following)  # noqa: SIM115 - __exit__ closes it
        self._waiting: list[bytes] = []
        self._n_waiting = 0
        self._offsets = array("q", [0])
        self._blocks = array("q")

    def __enter__(self) -> TextWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.close()

    def add(self, document: StoredDocument) -> None:
        """Write one document."""
        stored = to_bytes(document)
        self.ids.append(document.doc_id)
        self._waiting.append(stored)
        self._n_waiting += len(stored)
        self._offsets.append(self._offsets[-1] + len(stored))
        if self._n_waiting >= _BLOCK:
            self._end_block()

    def finish(self) -> None:
        """Write what is left, and where everything is."""
        self._end_block()
        n_docs = len(self.ids)
        self._blocks.extend((self._stream.tell(), n_docs, 0))
        self._stream.close()
        blocks = np.frombuffer(self._blocks, np.int64).reshape(-1, 3)
        write_array(self._folder / BLOCKS, blocks)
        write_array(self._folder / OFFSETS, np.frombuffer(self._offsets, np.int64))
        write_doc_ids(self._folder, self.ids)

    def _end_block(self) -> None:
        if not self._waiting:
            return
        packed = zlib.compress(b"".join(self._waiting), _LEVEL)
        first = len(self.ids) - len(self._waiting)
        self._blocks.extend((self._stream.tell(), first, zlib.crc32(packed)))
        self._stream.write(packed)
        self._waiting, self._n_waiting = [], 0


class TextSegment:
    """The documents of one segment, mapped and read block by block.

    Raises:
        StorageError: A file is missing or differs from its checksum.
    """

    def __init__(self, folder: Path, record: TextsRecord) -> None:
        self.record = record
        self._folder = folder / record.name
        for name in (BLOCKS, OFFSETS, *ID_FILES):
            self._expect_same(name)
        try:
            self.ids = DocIds(self._folder)
            self._blocks = map_file(self._folder / BLOCKS)
            self._offsets = map_file(self._folder / OFFSETS)
            self._packed = map_file(self._folder / TEXTS)
        except (OSError, ValueError) as error:
            raise read_error(self._folder, error, cure=CURE) from error
        if len(self._packed) != record.n_bytes or len(self.ids) != record.n_docs:
            raise StorageError(
                f"{self._folder / TEXTS} has {len(self._packed)} bytes, not the {record.n_bytes} "
                f"that were written; {CURE}"
            )
        self._first_rows = np.ascontiguousarray(self._blocks[:, 1])
        self._read_block = lru_cache(_KEPT)(self._unpacked)

    def __len__(self) -> int:
        return self.record.n_docs

    def at(
        self, rows: npt.NDArray[np.int64], doc_ids: Sequence[str] | None = None
    ) -> Iterator[StoredDocument]:
        """The documents at positions.

        Args:
            rows: (n,) positions from 0.
            doc_ids: Their ids, where the caller knows them.

        Raises:
            StorageError: A block is damaged.
        """
        blocks = np.searchsorted(self._first_rows, rows, side="right") - 1
        firsts = self._offsets[self._first_rows[blocks]]
        starts = (self._offsets[rows] - firsts).tolist()
        stops = (self._offsets[rows + 1] - firsts).tolist()
        ids = self.ids.get(rows) if doc_ids is None else doc_ids
        for doc_id, block, start, stop in zip(ids, blocks.tolist(), starts, stops, strict=True):
            try:
                yield from_bytes(doc_id, self._read_block(block)[start:stop])
            except ValueError as error:
                raise StorageError(
                    f"{self._folder / TEXTS} has no document {doc_id!r} ({error}); {CURE}"
                ) from error

    def documents(self, start: int = 0, stop: int | None = None) -> Iterator[StoredDocument]:
        """The documents from ``start`` to ``stop``, in the order in which they were written."""
        end = len(self) if stop is None else stop
        for first in range(start, end, _AT_ONCE):
            yield from self.at(np.arange(first, min(first + _AT_ONCE, end)))

    def verify(self) -> None:
        """Raise StorageError when texts.bin is not what was written."""
        self._expect_same(TEXTS)

    def _unpacked(self, block: int) -> bytes:
        start, stop = self._blocks[block : block + 2, 0].tolist()
        packed = self._packed[start:stop].tobytes()
        if zlib.crc32(packed) != self._blocks[block, 2]:
            raise StorageError(f"{self._folder / TEXTS} differs from its checksum; {CURE}")
        return zlib.decompress(packed)

    def _expect_same(self, name: str) -> None:
        path = self._folder / name
        try:
            digest = sha256_of_mapped(path, map_file(path))
        except (OSError, ValueError) as error:
            raise read_error(path, error, cure=CURE) from error
        if digest != self.record.sha256.get(name):
            raise StorageError(f"{path} differs from its checksum; {CURE}")


class Texts:
    """All texts of a collection; of several documents with one id, the newest counts.

    Attributes:
        segments: Oldest first.
    """

    def __init__(
        self, folder: Path, records: Iterable[TextsRecord], known: Iterable[TextSegment] = ()
    ) -> None:
        """Open segments; those that are ``known``, open already, are used as they are."""
        opened = {segment.record.name: segment for segment in known}
        self.segments = []
        for record in records:
            segment = opened.get(record.name)
            if segment is None or segment.record != record:
                segment = TextSegment(folder, record)
            self.segments.append(segment)

    @property
    def records(self) -> tuple[TextsRecord, ...]:
        """The segments as the manifest names them."""
        return tuple(segment.record for segment in self.segments)

    def get(self, doc_ids: Sequence[str]) -> list[StoredDocument]:
        """The newest document with each id, in the order of the ids.

        Raises:
            StorageError: There is none with an id.
        """
        documents: dict[str, StoredDocument] = {}
        missing = list(dict.fromkeys(doc_ids))
        for segment in reversed(self.segments):
            rows = segment.ids.docs_of(missing)
            own = [doc_id for doc_id, row in zip(missing, rows.tolist(), strict=True) if row >= 0]
            documents.update(zip(own, segment.at(rows[rows >= 0], own), strict=True))
            missing = [doc_id for doc_id in missing if doc_id not in documents]
            if not missing:
                break
        if missing:
            raise StorageError(
                f"the index has document {missing[0]!r}, but the texts do not; {CURE}"
            )
        return [documents[doc_id] for doc_id in doc_ids]

    def stream(self, doc_ids: Sequence[str]) -> Iterator[StoredDocument]:
        """The documents that ``get`` returns, of which few are in memory at a time."""
        for first in range(0, len(doc_ids), _AT_ONCE):
            yield from self.get(doc_ids[first : first + _AT_ONCE])


def record_texts(folder: Path, name: str, n_docs: int) -> TextsRecord:
    """The record of a segment whose files are in ``folder``; name: of its final folder."""
    files = (TEXTS, BLOCKS, OFFSETS, *ID_FILES)
    return TextsRecord(
        name=name,
        n_docs=n_docs,
        n_bytes=(folder / TEXTS).stat().st_size,
        sha256={file: sha256_of_file(folder / file) for file in files},
    )
