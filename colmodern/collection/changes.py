"""Changes of a collection; each leaves all of it or nothing (see manifest.py)."""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from colmodern.checks import shown
from colmodern.collection.documents import StoredDocument
from colmodern.collection.encoded import FOLDER, encoded
from colmodern.collection.fields import FieldReading, fields_of, fields_of_passages
from colmodern.collection.manifest import CollectionManifest, IndexRecord, commit, read_manifest
from colmodern.collection.model import OwnEmbeddings, expect_same
from colmodern.collection.state import OpenIndex, State, index_digest, load_state, settled
from colmodern.collection.texts import Texts, TextSegment, TextWriter, record_texts
from colmodern.disk import remove
from colmodern.encoder.encoder import Encoder
from colmodern.errors import InputError, StorageError
from colmodern.files import naming_write_errors, staging
from colmodern.index.plaid.index import PlaidIndex
from colmodern.index.plaid.write.tiers import first_merged
from colmodern.progress import Progress
from colmodern.writer_lock import writer_lock

# an index's centroids are learnt again once it has this many times the documents that they were
# learnt from; beyond _LARGEST_REFIT documents they would hardly change
_GROWTH = 4
_LARGEST_REFIT = 50_000
_WORDS = 64  # tokens that a document counts as where segments of texts are compared
_OURS = re.compile(
    rf"(texts|index)-\d{{5,}}|\.(texts|index)-\d{{5,}}\..+|\.manifest\.json\..+\.tmp|{FOLDER}"
)

_log = logging.getLogger(__name__)


class Numbers:
    """Ids "0", "1", ... that a collection does not have yet.

    Attributes:
        following: The number after the last one that was given.
    """

    def __init__(self, state: State) -> None:
        self.following = state.manifest.next_number
        self._state = state

    def __iter__(self) -> Numbers:
        return self

    def __next__(self) -> str:
        while True:
            doc_id = str(self.following)
            self.following += 1
            if doc_id not in self._state:
                return doc_id


