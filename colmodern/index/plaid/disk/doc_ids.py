"""Document ids on disk, looked up in both directions without reading them all.

ids.bin          the ids in UTF-8, one after another
id_offsets.npy   (n_docs + 1,) int64; id i is the bytes from offsets[i] to offsets[i + 1]
id_hashes.npy    (n_docs,) uint64, ascending
id_rows.npy      (n_docs,) int32, the document behind each hash; ascending where hashes are equal
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from colmodern.checks import shown
from colmodern.errors import InputError
from colmodern.files import naming_write_errors, write_bytes
from colmodern.ragged.arrays import write_array
from colmodern.ragged.mapped import map_file
from colmodern.ragged.offsets import offsets_of

ID_FILES = ("ids.bin", "id_offsets.npy", "id_hashes.npy", "id_rows.npy")
_CHUNK = 65536  # ids that are handled at a time; bounds the memory


class DocIds:
    """The ids of ``n`` documents, mapped from the folder that ``write_doc_ids`` wrote to.

    The caller checks that the files hold what was written, as ``open_segment`` does.
    Raises OSError or ValueError when a file is missing or does not fit the others.
    """

    def __init__(self, folder: Path) -> None:
        self.text = map_file(folder / "ids.bin")
        self.offsets = map_file(folder / "id_offsets.npy")
        self.hashes = map_file(folder / "id_hashes.npy")
        self.docs = map_file(folder / "id_rows.npy")
        n_docs = len(self.docs) if self.docs.ndim else 0
        _expect("id_offsets.npy", self.offsets, np.int64, n_docs + 1)
        _expect("id_hashes.npy", self.hashes, np.uint64, n_docs)
        _expect("id_rows.npy", self.docs, np.int32, n_docs)
        n_bytes = len(self.text)
        if self.offsets[-1] != n_bytes:
            raise ValueError(f"id_offsets.npy ends at {self.offsets[-1]}, ids.bin at {n_bytes}")
        self._bytes = self.text.data

    @property
    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """The mapped array of each of ID_FILES."""
        return dict(zip(ID_FILES, (self.text, self.offsets, self.hashes, self.docs), strict=True))

    def __len__(self) -> int:
        return len(self.docs)

    def __getitem__(self, doc: int) -> str:
        return str(self._encoded(range(len(self))[doc]), "utf-8")

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _CHUNK):
            yield from self.get(np.arange(start, min(start + _CHUNK, len(self))))

    def get(self, docs: npt.ArrayLike) -> list[str]:
        """The ids of documents, in that order; docs: (n,) integers from 0."""
        docs = np.asarray(docs, dtype=np.int64)
        starts, stops = self.offsets[docs].tolist(), self.offsets[docs + 1].tolist()
        return [
            str(self._bytes[start:stop], "utf-8") for start, stop in zip(starts, stops, strict=True)
        ]

    def docs_of(self, ids: Iterable[str]) -> npt.NDArray[np.int64]:
        """(n,) int64 number of the document that has each id, -1 where there is none.

        Raises InputError for anything that is not a string.
        """
        encoded = [_encode(doc_id) for doc_id in _listed(ids)]
        hashes = _hashes_of(encoded)
        positions = np.searchsorted(self.hashes, hashes)
        docs = np.full(len(encoded), -1, np.int64)
        hits = positions < len(self)
        hits[hits] = self.hashes[positions[hits]] == hashes[hits]
        for i in np.flatnonzero(hits).tolist():
            docs[i] = self._doc_at(int(positions[i]), encoded[i])
        return docs

    def _doc_at(self, position: int, encoded: bytes) -> int:
        """The document with an id, among those whose hash is that at ``position``, or -1."""
        expected = self.hashes[position]
        while position < len(self) and self.hashes[position] == expected:
            doc = int(self.docs[position])
            if self._encoded(doc) == encoded:
                return doc
            position += 1
        return -1

    def _encoded(self, doc: int) -> memoryview:
        return self._bytes[int(self.offsets[doc]) : int(self.offsets[doc + 1])]


def write_doc_ids(folder: Path, ids: Sequence[str]) -> None:
    """Write the files of ``DocIds`` to an existing folder; ids: one a document, in order.

    Raises InputError as ``expect_ids`` does, before anything is written; StorageError when the
    folder cannot be written.
    """
    lengths, hashes, chunks = _prepare(ids)
    docs = np.argsort(hashes, kind="stable")
    with naming_write_errors(folder):
        write_bytes(folder / "ids.bin", *chunks)
        write_array(folder / "id_offsets.npy", offsets_of(lengths))
        write_array(folder / "id_hashes.npy", hashes[docs])
        write_array(folder / "id_rows.npy", docs.astype(np.int32))


def expect_ids(ids: Sequence[str]) -> None:
    """Raise InputError, with its position, for an id that no index may have.

    It is not a string, is empty, cannot be written as UTF-8 or repeats.
    """
    _prepare(ids)


def _prepare(
    ids: Sequence[str],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64], list[bytes]]:
    """Bytes and hash of each id, and the ids joined; raises as ``expect_ids``."""
    lengths = np.empty(len(ids), np.int64)
    hashes = np.empty(len(ids), np.uint64)
    chunks = []
    for start in range(0, len(ids), _CHUNK):
        encoded = [
            _checked(doc_id, start + i) for i, doc_id in enumerate(ids[start : start + _CHUNK])
        ]
        lengths[start : start + len(encoded)] = [len(encoded_id) for encoded_id in encoded]
        hashes[start : start + len(encoded)] = _hashes_of(encoded)
        chunks.append(b"".join(encoded))
    docs = np.argsort(hashes, kind="stable")
    if (repeated := first_repeated(hashes[docs], docs, ids.__getitem__)) is not None:
        first, second = repeated
        raise InputError(
            f"doc_ids[{first}] and doc_ids[{second}] are both {shown(ids[first])}; make ids unique"
        )
    return lengths, hashes, chunks


def first_repeated(
    hashes: npt.NDArray[np.uint64],
    docs: npt.NDArray[np.int64],
    id_of: Callable[[int], str],
) -> tuple[int, int] | None:
    """Two documents with the same id, or None.

    hashes: (n,) uint64 ascending
    docs: (n,) the document behind each hash, ascending where hashes are equal
    """
    seen: dict[str, int] = {}
    last = -2  # position of the pair before; adjacent pairs have one hash
    for position in np.flatnonzero(hashes[1:] == hashes[:-1]).tolist():
        if position != last + 1:
            seen = {id_of(int(docs[position])): int(docs[position])}
        doc = int(docs[position + 1])
        if (first := seen.setdefault(id_of(doc), doc)) != doc:
            return first, doc
        last = position
    return None


def hashes_of(ids: Iterable[str]) -> npt.NDArray[np.uint64]:
    """(n,) uint64, what ``id_hashes.npy`` holds of each id; the same on every machine."""
    return _hashes_of([_encode(doc_id) for doc_id in ids])


def _hashes_of(encoded: Sequence[bytes]) -> npt.NDArray[np.uint64]:
    digests = b"".join([_digest(encoded_id) for encoded_id in encoded])
    return np.frombuffer(digests, "<u8").astype(np.uint64, copy=False)


def _digest(encoded: bytes) -> bytes:
    """Hash of an id, 8 bytes."""
    return hashlib.blake2b(encoded, digest_size=8).digest()


def _listed(ids: Iterable[str]) -> Iterable[str]:
    if isinstance(ids, str):
        raise InputError(f"ids={shown(ids)} is one string; pass a list of ids")
    return ids


def _encode(doc_id: object) -> bytes:
    if not isinstance(doc_id, str):
        raise InputError(f"doc id {shown(doc_id)} is {type(doc_id).__name__}; pass strings")
    # half a surrogate pair has no UTF-8: no document has such an id, and a caller may ask for it
    return doc_id.encode("utf-8", "surrogatepass")


def _checked(doc_id: object, doc: int) -> bytes:
    if doc_id == "":
        raise InputError(f"doc_ids[{doc}] is empty; give every document an id")
    try:
        encoded = _encode(doc_id)
        encoded.decode()
    except InputError as error:
        raise InputError(f"doc_ids[{doc}]: {error}") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"doc_ids[{doc}] is {shown(doc_id)}; it has half a surrogate pair, which UTF-8 cannot "
            "hold: correct it"
        ) from error
    return encoded


def _expect(name: str, array: npt.NDArray[np.generic], dtype: npt.DTypeLike, n_rows: int) -> None:
    if array.dtype != dtype or array.shape != (n_rows,):
        raise ValueError(
            f"{name} has shape {array.shape} and dtype {array.dtype}, not ({n_rows},) "
            f"and {np.dtype(dtype)}"
        )
