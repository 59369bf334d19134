"""Segments of another index with the same codec, handed in as they are: nothing is compressed again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from colmodern.arguments import checked_path
from colmodern.checks import shown
from colmodern.codecs.codec import Codec
from colmodern.errors import InputError, StorageError
from colmodern.files import naming_write_errors, read_json_object, staging
from colmodern.index.plaid.disk.doc_ids import expect_ids
from colmodern.index.plaid.disk.manifest import CURE, FORMAT, NAME, Manifest, SegmentRecord
from colmodern.index.plaid.disk.segment import Segment, open_segment, record_segment, segment_name
from colmodern.index.plaid.disk.storage import IndexSnapshot, open_index
from colmodern.index.plaid.disk.verify import verify_segments
from colmodern.index.plaid.search.queries import expect_encoder
from colmodern.index.plaid.write import merge
from colmodern.index.plaid.write.fields import fields_of_live, with_fields, write_fields
from colmodern.index.plaid.write.segment import write_segment
from colmodern.index.plaid.write.spans import spans_of_live, write_spans
from colmodern.index.plaid.write.update import (
    ChangeOptions,
    OnChange,
    changing,
    commit_change,
    doc_index_of,
)
from colmodern.progress import Progress


def open_segments(path: Path | str) -> IndexSnapshot:
    """The segments that a path names: those of an index, or one of its folders alone.

    Raises StorageError when it is neither, or damaged.
    """
    folder = Path(
        os.path.abspath(checked_path("source", path, "the path of an index or a segment"))
    )
    if _is_index(folder) or not _is_index(folder.parent):
        return open_index(folder)
    snapshot = open_index(folder.parent)
    bases = np.cumsum([0, *(segment.n_docs for segment in snapshot.segments)])
    for number, segment in enumerate(snapshot.segments):
        if segment.name == folder.name:
            start, stop = np.searchsorted(snapshot.deleted, bases[number : number + 2])
            deleted = snapshot.deleted[start:stop] - bases[number]
            return replace(snapshot, segments=[segment], deleted=deleted)
    raise StorageError(
        f"{folder} is no segment that {folder.parent / NAME} names; give one of "
        f"{', '.join(segment.name for segment in snapshot.segments) or 'another index'}"
    )


def attach(
    snapshot: IndexSnapshot,
    codec: Codec,
    source: IndexSnapshot,
    on_change: OnChange,
    *,
    options: ChangeOptions,
    progress: Progress,
) -> int:
    """Copy segments into an index, each compared with its checksums; returns how many documents.

    Documents that are deleted in the source are left out.

    Raises InputError for another codec, encoder or dim, and for an id that the index has already;
    StorageError for a damaged file. Then the index is as it was.
    """
    with changing(snapshot, on_change, options) as before:
        _expect_fit(before, source)
        live = merge.live_documents(source.segments, source.deleted)
        ids = merge.ids_of(live)
        _expect_new(before, ids)
        verify_segments(source.folder, source.segments)
        progress.start("attach", len(ids), unit="documents")
        manifest, segments = before.manifest, list(before.segments)
        for documents in live:
            if not len(documents.docs):
                continue
            name = segment_name(manifest.next_segment)
            with staging(before.folder / name) as staged:
                record = _copied(documents, source.folder, staged, name, codec, manifest, progress)
            table = fields_of_live(source.folder, [documents], None)
            manifest = manifest.model_copy(
                update={
                    "fields": with_fields(manifest.fields, table),
                    "segments": (*manifest.segments, record),
                    "next_segment": manifest.next_segment + 1,
                }
            )
            segments.append(open_segment(before.folder, record, n_centroids=manifest.n_centroids))
            progress.advance(len(documents.docs))
        progress.finish()
        after = replace(before, manifest=manifest, segments=segments)
        if manifest == before.manifest:
            on_change(before)
        else:
            commit_change(after, on_change)
        return len(ids)


def _copied(
    documents: merge.LiveDocuments,
    source: Path,
    staged: Path,
    name: str,
    codec: Codec,
    manifest: Manifest,
    progress: Progress,
) -> SegmentRecord:
    """Fill a new folder with a segment: its files as they are, or its live documents alone."""
    segment: Segment = documents.segment
    if len(documents.docs) == segment.n_docs:
        with naming_write_errors(staged):
            for file in segment.record.files:
                shutil.copyfile(source / segment.name / file, staged / file)
    else:
        lengths = merge.lengths_of([documents])
        chunks = merge.copied_chunks([documents])
        write_segment(staged, chunks, merge.ids_of([documents]), lengths, codec, progress)
        if manifest.has_spans:
            write_spans(staged, partial(spans_of_live, [documents]))
        write_fields(staged, fields_of_live(source, [documents], None))
    n_tokens = int(segment.lengths[documents.docs].sum())
    record = record_segment(staged, name, n_docs=len(documents.docs), n_tokens=n_tokens)
    if len(documents.docs) == segment.n_docs and record.files != segment.record.files:
        raise StorageError(
            f"{source / segment.name} changed while it was copied; bring it again, then attach it"
        )
    return record


def _expect_fit(before: IndexSnapshot, source: IndexSnapshot) -> None:
    """Raise InputError where a segment of ``source`` would not mean the same in the index."""
    own, its = before.manifest, source.manifest
    if source.folder == before.folder:
        raise InputError(f"source={source.folder} is the index itself; give another index")
    expect_encoder(its.fingerprint, own.fingerprint)
    if own.codec.files != its.codec.files:
        raise InputError(
            f"{source.folder} was compressed with another codec than {before.folder}; build it with "
            f"codec_from={str(before.folder)!r} (`colmodern index build --codec-from`), or add its "
            "embeddings"
        )
    if own.has_spans != its.has_spans:
        having, lacking = (
            (before.folder, source.folder) if own.has_spans else (source.folder, before.folder)
        )
        raise InputError(
            f"{having} keeps the characters of its tokens, and {lacking} does not; build both with "
            f"spans={own.has_spans}"
        )


def _expect_new(before: IndexSnapshot, ids: Sequence[str]) -> None:
    """Raise InputError for an id that is in the index."""
    expect_ids(ids)
    old: npt.NDArray[np.int64] = doc_index_of(before, ids)
    if np.any(old >= 0):
        known = ids[int(np.argmax(old >= 0))]
        raise InputError(
            f"document {shown(known)} is in the index already; delete it there, or in the index that "
            "is attached"
        )


def _is_index(folder: Path) -> bool:
    if not (folder / NAME).is_file():
        return False
    return bool(read_json_object(folder / NAME, StorageError, cure=CURE).get("format") == FORMAT)
