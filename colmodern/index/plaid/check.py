"""Reading a whole index to find what is wrong with it, if anything is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from colmodern.errors import StorageError
from colmodern.files import PIECE, sha256_of_file
from colmodern.index.plaid.doc_ids import first_repeated, hashes_of
from colmodern.index.plaid.manifest import CURE, Manifest
from colmodern.index.plaid.segment import Segment
from colmodern.index.plaid.storage import CODEC, Opened, open_index
from colmodern.progress import Progress, Silent

_AT_ONCE = 1 << 22  # entries of an array, or documents; bounds the memory of checking
_MOST_DOCS = 1 << 16  # of a block: a row within it is a uint16


def check_index(folder: Path, progress: Progress | None = None) -> None:
    """Compare every file with its checksum, then what the arrays say with one another.

    Raises StorageError that names the first file with a fault and what to do.
    """
    progress = progress or Silent()
    opened = open_index(folder)
    _check_sums(folder, opened.manifest, progress)
    progress.start("check index", opened.manifest.n_docs, unit="documents")
    hashes = []
    for segment in opened.segments:
        path = folder / segment.name
        _check_tokens(path, segment, opened.manifest.n_centroids)
        _check_lists(path, segment)
        hashes.append(_check_ids(path, segment))
        progress.advance(segment.n_docs)
    _check_unique(opened, hashes)
    progress.finish()


def _check_sums(folder: Path, manifest: Manifest, progress: Progress) -> None:
    expected = {folder / CODEC / name: digest for name, digest in manifest.codec.files.items()}
    for segment in manifest.segments:
        expected |= {folder / segment.name / name: sum_ for name, sum_ in segment.files.items()}
    expected |= {folder / record.name: record.sha256 for record in manifest.deletions}
    missing = [path for path in expected if not path.is_file()]
    if missing:
        raise StorageError(f"{missing[0]} is missing; {CURE}")
    n_pieces = sum(-(-path.stat().st_size // PIECE) for path in expected)
    progress.start("check files", n_pieces, unit="MiB")
    for path, digest in expected.items():
        if sha256_of_file(path, on_piece=lambda: progress.advance(1)) != digest:
            raise StorageError(f"{path} differs from its checksum; {CURE}")
    progress.finish()


def _check_tokens(path: Path, segment: Segment, n_centroids: int) -> None:
    _expect(segment.arrays.doc_offsets[0] == 0, path / "doc_offsets.npy", "does not begin with 0")
    _expect(_rises(segment.arrays.doc_offsets), path / "doc_offsets.npy", "falls")
    for codes in _pieces(segment.arrays.codes):
        if codes.max() >= n_centroids:
            raise StorageError(
                f"{path / 'codes.npy'} names centroid {codes.max()} of {n_centroids}; {CURE}"
            )


def _check_lists(path: Path, segment: Segment) -> None:
    docs, starts = np.array(segment.arrays.block_docs), np.array(segment.arrays.block_starts)
    sizes = np.diff(docs)
    blocks_fit = docs[0] == 0 and bool(np.all((sizes >= 0) & (sizes <= _MOST_DOCS)))
    _expect(blocks_fit, path / "block_docs.npy", "falls, or has a block that is too large")
    starts_rise = starts[0] == 0 and bool(np.all(np.diff(starts) >= 0))
    _expect(starts_rise, path / "block_starts.npy", "does not rise from 0")
    for block, n_docs in enumerate(sizes.tolist()):
        start, stop = starts[block], starts[block + 1]
        offsets = segment.arrays.list_offsets[block].astype(np.int64)
        offsets_fit = offsets[0] == 0 and offsets[-1] == stop - start and _rises(offsets)
        _expect(offsets_fit, path / "list_offsets.npy", f"does not fit list_docs in block {block}")
        rows = segment.arrays.list_docs[start:stop]
        in_block = len(rows) == 0 or int(rows.max()) < n_docs
        _expect(in_block, path / "list_docs.npy", f"names rows outside of block {block}")
        # a row may be at most its predecessor only where a list begins
        falls = np.flatnonzero(rows[1:] <= rows[:-1]) + 1
        in_order = bool(np.isin(falls, offsets).all())
        _expect(in_order, path / "list_docs.npy", f"has a list out of order in block {block}")


def _check_ids(path: Path, segment: Segment) -> npt.NDArray[np.uint64]:
    """(n_docs,) the hashes of the ids, in row order."""
    ids = segment.ids
    offsets_fit = ids.offsets[0] == 0 and _rises(ids.offsets, strictly=True)
    _expect(offsets_fit, path / "id_offsets.npy", "has ids that are empty or overlap")
    try:
        hashes = hashes_of(ids)
    except UnicodeDecodeError as error:
        raise StorageError(f"{path / 'ids.bin'} is not UTF-8 ({error}); {CURE}") from error
    order = np.argsort(hashes, kind="stable")
    _expect(np.array_equal(ids.hashes, hashes[order]), path / "id_hashes.npy", "is not of its ids")
    _expect(np.array_equal(ids.rows, order), path / "id_rows.npy", "does not fit its hashes")
    if (repeated := first_repeated(ids.hashes, order, ids.__getitem__)) is not None:
        raise StorageError(f"{path / 'ids.bin'} has {ids[repeated[0]]!r} twice; {CURE}")
    return hashes


def _check_unique(opened: Opened, hashes: list[npt.NDArray[np.uint64]]) -> None:
    """No two documents that can be found share an id; a deleted one may have a successor."""
    bases = np.cumsum([0, *(segment.n_docs for segment in opened.segments)])
    every = np.concatenate([np.empty(0, np.uint64), *hashes])
    alive = np.delete(np.arange(len(every)), opened.deleted)
    order = alive[np.argsort(every[alive], kind="stable")]

    def id_of(doc_index: int) -> str:
        place = int(np.searchsorted(bases, doc_index, side="right")) - 1
        return opened.segments[place].ids[doc_index - int(bases[place])]

    if (repeated := first_repeated(every[order], order, id_of)) is not None:
        raise StorageError(
            f"{opened.folder} has two documents with the id {id_of(repeated[0])!r}, doc_index "
            f"{repeated[0]} and {repeated[1]}; {CURE}"
        )


def _expect(is_right: bool, path: Path, fault: str) -> None:
    if not is_right:
        raise StorageError(f"{path} {fault}; {CURE}")


def _rises(array: npt.NDArray[Any], *, strictly: bool = False) -> bool:
    """Whether no entry (strictly: nor its equal) comes after a larger one."""
    for start in range(0, len(array), _AT_ONCE):
        steps = np.diff(array[start : start + _AT_ONCE + 1])
        if np.any(steps <= 0 if strictly else steps < 0):
            return False
    return True


def _pieces(array: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    return (array[start : start + _AT_ONCE] for start in range(0, len(array), _AT_ONCE))
