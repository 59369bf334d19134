"""Changes of an index: new segments, tombstones and merges; each is one new manifest.

A change that fails or is killed leaves the index as it was. Everything that can fail comes before
the new manifest, so that the object that made a change sees it as soon as others can.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

import numpy as np
import numpy.typing as npt

from colmodern.arguments import expect_flags
from colmodern.checks import shown
from colmodern.codecs.codec import Codec
from colmodern.disk import durability, mark, sync_tree
from colmodern.errors import ColmodernError, InputError, StorageError
from colmodern.files import is_full, naming_write_errors, staging
from colmodern.index.fields.table import FieldTable
from colmodern.index.inputs import Embeddings
from colmodern.index.plaid.disk import tombstones
from colmodern.index.plaid.disk.doc_ids import expect_ids, hashes_of
from colmodern.index.plaid.disk.manifest import (
    UNSYNCED,
    DeletionRecord,
    commit,
    read_manifest,
)
from colmodern.index.plaid.disk.segment import open_segment, record_segment, segment_name
from colmodern.index.plaid.disk.storage import IndexSnapshot, open_index, remove_leftovers
from colmodern.index.plaid.disk.verify import verify_segments
from colmodern.index.plaid.write import merge
from colmodern.index.plaid.write.fields import fields_of_live, with_fields, write_fields
from colmodern.index.plaid.write.segment import encode_chunks, write_segment
from colmodern.index.plaid.write.spans import spans_of_live, spans_of_source, write_spans
from colmodern.index.plaid.write.tiers import first_merged
from colmodern.progress import Progress
from colmodern.ragged.doc_ids import id_list
from colmodern.ragged.offsets import offsets_of
from colmodern.ragged.spans import TokenSpans
from colmodern.threads import Threads
from colmodern.writer_lock import writer_lock

OnChange = Callable[[IndexSnapshot], None]  # called with the snapshot that a change made

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChangeOptions:
    """How a change is made.

    is_merging: whether small segments are merged with what is added
    is_durable: whether the change waits until a power cut can no longer undo it
    """

    is_merging: bool = True
    is_durable: bool = True


def change_options(durable: object, *, merge: object = True) -> ChangeOptions:
    """Options from a caller's flags; raises InputError for what is neither True nor False."""
    expect_flags(merge=merge, durable=durable)
    return ChangeOptions(bool(merge), bool(durable))


def add(
    snapshot: IndexSnapshot,
    codec: Codec,
    embeddings: Embeddings,
    doc_ids: Sequence[str],
    fields: FieldTable,
    threads: Threads,
    on_change: OnChange,
    *,
    replaces: bool,
    also_deleted: Sequence[str] = (),
    options: ChangeOptions,
    progress: Progress,
) -> None:
    """Compress documents into a new segment; with ``replaces``, delete older ones of the same ids.

    also_deleted: ids of other documents, which the same change deletes

    Raises InputError for an id that is in the index already (without ``replaces``) or repeats, and
    for one to be deleted that is not there.
    """
    with changing(snapshot, on_change, options) as before:
        old = doc_index_of(before, doc_ids)
        if not replaces and np.any(old >= 0):
            known = doc_ids[int(np.argmax(old >= 0))]
            raise InputError(
                f"document {shown(known)} is in the index already; use update(), or in the shell "
                "`colmodern index update`"
            )
        if embeddings.n_docs == 0:
            on_change(_without(before, also_deleted) if also_deleted else before)
            return
        old = np.concatenate([old, _known_documents(before, also_deleted)])
        expect_ids(doc_ids)  # before they stand behind those of other segments
        new_documents = _NewDocuments(embeddings, doc_ids, embeddings.lengths, fields, threads)
        deleted = np.union1d(before.deleted, old[old >= 0])
        n_segments = len(before.segments)
        first = n_segments
        if options.is_merging:
            sizes = [segment.n_docs + segment.n_tokens for segment in before.segments]
            first = first_merged(sizes, embeddings.n_docs + int(new_documents.lengths.sum()))
        try:
            after = _merged(before, codec, first, deleted, progress, new_documents)
        except StorageError as error:
            if first == n_segments or not is_full(error):
                raise
            _log.warning("the disk has no room to merge segments of %s", before.folder)
            after = _merged(before, codec, n_segments, deleted, progress, new_documents)
        commit_change(after, on_change)


