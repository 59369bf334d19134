"""A run of documents that never changes: their codes, inverted lists and ids, mapped from disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from colmodern.codecs.codec import code_dtype
from colmodern.errors import StorageError
from colmodern.files import sha256_of_file
from colmodern.index.plaid.doc_ids import ID_FILES, DocIds
from colmodern.index.plaid.manifest import CURE, SegmentRecord
from colmodern.ragged.arrays import map_array


class SegmentArrays(NamedTuple):
    """Arrays of documents and their tokens; a row is a place among the documents.

    A block is a run of at most 65,536 documents with inverted lists of its own.

    codes: (n_tokens,) the centroid of each token, uint16, or uint32 above 65,536 centroids
    gains: (n_tokens,) uint8, length of each residual in steps of the codec
    residuals: (n_tokens, n_bytes) uint8
    doc_gains: (n_docs,) uint8 and doc_vectors: (n_docs, n_doc_bytes) uint8, lengths and directions
    doc_offsets: (n_docs + 1,) int64; document i owns tokens doc_offsets[i] to doc_offsets[i + 1]
    block_docs: (n_blocks + 1,) int64, the first row of each block
    list_offsets: (n_blocks, n_centroids + 1) uint32, into the block's part of list_docs
    block_starts: (n_blocks + 1,) int64, where each block's part of list_docs begins
    list_docs: (n_postings,) uint16, rows within the block, rising in each list
    """

    codes: npt.NDArray[np.uint16] | npt.NDArray[np.uint32]
    gains: npt.NDArray[np.uint8]
    residuals: npt.NDArray[np.uint8]
    doc_gains: npt.NDArray[np.uint8]
    doc_vectors: npt.NDArray[np.uint8]
    doc_offsets: npt.NDArray[np.int64]
    block_docs: npt.NDArray[np.int64]
    list_offsets: npt.NDArray[np.uint32]
    block_starts: npt.NDArray[np.int64]
    list_docs: npt.NDArray[np.uint16]


@dataclass(frozen=True, eq=False)
class Segment:
    """``n_docs`` documents with ``n_tokens`` tokens, and their ids."""

    name: str
    n_docs: int
    n_tokens: int
    arrays: SegmentArrays
    ids: DocIds

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """(n_docs,) tokens of each document."""
        return np.diff(self.arrays.doc_offsets)

    @property
    def n_blocks(self) -> int:
        """How many blocks of inverted lists."""
        return len(self.arrays.list_offsets)


SEGMENT_FILES = (*(f"{name}.npy" for name in SegmentArrays._fields), *ID_FILES)


def segment_name(number: int) -> str:
    """The folder of a segment."""
    return f"segment-{number:05d}"


def record_segment(folder: Path, name: str, *, n_docs: int, n_tokens: int) -> SegmentRecord:
    """What a manifest says of the finished files in ``folder``, which may still have another name.

    Reads them all, for their checksums.
    """
    files = {file: sha256_of_file(folder / file) for file in SEGMENT_FILES}
    return SegmentRecord(name=name, n_docs=n_docs, n_tokens=n_tokens, files=files)


def open_segment(folder: Path, record: SegmentRecord, *, n_centroids: int) -> Segment:
    """Map a segment of an index folder; reads headers and the last offsets, nothing else.

    Raises StorageError when a file is missing or has another size, shape or dtype than it should.
    """
    path = folder / record.name
    if lacking := set(SEGMENT_FILES) - record.files.keys():
        raise StorageError(f"the manifest names no {', '.join(sorted(lacking))} of {path}; {CURE}")
    arrays = {}
    for name in SegmentArrays._fields:
        try:
            arrays[name] = map_array(path / f"{name}.npy")
        except (OSError, ValueError) as error:
            raise StorageError(f"{path / name}.npy cannot be read ({error}); {CURE}") from error
    try:
        ids = DocIds(path)
    except (OSError, ValueError) as error:
        raise StorageError(f"{path} has ids that cannot be read ({error}); {CURE}") from error
    segment = Segment(record.name, record.n_docs, record.n_tokens, SegmentArrays(**arrays), ids)
    _expect_shapes(path, segment, n_centroids)
    _expect_ends(path, segment)
    return segment


def _expect_shapes(path: Path, segment: Segment, n_centroids: int) -> None:
    n_docs, n_tokens = segment.n_docs, segment.n_tokens
    n_blocks = segment.arrays.block_docs.size - 1
    n_bytes, n_doc_bytes = (
        array.shape[1] if array.ndim == 2 else 0
        for array in (segment.arrays.residuals, segment.arrays.doc_vectors)
    )
    expected: dict[str, tuple[npt.DTypeLike, tuple[int, ...]]] = {
        "codes": (code_dtype(n_centroids), (n_tokens,)),
        "gains": (np.uint8, (n_tokens,)),
        "residuals": (np.uint8, (n_tokens, n_bytes)),
        "doc_gains": (np.uint8, (n_docs,)),
        "doc_vectors": (np.uint8, (n_docs, n_doc_bytes)),
        "doc_offsets": (np.int64, (n_docs + 1,)),
        "block_docs": (np.int64, (n_blocks + 1,)),
        "list_offsets": (np.uint32, (n_blocks, n_centroids + 1)),
        "block_starts": (np.int64, (n_blocks + 1,)),
        "list_docs": (np.uint16, (segment.arrays.list_docs.size,)),
    }
    for name, (dtype, shape) in expected.items():
        array = getattr(segment.arrays, name)
        if array.dtype != dtype or array.shape != shape:
            raise StorageError(
                f"{path / name}.npy has shape {array.shape} and dtype {array.dtype}, not {shape} "
                f"and {np.dtype(dtype)}; {CURE}"
            )
    if len(segment.ids) != n_docs:
        raise StorageError(
            f"{path / ID_FILES[-1]} has {len(segment.ids)} ids for {n_docs} documents; {CURE}"
        )


def _expect_ends(path: Path, segment: Segment) -> None:
    """Compare the last entry of each array of offsets with what it points to the end of."""
    ends = {
        "doc_offsets": segment.n_tokens,
        "block_docs": segment.n_docs,
        "block_starts": len(segment.arrays.list_docs),
    }
    for name, end in ends.items():
        array = getattr(segment.arrays, name)
        if len(array) == 0 or array[-1] != end:
            raise StorageError(f"{path / name}.npy does not end at {end}; {CURE}")
