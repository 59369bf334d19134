"""Changing an index: new segments, tombstones, and merging; each change is one new manifest.

A change that fails or is killed leaves the index as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from colmodern.codecs.codec import Codec, Encoded
from colmodern.errors import InputError, StorageError
from colmodern.files import staging
from colmodern.index.plaid import tombstones
from colmodern.index.plaid.manifest import (
    DeletionRecord,
    Manifest,
    SegmentRecord,
    commit,
    read_manifest,
)
from colmodern.index.plaid.segment import Segment, record_segment, segment_name
from colmodern.index.plaid.source import Embeddings, lengths_of
from colmodern.index.plaid.storage import Opened, open_index, remove_leftovers
from colmodern.index.plaid.verify import verify_segments
from colmodern.index.plaid.write_segment import Piece, encode_pieces, write_segment
from colmodern.progress import Progress
from colmodern.ragged.embeddings import offsets_of
from colmodern.threads import Threads
from colmodern.writer_lock import writer_lock

_PIECE_TOKENS = 1 << 16


def add(
    opened: Opened,
    codec: Codec,
    embeddings: Embeddings,
    doc_ids: Sequence[str],
    threads: Threads,
    *,
    replace: bool,
    progress: Progress,
) -> Opened:
    """Compress documents into a new segment; with ``replace``, delete older ones of the same ids.

    Raises InputError for an id that is in the index already (without ``replace``) or repeats.
    """
    with writer_lock(opened.folder):
        opened = _latest(opened)
        old = _alive(opened, doc_ids)
        if not replace and np.any(old >= 0):
            known = doc_ids[int(np.argmax(old >= 0))]
            raise InputError(f"doc_ids has {known!r}, which the index has already; use update")
        if embeddings.n_docs == 0:
            return opened
        manifest = opened.manifest
        pieces = encode_pieces(embeddings, codec, _PIECE_TOKENS, threads)
        lengths = lengths_of(embeddings)
        record = _new_segment(opened.folder, manifest, pieces, doc_ids, lengths, codec, progress)
        gone, deletions = np.unique(old[old >= 0]), manifest.deletions
        if len(gone):
            deletions = tombstones.record_deleted(opened.folder, manifest, gone)
        after = _next(manifest, (*manifest.segments, record), deletions)
        return _commit(opened, after)


def delete(opened: Opened, doc_ids: Iterable[str]) -> tuple[Opened, int]:
    """Delete documents by id, whatever the size of the index.

    Raises InputError, and deletes none, when an id is not in the index.
    """
    if isinstance(doc_ids, str):
        raise InputError(f"doc_ids={doc_ids!r} is one text; pass a list of ids")
    ids = list(doc_ids)
    with writer_lock(opened.folder):
        opened = _latest(opened)
        rows = _alive(opened, ids)
        if np.any(rows < 0):
            unknown = ids[int(np.argmax(rows < 0))]
            raise InputError(f"doc_ids has {unknown!r}, which is not in the index; leave it out")
        rows = np.unique(rows)
        tombstones.delete(opened.folder, opened.manifest, rows)
        return open_index(opened.folder, opened.segments), len(rows)


def compact(opened: Opened, codec: Codec, progress: Progress) -> Opened:
    """Merge segments and leave deleted documents out; tokens are copied as they are."""
    with writer_lock(opened.folder):
        opened = _latest(opened)
        manifest = opened.manifest
        if len(manifest.segments) < 2 and not manifest.deletions:
            return opened
        verify_segments(opened.folder, opened.segments)
        kept = _kept(opened)
        ids = [doc_id for segment, rows in kept for doc_id in segment.ids.get(rows)]
        if not ids:
            return _commit(opened, _next(manifest, (), ()))
        lengths = np.concatenate([segment.lengths[rows] for segment, rows in kept])
        record = _new_segment(opened.folder, manifest, _copies(kept), ids, lengths, codec, progress)
        return _commit(opened, _next(manifest, (record,), ()))


def _next(
    manifest: Manifest, segments: tuple[SegmentRecord, ...], deletions: tuple[DeletionRecord, ...]
) -> Manifest:
    return manifest.model_copy(
        update={
            "segments": segments,
            "deletions": deletions,
            "next_segment": manifest.next_segment + 1,
        }
    )


def _commit(opened: Opened, after: Manifest) -> Opened:
    commit(opened.folder, after)
    remove_leftovers(opened.folder, after)
    return open_index(opened.folder, opened.segments)


def _latest(opened: Opened) -> Opened:
    """What the folder holds now, as its only writer, without what killed writers left.

    Raises StorageError when the index was built anew: its codec, and all else, is another.
    """
    manifest = read_manifest(opened.folder)
    if manifest.codec != opened.manifest.codec:
        raise StorageError(
            f"{opened.folder} was built anew since it was loaded; load it again, then change it"
        )
    remove_leftovers(opened.folder, manifest)
    if manifest == opened.manifest:
        return opened
    return open_index(opened.folder, opened.segments)


def _alive(opened: Opened, doc_ids: Sequence[str]) -> npt.NDArray[np.int64]:
    """(n,) doc_index of each id, -1 where there is none or it is deleted."""
    found = np.full(len(doc_ids), -1, np.int64)
    base = 0
    for segment in opened.segments:
        rows = segment.ids.rows_of(doc_ids)
        here = rows >= 0
        here[here] = ~np.isin(rows[here] + base, opened.deleted)
        found[here] = rows[here] + base
        base += segment.n_docs
    return found


def _kept(opened: Opened) -> list[tuple[Segment, npt.NDArray[np.int64]]]:
    """Each segment with its rows that are not deleted."""
    kept, base = [], 0
    for segment in opened.segments:
        rows = np.arange(segment.n_docs)
        kept.append((segment, rows[~np.isin(rows + base, opened.deleted)]))
        base += segment.n_docs
    return kept


def _copies(kept: list[tuple[Segment, npt.NDArray[np.int64]]]) -> Iterator[Piece]:
    """Compressed tokens of documents that stay, some documents at a time."""
    for segment, rows in kept:
        lengths = segment.lengths[rows]
        ends = np.cumsum(lengths)
        start = 0
        while start < len(rows):
            before = ends[start] - lengths[start]
            stop = int(np.searchsorted(ends, before + _PIECE_TOKENS, side="right"))
            some = slice(start, max(stop, start + 1))
            yield Piece(lengths[some], _tokens_of(segment, rows[some], lengths[some]))
            start = some.stop


def _tokens_of(
    segment: Segment, rows: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
) -> Encoded:
    firsts = segment.arrays.doc_offsets[rows] - offsets_of(lengths)[:-1]
    tokens = np.arange(lengths.sum()) + np.repeat(firsts, lengths)
    return Encoded(
        segment.arrays.codes[tokens],
        segment.arrays.gains[tokens],
        segment.arrays.residuals[tokens],
        segment.arrays.doc_gains[rows],
        segment.arrays.doc_vectors[rows],
    )


def _new_segment(
    folder: Path,
    manifest: Manifest,
    pieces: Iterator[Piece],
    doc_ids: Sequence[str],
    lengths: npt.NDArray[np.int64],
    codec: Codec,
    progress: Progress,
) -> SegmentRecord:
    name = segment_name(manifest.next_segment)
    with staging(folder / name) as staged:
        write_segment(staged, pieces, doc_ids, lengths, codec, progress)
        return record_segment(staged, name, n_docs=len(lengths), n_tokens=int(lengths.sum()))