def delete(
    snapshot: IndexSnapshot, doc_ids: Iterable[str], on_change: OnChange, *, options: ChangeOptions
) -> int:
    """Delete documents by id, whatever the size of the index; returns how many.

    Raises InputError, and deletes none, when an id is not in the index.
    """
    ids = id_list("doc_ids", doc_ids, is_ordered=False)
    with changing(snapshot, on_change, options) as before:
        after = _without(before, ids)
        on_change(after)
        return len(after.deleted) - len(before.deleted)


def _without(before: IndexSnapshot, ids: Sequence[str]) -> IndexSnapshot:
    """The index with these documents marked as deleted, on disk too."""
    doc_index = np.unique(_known_documents(before, ids))
    manifest = tombstones.delete(before.folder, before.manifest, doc_index, before.deleted)
    return replace(before, manifest=manifest, deleted=np.union1d(before.deleted, doc_index))


def compact(
    snapshot: IndexSnapshot,
    codec: Codec,
    on_change: OnChange,
    *,
    options: ChangeOptions,
    progress: Progress,
) -> None:
    """Merge segments and leave deleted documents out; tokens are copied as they are."""
    with changing(snapshot, on_change, options) as before:
        if len(before.segments) < 2 and not before.manifest.deletions:
            on_change(before)
            return
        commit_change(_merged(before, codec, 0, before.deleted, progress), on_change)


@contextmanager
def changing(
    snapshot: IndexSnapshot, on_change: OnChange, options: ChangeOptions
) -> Iterator[IndexSnapshot]:
    """Lock the folder and yield the snapshot that it holds now.

    Raises StorageError when the index was built anew: its codec, and all else, is another.
    """
    folder = snapshot.folder
    with naming_write_errors(folder), writer_lock(folder), durability(options.is_durable):
        manifest = read_manifest(folder)
        if manifest.codec != snapshot.manifest.codec:
            raise StorageError(
                f"{folder} was built again since it was loaded; load it again, then change it"
            )
        with naming_write_errors(folder):
            remove_leftovers(folder, manifest)  # what killed writers left
            _settle(snapshot, options)
        before = snapshot
        if manifest != snapshot.manifest:
            before = open_index(folder, snapshot.segments)
        try:
            yield before
        except BaseException:
            with suppress(ColmodernError, OSError):
                latest = read_manifest(folder)
                if latest == manifest:
                    remove_leftovers(folder, manifest)
                else:  # no other writes: the change is made, and what failed came after it
                    on_change(open_index(folder, snapshot.segments))
            raise


def _settle(snapshot: IndexSnapshot, options: ChangeOptions) -> None:
    """Sync what earlier changes did not wait for, or note that this change does not wait either."""
    note = snapshot.folder / UNSYNCED
    if not options.is_durable:
        with naming_write_errors(note):
            mark(note)
    elif os.path.lexists(note):
        with naming_write_errors(note):
            sync_tree(snapshot.folder)
            note.unlink()


def _known_documents(snapshot: IndexSnapshot, doc_ids: Sequence[str]) -> npt.NDArray[np.int64]:
    """(n,) doc_index of documents; raises InputError for one that is not in the index."""
    doc_index = doc_index_of(snapshot, doc_ids)
    if np.any(doc_index < 0):
        unknown = doc_ids[int(np.argmax(doc_index < 0))]
        raise InputError(f"document {shown(unknown)} is not in the index; leave its id out")
    return doc_index


