"""A complete check of an index folder, which reads every file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from colmodern.errors import StorageError
from colmodern.files import PIECE, read_error, sha256_of_file
from colmodern.index.plaid.disk.doc_ids import first_repeated, hashes_of
from colmodern.index.plaid.disk.manifest import CURE, Manifest
from colmodern.index.plaid.disk.segment import Segment
from colmodern.index.plaid.disk.storage import CODEC, IndexSnapshot, open_index
from colmodern.index.plaid.disk.structure import expect, expect_codes, expect_list_docs
from colmodern.index.plaid.disk.verify import expect_values, verified_fields, verified_spans
from colmodern.progress import Progress, as_progress


def check_index(folder: Path, progress: Progress | bool | None = None) -> None:
    """Compare every file with its checksum, then what the arrays say with one another.

    Raises StorageError that names the first file with a fault and what to do.
    """
    progress = as_progress(progress)
    snapshot = open_index(folder)
    _check_sums(folder, snapshot.manifest, progress)
    progress.start("check index", snapshot.manifest.n_docs, unit="documents")
    hashes = []
    for segment in snapshot.segments:
        path = folder / segment.name
        expect_values(folder, segment)
        if segment.spans is not None:
            verified_spans(folder, segment)
        verified_fields(folder, segment)
        expect_codes(path, segment.arrays.codes, snapshot.manifest.n_centroids)
        _check_lists(path, segment)
        hashes.append(_check_ids(path, segment))
        progress.advance(segment.n_docs)
    _check_unique(snapshot, hashes)
    progress.finish()


def _check_sums(folder: Path, manifest: Manifest, progress: Progress) -> None:
    expected = {folder / CODEC / name: digest for name, digest in manifest.codec.files.items()}
    for segment in manifest.segments:
        expected |= {folder / segment.name / name: sum_ for name, sum_ in segment.files.items()}
    expected |= {folder / record.name: record.sha256 for record in manifest.deletions}
    missing = [path for path in expected if not path.is_file()]  # none of what was opened
    if missing:
        raise StorageError(f"{missing[0]} is missing; {CURE}")
    n_pieces = sum(-(-path.stat().st_size // PIECE) for path in expected)
    progress.start("check files", n_pieces, unit="pieces")
    for path, digest in expected.items():
        try:
            is_same = sha256_of_file(path, on_piece=lambda: progress.advance(1)) == digest
        except (OSError, MemoryError) as error:
            raise read_error(path, error, cure=CURE) from error
        expect(is_same, path, "differs from its checksum")
    progress.finish()


def _check_lists(path: Path, segment: Segment) -> None:
    """Every list names documents of its block, in order."""
    expect_list_docs(path, segment)
    starts = segment.arrays.block_starts.tolist()
    for block, offsets in enumerate(segment.arrays.list_offsets):
        docs = segment.arrays.list_docs[starts[block] : starts[block + 1]]
        # only where a list begins may a document not be larger than its predecessor
        falls = np.flatnonzero(docs[1:] <= docs[:-1]) + 1
        in_order = bool(np.isin(falls, offsets).all())
        expect(in_order, path / "list_docs.npy", f"has a list out of order in block {block}")


def _check_ids(path: Path, segment: Segment) -> npt.NDArray[np.uint64]:
    """(n_docs,) hashes of the ids, in the order of the documents."""
    ids = segment.ids
    hashes = hashes_of(ids)
    order = np.argsort(hashes, kind="stable")
    expect(np.array_equal(ids.hashes, hashes[order]), path / "id_hashes.npy", "is not of its ids")
    expect(np.array_equal(ids.docs, order), path / "id_rows.npy", "does not fit its hashes")
    if (repeated := first_repeated(ids.hashes, order, ids.__getitem__)) is not None:
        raise StorageError(f"{path / 'ids.bin'} has {ids[repeated[0]]!r} twice; {CURE}")
    return hashes


def _check_unique(snapshot: IndexSnapshot, hashes: list[npt.NDArray[np.uint64]]) -> None:
    """No two documents share an id, unless one of them is deleted."""
    bases = np.cumsum([0, *(segment.n_docs for segment in snapshot.segments)])
    every = np.concatenate([np.empty(0, np.uint64), *hashes])
    alive = np.delete(np.arange(len(every)), snapshot.deleted)
    order = alive[np.argsort(every[alive], kind="stable")]

    def id_of(doc_index: int) -> str:
        number = int(np.searchsorted(bases, doc_index, side="right")) - 1
        return snapshot.segments[number].ids[doc_index - int(bases[number])]

    if (repeated := first_repeated(every[order], order, id_of)) is not None:
        raise StorageError(
            f"{snapshot.folder} has two documents with the id {id_of(repeated[0])!r}, doc_index "
            f"{repeated[0]} and {repeated[1]}; {CURE}"
        )