@dataclass(frozen=True)
class Changer:
    """What changes of a collection need: its folder, its encoder, and how its index is opened.

    encoder: loads the encoder, which changes without new texts do not need
    """

    folder: Path
    encoder: Callable[[], Encoder]
    open_index: OpenIndex
    progress: Progress

    def put(
        self,
        state: State,
        documents: Iterator[StoredDocument],
        numbers: Numbers | None,
        *,
        replaces: bool,
        embeddings: OwnEmbeddings | None = None,
    ) -> State:
        """Add documents; with ``replaces``, in place of those with the same ids.

        numbers: where ids of texts without one come from
        embeddings: of the documents, None to encode them; an index that is learnt again encodes all

        Raises InputError for an id that is there already, without ``replaces``, and for embeddings of
        other documents.
        """
        first = next(documents, None)
        if first is None:
            return state
        checked = _new_ones(chain([first], documents), None if replaces else state)
        texts, n_new = self._stored(state, checked)
        if numbers is not None:
            counted = {"next_number": numbers.following}
            state = replace(state, manifest=state.manifest.model_copy(update=counted))
        segment = texts.segments[-1]
        new_ids = segment.ids.get(range(n_new))
        encoding: AbstractContextManager[Any] | None = None
        if embeddings is not None:
            encoding = nullcontext((embeddings.values, embeddings.stored_ids(new_ids)))
        n_replaced = sum(doc_id in state for doc_id in new_ids) if replaces else 0
        n_after = state.n_docs - n_replaced + n_new
        if _must_fit(state.manifest.index, n_after):
            staying = _without(state, set(new_ids))
            everything = chain(texts.stream(staying), segment.documents(0, n_new))
            return self._built(state, texts, everything, n_after)
        fields = fields_of(segment.documents(0, n_new), state.manifest.fields)
        if encoding is None:
            encoding = self._encoded(state, segment.documents(0, n_new), n_new)
        with encoding as (values, ids), self._index_change(state, texts) as change:
            options: dict[str, Any] = {"fields": fields, "progress": self.progress}
            if state.manifest.passages is not None:
                options["fields"] = fields_of_passages(fields, ids)
            if not replaces:
                change.index.add(values, ids, **options)
            else:  # a document may have fewer passages than before
                current = set(ids)
                stale = [other for other in state.stored_ids(new_ids) if other not in current]
                deleted = stale if state.manifest.passages is not None else ()
                change.index.update(values, ids, delete=deleted, **options)
        return change.after

    def delete(self, state: State, ids: list[str]) -> State:
        """Delete documents that are all there."""
        with self._index_change(state, state.texts) as change:
            change.index.delete(state.stored_ids(ids))
        return change.after

    def compact(self, state: State) -> State:
        """Merge the segments of texts and index, without deleted documents."""
        if state.index is None:
            return state
        with self._index_change(state, state.texts) as change:
            change.index.compact(progress=self.progress)
        after = change.after
        everything = after.texts.stream(after.doc_ids())
        texts, _ = self._stored(after, everything, n_staying=0)
        manifest = _renumbered(after.manifest, texts=texts.records)
        commit(self.folder, manifest)
        return State(manifest, manifest, texts, after.index)

    def rebuild(self, state: State) -> State:
        """Encode all texts again and learn the index anew."""
        if state.n_docs == 0:
            return state
        texts, n_docs = self._stored(state, state.texts.stream(state.doc_ids()), n_staying=0)
        return self._built(state, texts, texts.segments[-1].documents(), n_docs)

    def _stored(
        self, state: State, documents: Iterable[StoredDocument], n_staying: int | None = None
    ) -> tuple[Texts, int]:
        """All texts with those of ``documents`` in a new segment, and how many they are.

        n_staying: segments that stay before it; None chooses them, and merges the others with it
        """
        segments = state.texts.segments
        name = f"texts-{state.manifest.next_part:05d}"
        with staging(self.folder / name) as staged, TextWriter(staged) as writer:
            for document in documents:
                writer.add(document)
            n_new = len(writer.ids)
            if n_staying is None:
                sizes = [len(segment) * _WORDS for segment in segments]
                n_staying = first_merged(sizes, n_new * _WORDS)
                seen = set(writer.ids)
                for segment in reversed(segments[n_staying:]):
                    _copy_live(segment, writer, state, seen)
            writer.finish()
            record = record_texts(staged, name, len(writer.ids))
        after = Texts(self.folder, ())
        after.segments = [*segments[:n_staying], TextSegment(self.folder, record)]
        return after, n_new

    def _built(
        self, state: State, texts: Texts, documents: Iterable[StoredDocument], n_docs: int
    ) -> State:
        """The collection with a new index of these documents, which are all that it has."""
        before = state.manifest
        name = f"index-{before.next_part:05d}"
        settings: dict[str, Any] = before.index_settings
        reading = FieldReading(before.fields)
        with self._encoded(state, reading.through(documents), n_docs) as (embeddings, ids):
            fields = reading.table()
            if before.passages is not None:
                fields = fields_of_passages(fields, ids)
            PlaidIndex.build(
                embeddings,
                self.folder / name,
                ids,
                fields=fields,
                spans=before.spans,
                progress=self.progress,
                **settings,
            ).close()
        record = IndexRecord(name=name, sha256="0" * 64, n_fitted=n_docs)
        record = record.model_copy(update={"sha256": index_digest(self.folder, record)})
        manifest = _renumbered(before, texts=texts.records, index=record)
        index = self.open_index(self.folder / name)
        commit(self.folder, manifest)
        return State(manifest, manifest, texts, index)

    @contextmanager
    def _encoded(
        self, state: State, documents: Iterable[StoredDocument], n_docs: int
    ) -> Iterator[Any]:
        manifest, encoder = state.manifest, self.encoder()
        expect_same(self.folder, manifest, encoder)  # the folder may hold another collection now
        with encoded(
            self.folder,
            encoder,
            documents,
            n_docs,
            separator=manifest.title_separator,
            spans=manifest.spans,
            passages=manifest.passages is not None,
            progress=self.progress,
        ) as embeddings:
            yield embeddings

    @contextmanager
    def _index_change(self, state: State, texts: Texts) -> Iterator[_IndexChange]:
        """Change a copy of the index in the block; texts that belong to the change come with it."""
        record = state.manifest.index
        if record is None or state.index is None:
            raise InputError("the collection has no documents; add some first")
        pending = _renumbered(state.manifest, pending=texts.records)
        commit(self.folder, pending)
        change = _IndexChange(copy.copy(state.index), state)
        try:
            yield change
        finally:
            manifest = settled(pending, index_digest(self.folder, record))
            manifest = manifest.model_copy(update={"change": pending.change + 1})
            on_disk = manifest
            try:
                commit(self.folder, manifest)
            except StorageError as error:  # what is on disk says the same
                on_disk = pending
                _log.warning("%s; the change is complete nevertheless", error)
            is_made = manifest.texts == texts.records
            change.after = State(on_disk, manifest, texts if is_made else state.texts, change.index)


