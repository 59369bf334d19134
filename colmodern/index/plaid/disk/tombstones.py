"""Deleted documents: small files of doc_index values, so that a deletion rewrites nothing."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from colmodern.errors import InputError, StorageError
from colmodern.files import read_error, replacing, sha256_of_file
from colmodern.index.plaid.disk.manifest import CURE, DeletionRecord, Manifest, commit
from colmodern.ragged.arrays import write_array
from colmodern.ragged.mapped import expect_checksum, map_file

MOST_FILES = 64  # files of deletions; one more, and they become one


def delete(
    folder: Path,
    manifest: Manifest,
    doc_index: npt.ArrayLike,
    known: npt.NDArray[np.int64] | None = None,
) -> Manifest:
    """Delete documents and commit; returns the manifest that now holds.

    doc_index: (n,) integers, in any order; deleting one twice is no fault. None: no commit
    known: (n_deleted,) int64 ascending, what ``read_deleted`` gives, if it was read already

    Only for the holder of the writer lock. Raises InputError for a doc_index that no document
    has, StorageError when the folder cannot be written; then nothing is deleted.
    """
    deleted = np.unique(np.asarray(doc_index, dtype=np.int64))
    if len(deleted) == 0:
        return manifest
    if deleted[0] < 0 or deleted[-1] >= manifest.n_docs:
        wrong = deleted[0] if deleted[0] < 0 else deleted[-1]
        raise InputError(
            f"doc_index {wrong} is not in the index; pass values from 0 to {manifest.n_docs - 1}"
        )
    known = read_deleted(folder, manifest) if known is None else known
    deletions = record_deleted(folder, manifest, deleted, known)
    after = manifest.model_copy(update={"deletions": deletions})
    commit(folder, after)
    for record in manifest.deletions:
        if record not in deletions:
            with suppress(OSError):  # what stays now, the next writer removes
                (folder / record.name).unlink(missing_ok=True)
    return after


def record_deleted(
    folder: Path,
    manifest: Manifest,
    deleted: npt.NDArray[np.int64],
    known: npt.NDArray[np.int64],
    *,
    end: int | None = None,
) -> tuple[DeletionRecord, ...]:
    """Write deletions for a later manifest to name, with those of ``manifest``; few files stay few.

    deleted: (n,) int64 ascending, all below ``end``
    known: (n_deleted,) int64 ascending, those of ``manifest``
    end: the later manifest has none from there on; only files that have are written anew
    """
    staying, changed = list(manifest.deletions), [deleted]
    if end is not None and len(known) and known[-1] >= end:
        staying = []
        for record in manifest.deletions:
            doc_index = _verified_doc_index(folder, record)
            if len(doc_index) == 0 or doc_index[-1] < end:
                staying.append(record)
            else:
                changed.append(doc_index[doc_index < end])
        known = known[known < end]
    merged = np.unique(np.concatenate(changed))
    if len(merged) == 0:
        return tuple(staying)
    if len(staying) < MOST_FILES:
        return (*staying, write_deleted(folder, manifest, merged))
    return rewrite_deleted(folder, manifest, np.union1d(known, merged))


def rewrite_deleted(
    folder: Path, manifest: Manifest, deleted: npt.NDArray[np.int64]
) -> tuple[DeletionRecord, ...]:
    """Write all deletions of a later manifest into one file; deleted: (n,) int64 ascending."""
    return (write_deleted(folder, manifest, deleted),) if len(deleted) else ()


def write_deleted(
    folder: Path, manifest: Manifest, deleted: npt.NDArray[np.int64]
) -> DeletionRecord:
    """Write one more file, for a later manifest to name; deleted: (n,) int64 ascending."""
    numbers = [int(record.name[len("deleted-") : -len(".npy")]) for record in manifest.deletions]
    path = folder / f"deleted-{max(numbers, default=-1) + 1:05d}.npy"
    with replacing(path) as temporary:
        write_array(temporary, deleted)
    return DeletionRecord(name=path.name, sha256=sha256_of_file(path), n=len(deleted))


def read_deleted(folder: Path, manifest: Manifest) -> npt.NDArray[np.int64]:
    """(n_deleted,) int64 doc_index of all files of the manifest, ascending.

    Raises StorageError when a file is missing, has another size, differs from its checksum or
    names what is not there. Merged deletions are therefore as good as those they are made of.
    """
    deletions = [np.empty(0, np.int64)]
    for record in manifest.deletions:
        doc_index = _verified_doc_index(folder, record)
        if len(doc_index) and (doc_index.min() < 0 or doc_index.max() >= manifest.n_docs):
            raise StorageError(
                f"{folder / record.name} names documents that are not in the index; {CURE}"
            )
        deletions.append(doc_index)
    return np.unique(np.concatenate(deletions))


def _verified_doc_index(folder: Path, record: DeletionRecord) -> npt.NDArray[np.int64]:
    """(n,) int64 doc_index of one file, compared with its checksum."""
    path = folder / record.name
    try:
        doc_index = map_file(path)
    except (OSError, ValueError, MemoryError) as error:
        raise read_error(path, error, cure=CURE) from error
    if doc_index.dtype != np.int64 or doc_index.shape != (record.n,):
        raise StorageError(f"{path} does not hold the {record.n} deletions it should; {CURE}")
    expect_checksum(path, doc_index, sha256=record.sha256, fast=None, cure=CURE)
    return doc_index
