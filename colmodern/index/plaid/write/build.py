"""Builds an index: sample, learn a codec, compress, invert; resumes at the last finished step."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import BaseModel, Field, ValidationError

from colmodern.codecs.codec import Codec, train_codec
from colmodern.codecs.files import load_codec, save_codec
from colmodern.disk import durability, is_plain, make_own_folder, mark, remove
from colmodern.errors import InputError, StorageError
from colmodern.files import (
    naming_write_errors,
    read_json_object,
    sha256_of_file,
    sha256_of_json,
    sha256_of_texts,
    staging,
    write_json,
)
from colmodern.index.fields.files import to_bytes
from colmodern.index.fields.table import FieldTable
from colmodern.index.inputs import Embeddings
from colmodern.index.plaid.disk.check import check_index
from colmodern.index.plaid.disk.manifest import (
    NAME,
    UNSYNCED,
    CodecRecord,
    Manifest,
    building_folder,
    commit,
)
from colmodern.index.plaid.disk.segment import fast_checksums, record_segment, segment_name
from colmodern.index.plaid.disk.storage import CODEC
from colmodern.index.plaid.search.state import load_state
from colmodern.index.plaid.write.arrays import ResumeError
from colmodern.index.plaid.write.fields import write_fields
from colmodern.index.plaid.write.inverted_lists import write_inverted_lists
from colmodern.index.plaid.write.publish import expect_free, publish, restore
from colmodern.index.plaid.write.segment import (
    SegmentProgress,
    encode_chunks,
    write_documents,
    write_tokens,
)
from colmodern.index.plaid.write.settings import BuildSettings
from colmodern.index.plaid.write.shared_codec import SharedCodec, copy_codec
from colmodern.index.plaid.write.source import sample_documents
from colmodern.index.plaid.write.spans import spans_of_source, write_spans
from colmodern.progress import Progress
from colmodern.ragged.arrays import sha256_of_array
from colmodern.ragged.shard import span_arrays
from colmodern.ragged.store import EmbeddingStore
from colmodern.threads import Threads
from colmodern.writer_lock import LOCK, writer_lock

if TYPE_CHECKING:
    import torch

_Count = Annotated[int, Field(ge=0, strict=True)]
_FORMAT = 3  # bump when the same input gives other bytes
_KEY, _PROGRESS, _INDEX = "build.json", "compressed.json", "index"


class _ProgressRecord(BaseModel):
    """Contents of compressed.json: how far the arrays are, and their checksums."""

    n_docs: _Count
    n_tokens: _Count
    checksums: dict[str, str]


class BuildInput(NamedTuple):
    """What an index is built from, and all that its bytes depend on.

    Attributes:
        embeddings: Token embeddings of the documents.
        doc_ids: (n_docs,) their ids.
        settings: The codec's, and the ceiling of memory.
        fingerprint: Of the encoder, None when unknown.
        keeps_spans: Whether to keep the characters of the tokens, which the embeddings must have.
        fields: Fields of the documents.
        shared: The codec of another index, taken over in place of a new one.
    """

    embeddings: Embeddings
    doc_ids: Sequence[str]
    settings: BuildSettings
    fingerprint: str | None
    keeps_spans: bool = False
    fields: FieldTable | None = None
    shared: SharedCodec | None = None


def build_index(
    path: Path,
    source: BuildInput,
    progress: Progress,
    *,
    overwrite: bool = False,
    is_durable: bool = True,
    devices: Sequence[torch.device] = (),
) -> None:
    """Write the index folder ``path``; until it is finished, work is in ``.NAME.building``.

    An interrupted build of the same input and settings is resumed, with ``is_durable`` after a
    power cut too; its files are compared with checksums first, and the build starts over when they
    differ. An older index that is overwritten can be read, but not changed, until the new one is in
    its place. The first of ``devices``, if any, encodes the documents; the bytes are the same.

    Raises InputError for bad ids or values that are not finite; StorageError when there is
    something at ``path`` already, when another process writes it, when the disk is full, or when
    a link lies where the work goes.
    """
    path = Path(os.path.realpath(path))  # what a link points to is replaced, not the link
    work = building_folder(path)
    with naming_write_errors(work), durability(is_durable):
        expect_free(path, overwrite=overwrite)
        make_own_folder(work)
    with naming_write_errors(work), durability(is_durable), writer_lock(work):
        restore(path)
        expect_free(path, overwrite=overwrite)
        with _as_only_writer(path):
            try:
                make = partial(_make, work, source, progress, devices)
                _resume(work, _key(source), make, progress)
            except InputError:
                shutil.rmtree(work, ignore_errors=True)  # running it again would not help
                raise
            expect_free(path, overwrite=overwrite)  # somebody may have made it meanwhile
            if not is_durable:
                mark(work / _INDEX / UNSYNCED)
            publish(work / _INDEX, path)
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _as_only_writer(path: Path) -> Iterator[None]:
    if not path.exists():
        yield
        return
    with writer_lock(path):
        yield


def _key(source: BuildInput) -> str:
    """Digest of all that the index depends on."""
    embeddings, fields = source.embeddings, source.fields
    if isinstance(embeddings, EmbeddingStore):
        digests: object = [shard["sha256"] for shard in embeddings.manifest["shards"]]
    else:
        arrays = (embeddings.values, embeddings.offsets, embeddings.token_ids)
        digests = [None if array is None else sha256_of_array(array) for array in arrays]
        if source.keeps_spans:
            digests += [sha256_of_array(a) for a in span_arrays(embeddings.spans).values()]
    ids = sha256_of_texts(str(doc_id) for doc_id in source.doc_ids)
    also: list[object] = ["spans"] if source.keeps_spans else []
    if fields is not None and fields.columns:
        also.append(sha256_of_array(to_bytes(fields)))
    if source.shared is not None:
        also.append(dict(source.shared.record.files))
    settings = asdict(source.settings)
    return sha256_of_json([_FORMAT, digests, ids, settings, source.fingerprint, *also])


def _resume(work: Path, key: str, make: Callable[[], None], progress: Progress) -> None:
    """Finish work/index from where an earlier build of the same key stopped, or start it."""
    if not _is_begun(work, key):
        _begin(work, key)
        make()
        return
    progress.note(f"resuming the unfinished build in {work}")
    try:
        with naming_write_errors(work):
            for path in list(work.rglob(".*.tmp")):  # nobody else writes here
                remove(path)
        if (work / _INDEX / NAME).is_file():
            _expect_whole(work / _INDEX)
        else:
            make()
    except ResumeError as error:
        progress.note(f"{str(error).partition(';')[0]}: the build starts over")
        _begin(work, key)
        make()


def _is_begun(work: Path, key: str) -> bool:
    """Whether there is an unfinished build of the same input, and nothing in it is a link."""
    if not (is_plain(work, but=LOCK) and (work / _KEY).is_file() and (work / _INDEX).is_dir()):
        return False
    try:
        return bool(_read(work / _KEY).get("key") == key)
    except ResumeError:
        return False


def _begin(work: Path, key: str) -> None:
    """Delete what an earlier build left, the key first."""
    with naming_write_errors(work):
        remove(work / _KEY)
        for path in work.iterdir():
            if path.name != LOCK:
                remove(path)
    write_json(work / _KEY, {"key": key})


def _expect_whole(index: Path) -> None:
    """Raise ResumeError when the files of a finished index are not what was written."""
    try:
        check_index(index)
        load_state(index)
    except StorageError as error:
        raise ResumeError(str(error)) from error


def _make(
    work: Path, source: BuildInput, progress: Progress, devices: Sequence[torch.device]
) -> None:
    """Fill work/index, from where an earlier run stopped, and commit it."""
    embeddings, settings, fields = source.embeddings, source.settings, source.fields
    index, name = work / _INDEX, segment_name(0)
    with naming_write_errors(work):
        make_own_folder(index / name)
    # first, so that bad ids are refused before all the work
    write_documents(index / name, source.doc_ids, embeddings.lengths)
    if source.keeps_spans:
        write_spans(index / name, partial(spans_of_source, embeddings))
    table = FieldTable.empty(embeddings.n_docs) if fields is None else fields
    write_fields(index / name, table)
    codec = _codec(work, embeddings, settings, progress, source.shared)
    _compress(work, embeddings, settings, _codec_on_device(codec, devices), progress)
    write_inverted_lists(index / name, len(codec.centroids.values), progress)
    record = record_segment(
        index / name, name, n_docs=embeddings.n_docs, n_tokens=embeddings.n_tokens
    )
    files = _checksums(index / CODEC)
    manifest = Manifest(
        settings=asdict(settings) | ({"spans": True} if source.keeps_spans else {}),
        dim=codec.dim,
        fingerprint=source.fingerprint,
        n_centroids=len(codec.centroids.values),
        codec=CodecRecord(files=files, fast=fast_checksums(index / CODEC, files)),
        segments=(record,),
        next_segment=1,
        fields=table.schema,
    )
    commit(index, manifest)


def _codec(
    work: Path,
    embeddings: Embeddings,
    settings: BuildSettings,
    progress: Progress,
    shared: SharedCodec | None,
) -> Codec:
    """The codec of an earlier build, compared with its checksums, or a new one, or a copy."""
    folder, state = work / _INDEX / CODEC, _read(work / _KEY)
    if folder.is_dir() and "codec" in state:
        if state["codec"] != _checksums(folder):
            raise ResumeError(f"{folder} differs from what was written to it; delete {work}")
    else:
        with naming_write_errors(work):
            remove(folder)  # its checksums were not written yet
            remove(work / _PROGRESS)
        learned = None if shared else learned_codec(embeddings, settings, progress, work)
        with staging(folder) as staged:
            if learned is not None:
                save_codec(staged, learned)
            elif shared is not None:
                copy_codec(shared, staged)
        write_json(work / _KEY, {**state, "codec": _checksums(folder)})
    return load_codec(folder)


def learned_codec(
    embeddings: Embeddings, settings: BuildSettings, progress: Progress, work: Path
) -> Codec:
    """A codec of embeddings; work: an existing folder for a large sample."""
    progress.note("learning the codec from a sample of tokens")
    with naming_write_errors(work):
        sample = sample_documents(
            embeddings, settings.n_sampled, settings.piece_tokens, settings.seed, work
        )
    return train_codec(
        sample,
        n_centroids=settings.n_centroids,
        n_fitted=settings.n_fitted,
        n_clustered=settings.n_clustered,
        nbits=settings.nbits,
        kind=settings.codec,
        seed=settings.seed,
        progress=progress,
    )


def _checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of each file."""
    return {path.name: sha256_of_file(path) for path in sorted(folder.iterdir()) if path.is_file()}