class _IndexChange:
    """An index to change, and the collection's state after it."""

    def __init__(self, index: PlaidIndex, before: State) -> None:
        self.index = index
        self.after = before


@contextmanager
def writing(folder: Path, state: State, open_index: OpenIndex) -> Iterator[State]:
    """Be the only writer of a collection; gives its latest state, without leftovers of others.

    Raises:
        LockedError: Another process or thread is writing it.
    """
    with naming_write_errors(folder), writer_lock(folder):
        if read_manifest(folder) != state.on_disk:
            state = load_state(folder, open_index, state)
        if state.on_disk.pending is not None:  # a writer was killed
            manifest = _renumbered(state.manifest)
            commit(folder, manifest)
            state = State(manifest, manifest, state.texts, state.index)
        remove_leftovers(folder, state.manifest)
        yield state
        with suppress(OSError):  # what stays now, the next writer removes
            remove_leftovers(folder, read_manifest(folder))


def remove_leftovers(folder: Path, manifest: CollectionManifest) -> None:
    """Delete what the manifest does not name; the caller is the only writer."""
    records = [*manifest.texts, *(manifest.pending or ())]
    named = {record.name for record in records}
    if manifest.index is not None:
        named.add(manifest.index.name)
    for path in folder.iterdir():
        if path.name not in named and _OURS.fullmatch(path.name):
            remove(path)


def _new_ones(documents: Iterable[StoredDocument], state: State | None) -> Iterator[StoredDocument]:
    """The documents; raises InputError for one that ``state`` has already."""
    for document in documents:
        if state is not None and document.doc_id in state:
            raise InputError(
                f"document {shown(document.doc_id)} is in the collection already; use update(), or in "
                "the shell `colmodern collection add --update`"
            )
        yield document


def _must_fit(index: IndexRecord | None, n_docs: int) -> bool:
    """Whether the centroids of an index should be learnt again for so many documents."""
    if index is None:
        return True
    return index.n_fitted < _LARGEST_REFIT and n_docs >= _GROWTH * index.n_fitted


def _without(state: State, ids: set[str]) -> list[str]:
    return [doc_id for doc_id in state.doc_ids() if doc_id not in ids]


def _copy_live(segment: TextSegment, writer: TextWriter, state: State, seen: set[str]) -> None:
    """Copy the documents that the collection has and a newer segment has not."""
    rows = []
    for row, doc_id in enumerate(segment.ids):
        if doc_id not in seen and doc_id in state:
            seen.add(doc_id)
            rows.append(row)
    for document in segment.at(np.array(rows, np.int64)):
        writer.add(document)


def _renumbered(manifest: CollectionManifest, **fields: Any) -> CollectionManifest:
    """The manifest of the next change, with other fields."""
    counted = {"change": manifest.change + 1, "next_part": manifest.next_part + 1}
    return manifest.model_copy(update={**counted, **fields})
