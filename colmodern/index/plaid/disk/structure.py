"""Checks of a segment's arrays that keep kernels inside of them, whatever else the arrays hold."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from colmodern.errors import StorageError
from colmodern.index.plaid.disk.doc_ids import DocIds
from colmodern.index.plaid.disk.manifest import CURE

if TYPE_CHECKING:
    from colmodern.index.plaid.disk.segment import Segment
    from colmodern.kernels.types import SegmentArrays

_CHUNK = 1 << 22  # entries of an array that are checked at a time; bounds the memory
_MOST_DOCS = 1 << 16  # documents of a block: their numbers in it are uint16


def expect_offsets(path: Path, arrays: SegmentArrays) -> None:
    """Offsets begin with 0 and rise, and blocks fit; raises StorageError that names the file.

    Args:
        path: The segment's folder.
        arrays: Arrays of the right shapes, whose last offsets are right.
    """
    expect(arrays.doc_offsets[0] == 0, path / "doc_offsets.npy", "does not begin with 0")
    expect(rises(arrays.doc_offsets), path / "doc_offsets.npy", "falls")
    docs, starts = np.array(arrays.block_docs), np.array(arrays.block_starts)
    blocks_fit = docs[0] == 0 and rises(docs) and bool(np.all(np.diff(docs) <= _MOST_DOCS))
    expect(blocks_fit, path / "block_docs.npy", "falls, or has a block that is too large")
    starts_rise = starts[0] == 0 and rises(starts)
    expect(starts_rise, path / "block_starts.npy", "does not rise from 0")
    for block, offsets in enumerate(arrays.list_offsets):
        size = int(starts[block + 1]) - int(starts[block])
        fits = offsets[0] == 0 and int(offsets[-1]) == size and rises(offsets)
        expect(fits, path / "list_offsets.npy", f"does not fit list_docs in block {block}")


def expect_ids(path: Path, ids: DocIds) -> None:
    """Ids are separate UTF-8 texts, with rising hashes that belong to documents of the segment.

    Args:
        path: The segment's folder.
        ids: Ids whose files have the right shapes.

    Raises:
        StorageError: They are not; names the file.
    """
    offsets_fit = ids.offsets[0] == 0 and rises(ids.offsets, strictly=True)
    expect(offsets_fit, path / "id_offsets.npy", "has ids that are empty or overlap")
    expect(rises(ids.hashes), path / "id_hashes.npy", "falls")
    in_range = len(ids.docs) == 0 or bool(ids.docs.min() >= 0 and ids.docs.max() < len(ids.docs))
    expect(in_range, path / "id_rows.npy", "names documents outside of the segment")
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for chunk in chunks(ids.text):
            decoder.decode(chunk.tobytes())
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise StorageError(f"{path / 'ids.bin'} is not UTF-8 ({error}); {CURE}") from error
    # bytes inside a character begin with the bits 10
    is_whole = bool(np.all(ids.text[ids.offsets[:-1]] & 0xC0 != 0x80)) if len(ids) else True
    expect(is_whole, path / "id_offsets.npy", "cuts a character of ids.bin")


def expect_codes(path: Path, codes: npt.NDArray[np.generic], n_centroids: int) -> None:
    """Every code is the number of a centroid; raises StorageError.

    Args:
        path: The segment's folder.
        codes: (n,) codes of the segment, all or a run of them.
        n_centroids: Number of centroids of the index.
    """
    for chunk in chunks(codes):
        if (largest := int(chunk.max())) >= n_centroids:
            raise StorageError(
                f"{path / 'codes.npy'} names centroid {largest} of {n_centroids}; {CURE}"
            )


def expect_list_docs(path: Path, segment: Segment) -> None:
    """Every document in a list is one of its block; raises StorageError.

    Args:
        path: The segment's folder.
        segment: A segment whose offsets are right.
    """
    sizes = np.diff(segment.arrays.block_docs).tolist()
    starts = segment.arrays.block_starts.tolist()
    for block, n_docs in enumerate(sizes):
        docs = segment.arrays.list_docs[starts[block] : starts[block + 1]]
        in_block = len(docs) == 0 or int(docs.max()) < n_docs
        expect(in_block, path / "list_docs.npy", f"names documents outside of block {block}")


def expect(is_right: bool, path: Path, fault: str) -> None:
    """Raise StorageError that says what is wrong with a file, unless it is right."""
    if not is_right:
        raise StorageError(f"{path} {fault}; {CURE}")


def rises(array: npt.NDArray[np.integer], *, strictly: bool = False) -> bool:
    """Whether no entry (strictly: nor its equal) comes after a larger one."""
    for start in range(0, len(array), _CHUNK):
        chunk = array[start : start + _CHUNK + 1]
        before, after = chunk[:-1], chunk[1:]
        if not np.all(before < after if strictly else before <= after):
            return False
    return True


def chunks(array: npt.NDArray[np.generic]) -> Iterator[npt.NDArray[Any]]:
    """The array in chunks of bounded size."""
    return (array[start : start + _CHUNK] for start in range(0, len(array), _CHUNK))