def _codec_on_device(codec: Codec, devices: Sequence[torch.device]) -> Codec:
    if not devices:
        return codec
    from colmodern.codecs.cuda import codec_on_device

    return codec_on_device(codec, devices[0])


def _compress(
    work: Path,
    embeddings: Embeddings,
    settings: BuildSettings,
    codec: Codec,
    progress: Progress,
) -> None:
    state, done = work / _PROGRESS, None
    if state.is_file():
        done = _read_progress(state, embeddings)
    after = done.n_docs if done else 0
    write_tokens(
        work / _INDEX / segment_name(0),
        encode_chunks(embeddings, codec, settings.piece_tokens, Threads(), after=after),
        SegmentProgress(embeddings.n_docs, embeddings.n_tokens),
        codec,
        progress,
        done=done,
        after_chunk=lambda written: write_json(state, written._asdict()),
    )


def _read_progress(state: Path, embeddings: Embeddings) -> SegmentProgress:
    """Progress of an earlier build; raises ResumeError for what no build wrote."""
    try:
        record = _ProgressRecord.model_validate(_read(state))
    except ValidationError as error:
        raise ResumeError(f"{state} does not say how far the build came; delete it") from error
    if record.n_docs > embeddings.n_docs or record.n_tokens > embeddings.n_tokens:
        raise ResumeError(f"{state} says more than there is to build; delete it")
    return SegmentProgress(record.n_docs, record.n_tokens, record.checksums)


def _read(state: Path) -> dict[str, Any]:
    return read_json_object(state, ResumeError, cure=f"delete {state.parent}, then run again")
