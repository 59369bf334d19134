"""A PLAID index on disk: segments that never change under one manifest that is replaced whole.

    INDEX/manifest.json          written last; what it does not name is not part of the index
    INDEX/codec/*.npy            how tokens are coded; owned by colmodern.codecs
    INDEX/segment-00000/         documents (see segment.py)
    INDEX/deleted-00000.npy      (n,) int64 doc_index values of deleted documents
    INDEX/.lock                  held by the one writer
    INDEX/.unsynced              there when the last change did not wait for the disk

A doc_index is a document's number in its segment plus the documents of all earlier segments.

A damaged file is never searched. Opening compares the manifest, the codec, all offsets, the ids and the
deletions with their checksums and refuses offsets that do not rise or lead out of an array. Codes, gains,
residuals, document vectors and lists are compared before the first search of a process uses them, each
segment once (verify.py), and all files of a segment again before their bytes are copied to another one.
What changes in memory or on disk after it was compared is not noticed, except by ``check``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from colmodern.disk import remove
from colmodern.errors import StorageError
from colmodern.files import read_error
from colmodern.index.plaid.disk.manifest import CURE, NAME, UNSYNCED, Manifest, read_manifest
from colmodern.index.plaid.disk.segment import Segment, open_segment
from colmodern.index.plaid.disk.tombstones import read_deleted
from colmodern.ragged.mapped import map_file
from colmodern.writer_lock import LOCK

CODEC = "codec"
_PARTS = r"(segment-\d{5,}|deleted-\d{5,}\.npy)"
_OURS = re.compile(rf"{_PARTS}|\.({_PARTS}|manifest\.json)\..+\.tmp")


@dataclass(frozen=True, eq=False)
class IndexSnapshot:
    """An index folder as one manifest describes it; later writers do not change it.

    deleted: (n_deleted,) int64 doc_index, ascending
    """

    folder: Path
    manifest: Manifest
    codec_folder: Path
    segments: list[Segment]
    deleted: npt.NDArray[np.int64]


def open_index(folder: Path, known: Iterable[Segment] = ()) -> IndexSnapshot:
    """Map every file of an index and read its offsets, ids and deletions, but no tokens.

    Args:
        folder: Folder of the index.
        known: segments that are open already, of an earlier state of this index. Those that it
            still has are used as they are, with what is known to be right of them.

    Raises:
        StorageError: when the folder is missing, foreign, unfinished or of another version, one of
            its files is missing or has another size, shape or dtype than it should, or one of those
            that are read differs from its checksum.
        ResourceError: when the machine has no room for another open file or mapping.
    """
    by_name = {segment.name: segment for segment in known}
    manifest = read_manifest(folder)
    while True:
        fault = None
        try:
            snapshot = _open(folder, manifest, by_name)
        except StorageError as error:
            fault = error
        # a writer may have removed files meanwhile, that only the manifest before it names
        latest = read_manifest(folder)
        if latest != manifest:
            manifest = latest
        elif fault is not None:
            raise fault
        else:
            return snapshot


def remove_leftovers(folder: Path, manifest: Manifest) -> None:
    """Delete what interrupted or earlier writers left: segments, deletions and temporary files.

    Only for the holder of the writer lock. Files that are not ours stay.
    """
    named = {record.name for record in manifest.segments} | {
        record.name for record in manifest.deletions
    }
    for path in sorted(folder.iterdir()):
        if path.name in named or not _OURS.fullmatch(path.name):
            continue
        with suppress(OSError):  # what stays now, the next writer removes
            remove(path)


def is_ours(name: str) -> bool:
    """Whether a file or folder of this name in an index folder is one that colmodern writes."""
    return name in {NAME, CODEC, LOCK, UNSYNCED} or bool(_OURS.fullmatch(name))


def _open(folder: Path, manifest: Manifest, known: Mapping[str, Segment]) -> IndexSnapshot:
    _expect_codec(folder / CODEC, manifest)
    segments = []
    for record in manifest.segments:
        segment = known.get(record.name)
        if segment is None or segment.record != record:
            segment = open_segment(folder, record, n_centroids=manifest.n_centroids)
        if manifest.has_spans != (segment.spans is not None):
            raise StorageError(
                f"{folder / segment.name} has other files of spans than the index; {CURE}"
            )
        segments.append(segment)
    for segment in segments:
        if segment.arrays.residuals.shape != (
            segment.n_tokens,
            segments[0].arrays.residuals.shape[1],
        ):
            raise StorageError(
                f"{folder / segment.name}/residuals.npy has rows of another width than "
                f"that of {segments[0].name}; {CURE}"
            )
    deleted = read_deleted(folder, manifest)
    return IndexSnapshot(folder, manifest, folder / CODEC, segments, deleted)


def _expect_codec(folder: Path, manifest: Manifest) -> None:
    for name in manifest.codec.files:
        try:
            map_file(folder / name)
        except (OSError, ValueError, MemoryError) as error:
            raise read_error(folder / name, error, cure=CURE) from error
