"""Splits an index into shards by the hash of doc_ids: compressed tokens are copied as they are.

Work is in ``.NAME.sharding`` beside the new folder until all shards are there; one that is finished
is not made again when the same command runs again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from colmodern.arguments import checked_count, checked_path
from colmodern.codecs.codec import Codec
from colmodern.disk import make_own_folder, remove, rename
from colmodern.errors import StorageError
from colmodern.files import (
    naming_write_errors,
    read_json_object,
    sha256_of_json,
    staging,
    write_json,
)
from colmodern.index.plaid.disk.check import check_index
from colmodern.index.plaid.disk.manifest import codec_digest, commit
from colmodern.index.plaid.disk.segment import record_segment, segment_name
from colmodern.index.plaid.disk.storage import CODEC, IndexSnapshot
from colmodern.index.plaid.disk.verify import verify_segments
from colmodern.index.plaid.search.state import load_state
from colmodern.index.plaid.write import merge
from colmodern.index.plaid.write.fields import fields_of_live, write_fields
from colmodern.index.plaid.write.segment import write_segment
from colmodern.index.plaid.write.shared_codec import SharedCodec, copy_codec
from colmodern.index.plaid.write.spans import spans_of_live, write_spans
from colmodern.index.sharded.folder import (
    ShardsManifest,
    is_sharded,
    shard_name,
    work_folder,
    write_shards_manifest,
)
from colmodern.index.sharded.placement import PLACEMENT, shards_of
from colmodern.progress import Progress, as_progress
from colmodern.writer_lock import LOCK, writer_lock

_FORMAT = 1  # bump when the same index gives other bytes
_KEY, SHARDS = "sharding.json", "shards"
MOST_SHARDS = 10_000


def shard_index(
    source: Path | str,
    path: Path | str,
    n_shards: int,
    *,
    progress: Progress | bool | None = None,
) -> None:
    """Write the documents of an index as ``n_shards`` indexes with its codec.

    Args:
        source: Folder of a PLAID index, which stays as it is.
        path: The new folder.
        n_shards: Number of shards.
        progress: True for a bar on stderr.

    Raises:
        InputError: ``n_shards`` is no number from 1 to 10,000.
        StorageError: ``source`` is damaged, ``path`` exists or is being written, or the disk is full.
    """
    n_shards = checked_n_shards(n_shards)
    folder = Path(os.path.realpath(checked_path("path", path)))
    progress = as_progress(progress)
    expect_free(folder)
    state = load_state(Path(os.path.abspath(checked_path("source", source))))
    snapshot, work = state.snapshot, work_folder(folder)
    names = tuple(map(shard_name, range(n_shards)))
    with naming_write_errors(work):
        make_own_folder(work)
    with naming_write_errors(work), writer_lock(work):
        expect_free(folder)
        shards = work / SHARDS
        key = sha256_of_json([_FORMAT, PLACEMENT, n_shards, snapshot.manifest.model_dump()])
        begin(work, key, progress)
        verify_segments(snapshot.folder, snapshot.segments)
        owners = [shards_of(segment.ids, n_shards) for segment in snapshot.segments]
        live = merge.live_documents(snapshot.segments, snapshot.deleted)
        progress.start("shard index", n_shards, unit="shards")
        for number, name in enumerate(names):
            if not is_whole(shards / name):
                own = [
                    merge.LiveDocuments(segment, docs[owner[docs] == number])
                    for (segment, docs), owner in zip(live, owners, strict=True)
                ]
                with staging(shards / name) as staged:
                    _write_shard(staged, snapshot, state.codec, own)
            progress.advance(1)
        progress.finish()
        manifest = ShardsManifest(
            placement=PLACEMENT, shards=names, codec=codec_digest(snapshot.manifest)
        )
        write_shards_manifest(shards, manifest)
        expect_free(folder)
        rename(shards, folder)
    shutil.rmtree(work, ignore_errors=True)


def checked_n_shards(n_shards: object) -> int:
    """The number of shards; raises InputError for anything but a whole number from 1 to 10,000."""
    return checked_count("n_shards", n_shards, most=MOST_SHARDS)


def expect_free(folder: Path) -> None:
    """Raise StorageError where something is at the path of new shards already."""
    if os.path.lexists(folder):
        what = "holds shards already" if is_sharded(folder) else "exists"
        raise StorageError(f"{folder} {what}; choose another folder, or delete it")


def begin(work: Path, key: str, progress: Progress, *, keep: Sequence[str] = ()) -> None:
    """Keep the finished shards of an earlier call with the same input; delete everything else.

    Args:
        work: The work folder, whose lock the caller holds.
        key: Digest of all that the shards depend on.
        progress: Receives a note where the call resumes.
        keep: Names of other entries of the work folder that are kept.
    """
    state = work / _KEY
    is_same = state.is_file()
    if is_same:
        try:
            is_same = read_json_object(state, StorageError, cure="")["key"] == key
        except (StorageError, KeyError):
            is_same = False  # what no run wrote: nothing is resumed
    if is_same:
        progress.note(f"resuming the unfinished shards in {work}")
    else:
        remove(state)
    for entry in work.iterdir():
        if entry.name != LOCK and not (is_same and entry.name in (_KEY, SHARDS, *keep)):
            remove(entry)
    make_own_folder(work / SHARDS)
    for entry in (work / SHARDS).iterdir():
        if entry.name.startswith("."):  # half a shard
            remove(entry)
    write_json(state, {"key": key})


def is_whole(shard: Path) -> bool:
    """Whether an earlier run finished a shard, and its files are what was written; else it is deleted."""
    if not os.path.lexists(shard):
        return False
    try:
        check_index(shard)
    except StorageError:
        remove(shard)
        return False
    return True


def _write_shard(
    folder: Path,
    snapshot: IndexSnapshot,
    codec: Codec,
    own: Sequence[merge.LiveDocuments],
) -> None:
    """Fill an existing folder with an index of some of the documents."""
    source = snapshot.manifest
    with naming_write_errors(folder):
        (folder / CODEC).mkdir()
    copy_codec(SharedCodec(snapshot.codec_folder, source.codec), folder / CODEC)
    ids, lengths = merge.ids_of(own), merge.lengths_of(own)
    records = []
    if ids:
        name = segment_name(0)
        segment = folder / name
        with naming_write_errors(folder):
            segment.mkdir()
        write_segment(segment, merge.copied_chunks(own), ids, lengths, codec, as_progress(None))
        if source.has_spans:
            write_spans(segment, partial(spans_of_live, own))
        write_fields(segment, fields_of_live(snapshot.folder, own, None))
        n_tokens = int(np.sum(lengths))
        records.append(record_segment(segment, name, n_docs=len(ids), n_tokens=n_tokens))
    fields = {"segments": tuple(records), "deletions": (), "next_segment": len(records)}
    commit(folder, source.model_copy(update=fields))