def doc_index_of(snapshot: IndexSnapshot, doc_ids: Sequence[str]) -> npt.NDArray[np.int64]:
    """(n,) doc_index of each id, -1 where there is none or it is deleted."""
    doc_index = np.full(len(doc_ids), -1, np.int64)
    hashes = hashes_of(doc_ids)
    base = 0
    for segment in snapshot.segments:
        if segment.n_docs == 0:
            continue
        # most ids are in one segment or in none; in the others only hashes are compared
        positions = np.searchsorted(segment.ids.hashes, hashes)
        positions[positions == segment.n_docs] = 0
        likely = np.flatnonzero(segment.ids.hashes[positions] == hashes)
        if len(likely):
            candidates = segment.ids.docs_of([doc_ids[i] for i in likely.tolist()]) + base
            is_here = (candidates >= base) & ~np.isin(candidates, snapshot.deleted)
            doc_index[likely[is_here]] = candidates[is_here]
        base += segment.n_docs
    return doc_index


@dataclass(frozen=True)
class _NewDocuments:
    """Documents to add, and the threads that compress them."""

    embeddings: Embeddings
    doc_ids: Sequence[str]
    lengths: npt.NDArray[np.int64]
    fields: FieldTable
    threads: Threads


def _merged(
    before: IndexSnapshot,
    codec: Codec,
    first: int,
    deleted: npt.NDArray[np.int64],
    progress: Progress,
    new_documents: _NewDocuments | None = None,
) -> IndexSnapshot:
    """The index with one new segment in place of those from ``first`` on, not committed yet.

    deleted: (n,) int64 doc_index, ascending; the new segment has none of them. When segments are
    merged, earlier ones without live documents are left out.
    """
    folder, manifest = before.folder, before.manifest
    live = merge.live_documents(before.segments, deleted)
    verify_segments(folder, before.segments[first:])
    ids, lengths = merge.ids_of(live[first:]), merge.lengths_of(live[first:])
    chunks = merge.copied_chunks(live[first:])
    if new_documents is not None:
        ids = [*ids, *new_documents.doc_ids]
        lengths = np.concatenate([lengths, new_documents.lengths])
        new_chunks = encode_chunks(
            new_documents.embeddings, codec, merge.CHUNK_TOKENS, new_documents.threads
        )
        chunks = chain(chunks, new_chunks)
    new_fields = None if new_documents is None else new_documents.fields
    table = fields_of_live(folder, live[first:], new_fields)
    staying = [i for i in range(first) if len(live[i].docs) or first == len(live)]
    records = [manifest.segments[i] for i in staying]
    segments = [before.segments[i] for i in staying]
    deletions, deleted = _deletions(before, staying, deleted)
    if ids:
        name = segment_name(manifest.next_segment)
        with staging(folder / name) as staged:
            write_segment(staged, chunks, ids, lengths, codec, progress)
            if manifest.has_spans:
                write_spans(staged, partial(_spans_of, live[first:], new_documents))
            write_fields(staged, table)
            record = record_segment(staged, name, n_docs=len(lengths), n_tokens=int(lengths.sum()))
        records.append(record)
        segments.append(open_segment(folder, record, n_centroids=manifest.n_centroids))
    fields = {
        "segments": tuple(records),
        "deletions": deletions,
        "next_segment": manifest.next_segment + 1,
        "fields": with_fields(manifest.fields, table),
    }
    after = manifest.model_copy(update=fields)
    return replace(before, manifest=after, segments=segments, deleted=deleted)


def _spans_of(
    live: Sequence[merge.LiveDocuments], new_documents: _NewDocuments | None
) -> Iterator[TokenSpans]:
    """The spans of documents that are copied, then those of new ones."""
    yield from spans_of_live(live)
    if new_documents is not None:
        yield from spans_of_source(new_documents.embeddings)


def _deletions(
    before: IndexSnapshot, staying: Sequence[int], deleted: npt.NDArray[np.int64]
) -> tuple[tuple[DeletionRecord, ...], npt.NDArray[np.int64]]:
    """Deletions in segments that stay: their files, and doc_index values in the new index."""
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


def commit_change(after: IndexSnapshot, on_change: OnChange) -> None:
    """Make ``after`` the state of its folder, and remove what only the state before it had."""
    commit(after.folder, after.manifest)
    on_change(after)
    with suppress(OSError):  # what stays now, the next writer removes
        remove_leftovers(after.folder, after.manifest)
