"""Changing an index: new segments, tombstones, and merging; each change is one new manifest.

A change that fails or is killed leaves the index as it was. All that can fail comes before the new
manifest, so that the object that made a change sees it as soon as others can.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import numpy.typing as npt

from colmodern.arguments import expect_flags
from colmodern.checks import shown
from colmodern.codecs.codec import Codec
from colmodern.disk import durability, mark, sync_tree
from colmodern.errors import ColmodernError, InputError, StorageError
from colmodern.files import is_full, naming_write_errors, staging
from colmodern.index.plaid import merge, source, tombstones
from colmodern.index.plaid.doc_ids import expect_ids, hashes_of
from colmodern.index.plaid.manifest import (
    UNSYNCED,
    DeletionRecord,
    commit,
    read_manifest,
)
from colmodern.index.plaid.segment import open_segment, record_segment, segment_name
from colmodern.index.plaid.source import Embeddings
from colmodern.index.plaid.storage import Opened, open_index, remove_leftovers
from colmodern.index.plaid.tiers import first_merged
from colmodern.index.plaid.verify import verify_segments
from colmodern.index.plaid.write_segment import encode_pieces, write_segment
from colmodern.progress import Progress
from colmodern.ragged.doc_ids import id_list
from colmodern.ragged.embeddings import offsets_of
from colmodern.threads import Threads
from colmodern.writer_lock import writer_lock

See = Callable[[Opened], None]  # told of the state that a change made

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """How a change is made.

    is_merging: whether small segments are merged with what is added
    is_durable: whether the change waits until a power cut can no longer undo it
    """

    is_merging: bool = True
    is_durable: bool = True


def options_of(durable: object, *, merge: object = True) -> Options:
    """Of a caller's flags; raises InputError for what is neither True nor False."""
    expect_flags(merge=merge, durable=durable)
    return Options(bool(merge), bool(durable))


def add(
    opened: Opened,
    codec: Codec,
    embeddings: Embeddings,
    doc_ids: Sequence[str],
    threads: Threads,
    see: See,
    *,
    replaces: bool,
    options: Options,
    progress: Progress,
) -> None:
    """Compress documents into a new segment; with ``replaces``, delete older ones of the same ids.

    Raises InputError for an id that is in the index already (without ``replaces``) or repeats.
    """
    with _changing(opened, see, options) as before:
        old = _doc_index_of(before, doc_ids)
        if not replaces and np.any(old >= 0):
            known = doc_ids[int(np.argmax(old >= 0))]
            raise InputError(f"doc_ids has {shown(known)}, which the index has already; use update")
        if embeddings.n_docs == 0:
            see(before)
            return
        expect_ids(doc_ids)  # before they stand behind those of other segments
        added = _Added(embeddings, doc_ids, source.lengths_of(embeddings), threads)
        deleted = np.union1d(before.deleted, old[old >= 0])
        n_segments = len(before.segments)
        first = n_segments
        if options.is_merging:
            sizes = [one.n_docs + one.n_tokens for one in before.segments]
            first = first_merged(sizes, embeddings.n_docs + int(added.lengths.sum()))
        try:
            after = _merged(before, codec, first, deleted, progress, added)
        except StorageError as error:
            if first == n_segments or not is_full(error):
                raise
            _log.warning("the disk has no room to merge segments of %s", before.folder)
            after = _merged(before, codec, n_segments, deleted, progress, added)
        _commit(after, see)


def delete(opened: Opened, doc_ids: Iterable[str], see: See, *, options: Options) -> int:
    """Delete documents by id, whatever the size of the index; returns how many.

    Raises InputError, and deletes none, when an id is not in the index.
    """
    ids = id_list("doc_ids", doc_ids, is_ordered=False)
    with _changing(opened, see, options) as before:
        rows = _doc_index_of(before, ids)
        if np.any(rows < 0):
            unknown = ids[int(np.argmax(rows < 0))]
            raise InputError(
                f"doc_ids has {shown(unknown)}, which is not in the index; leave it out"
            )
        rows = np.unique(rows)
        manifest = tombstones.delete(before.folder, before.manifest, rows, before.deleted)
        see(replace(before, manifest=manifest, deleted=np.union1d(before.deleted, rows)))
        return len(rows)


def compact(
    opened: Opened, codec: Codec, see: See, *, options: Options, progress: Progress
) -> None:
    """Merge segments and leave deleted documents out; tokens are copied as they are."""
    with _changing(opened, see, options) as before:
        if len(before.segments) < 2 and not before.manifest.deletions:
            see(before)
            return
        _commit(_merged(before, codec, 0, before.deleted, progress), see)


@contextmanager
def _changing(opened: Opened, see: See, options: Options) -> Iterator[Opened]:
    """Be the only writer of what the folder holds now.

    Raises StorageError when the index was built anew: its codec, and all else, is another.
    """
    folder = opened.folder
    with naming_write_errors(folder), writer_lock(folder), durability(options.is_durable):
        manifest = read_manifest(folder)
        if manifest.codec != opened.manifest.codec:
            raise StorageError(
                f"{folder} was built anew since it was loaded; load it again, then change it"
            )
        with naming_write_errors(folder):
            remove_leftovers(folder, manifest)  # of killed writers
            _settle(opened, options)
        before = opened if manifest == opened.manifest else open_index(folder, opened.segments)
        try:
            yield before
        except BaseException:
            with suppress(ColmodernError, OSError):
                latest = read_manifest(folder)
                if latest == manifest:
                    remove_leftovers(folder, manifest)
                else:  # no other writes: the change is made, and what failed came after it
                    see(open_index(folder, opened.segments))
            raise


def _settle(opened: Opened, options: Options) -> None:
    """Wait for what earlier changes did not wait for, or note that this one does not."""
    note = opened.folder / UNSYNCED
    if not options.is_durable:
        with naming_write_errors(note):
            mark(note)
    elif os.path.lexists(note):
        with naming_write_errors(note):
            sync_tree(opened.folder)
            note.unlink()


def _doc_index_of(opened: Opened, doc_ids: Sequence[str]) -> npt.NDArray[np.int64]:
    """(n,) doc_index of each id, -1 where there is none or it is deleted."""
    found = np.full(len(doc_ids), -1, np.int64)
    hashes = hashes_of(doc_ids)
    base = 0
    for segment in opened.segments:
        if segment.n_docs == 0:
            continue
        # most ids are in one segment or none, and only their hashes are looked at in the others
        places = np.searchsorted(segment.ids.hashes, hashes)
        places[places == segment.n_docs] = 0
        likely = np.flatnonzero(segment.ids.hashes[places] == hashes)
        if len(likely):
            rows = segment.ids.rows_of([doc_ids[i] for i in likely.tolist()]) + base
            is_here = (rows >= base) & ~np.isin(rows, opened.deleted)
            found[likely[is_here]] = rows[is_here]
        base += segment.n_docs
    return found


@dataclass(frozen=True)
class _Added:
    embeddings: Embeddings
    doc_ids: Sequence[str]
    lengths: npt.NDArray[np.int64]
    threads: Threads


def _merged(
    before: Opened,
    codec: Codec,
    first: int,
    deleted: npt.NDArray[np.int64],
    progress: Progress,
    added: _Added | None = None,
) -> Opened:
    """The index with one new segment in place of those from ``first`` on, ready to be committed.

    deleted: (n,) int64 doc_index, ascending, of which the new segment has none. When segments are
    merged, earlier ones that have no other documents are left out.
    """
    folder, manifest = before.folder, before.manifest
    parts = merge.parts_of(before.segments, deleted)
    verify_segments(folder, before.segments[first:])
    ids, lengths = merge.ids_of(parts[first:]), merge.lengths_of(parts[first:])
    pieces = merge.copies(parts[first:])
    if added is not None:
        ids, lengths = [*ids, *added.doc_ids], np.concatenate([lengths, added.lengths])
        more = encode_pieces(added.embeddings, codec, merge.PIECE_TOKENS, added.threads)
        pieces = chain(pieces, more)
    staying = [i for i in range(first) if len(parts[i].rows) or first == len(parts)]
    records = [manifest.segments[i] for i in staying]
    segments = [before.segments[i] for i in staying]
    deletions, deleted = _deletions(before, staying, deleted)
    if ids:
        name = segment_name(manifest.next_segment)
        with staging(folder / name) as staged:
            write_segment(staged, pieces, ids, lengths, codec, progress)
            record = record_segment(staged, name, n_docs=len(lengths), n_tokens=int(lengths.sum()))
        records.append(record)
        segments.append(open_segment(folder, record, n_centroids=manifest.n_centroids))
    fields = {
        "segments": tuple(records),
        "deletions": deletions,
        "next_segment": manifest.next_segment + 1,
    }
    after = manifest.model_copy(update=fields)
    return replace(before, manifest=after, segments=segments, deleted=deleted)


def _deletions(
    before: Opened, staying: Sequence[int], deleted: npt.NDArray[np.int64]
) -> tuple[tuple[DeletionRecord, ...], npt.NDArray[np.int64]]:
    """The deletions in segments that stay, with their files: doc_index values as they are then."""
    bases = offsets_of([segment.n_docs for segment in before.segments])
    left, n_docs = [np.empty(0, np.int64)], 0
    for i in staying:
        start, stop = np.searchsorted(deleted, bases[i : i + 2])
        left.append(deleted[start:stop] - bases[i] + n_docs)
        n_docs += before.segments[i].n_docs
    after = np.concatenate(left)
    folder, manifest = before.folder, before.manifest
    if len(staying) and staying[-1] >= len(staying):  # others have another doc_index now
        return tombstones.rewrite_deleted(folder, manifest, after), after
    new = np.setdiff1d(after, before.deleted, assume_unique=True)
    return tombstones.record_deleted(folder, manifest, new, before.deleted, end=n_docs), after


def _commit(after: Opened, see: See) -> None:
    commit(after.folder, after.manifest)
    see(after)
    with suppress(OSError):  # what stays now, the next writer removes
        remove_leftovers(after.folder, after.manifest)
