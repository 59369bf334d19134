"""The state of an open collection: one manifest with the texts and the index that belong to it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from colmodern.collection.documents import EncodedText, StoredDocument, encoded_text
from colmodern.collection.manifest import CollectionManifest, IndexRecord, read_manifest
from colmodern.collection.texts import CURE, Texts, TextSegment
from colmodern.errors import StorageError
from colmodern.files import read_error, sha256_of_file, sha256_of_json
from colmodern.index.passages import PassageIndex
from colmodern.index.plaid.index import PlaidIndex
from colmodern.passages import documents_of

INDEX_MANIFEST = "manifest.json"
OpenIndex = Callable[[Path], PlaidIndex]


@dataclass(frozen=True, eq=False)
class State:
    """A collection as it was at one moment; a change makes another.

    on_disk: the manifest as it was read or written, with what is pending
    manifest: the same after the pending change, or without it
    index: None before the first document
    """

    on_disk: CollectionManifest
    manifest: CollectionManifest
    texts: Texts
    index: PlaidIndex | None

    @cached_property
    def documents(self) -> PlaidIndex | PassageIndex | None:
        """The index, which ranks documents by their passages where it has these."""
        rank = self.manifest.passages
        return self.index if self.index is None or rank is None else PassageIndex(self.index, rank)

    def __contains__(self, doc_id: object) -> bool:
        return self.documents is not None and doc_id in self.documents

    def encoded(self, document: StoredDocument) -> EncodedText:
        """What the model read of a document."""
        return encoded_text(document, self.manifest.title_separator)

    @property
    def n_docs(self) -> int:
        """Number of documents."""
        return 0 if self.documents is None else self.documents.n_docs

    @property
    def dim(self) -> int:
        """Width of a token embedding."""
        return int(self.manifest.encoder.model_dump()["dim"])

    @property
    def version(self) -> str:
        """Digest of texts and index, which a pending change has or has not made."""
        kept = {"texts", "index", "encoder", "title_separator"}
        kept |= {"passages"} if self.manifest.passages else set()
        return sha256_of_json(self.manifest.model_dump(mode="json", include=kept))

    def doc_ids(self) -> list[str]:
        """(n_docs,) ids, in the order of the index."""
        if self.index is None:
            return []
        ids = self.index.doc_ids
        return ids if self.manifest.passages is None else documents_of(ids)

    def stored_ids(self, doc_ids: Iterable[str]) -> list[str]:
        """The ids that documents have in the index: those of their passages, where it has these."""
        if isinstance(self.documents, PassageIndex):
            return self.documents.passages_of(doc_ids)
        return list(doc_ids)


def load_state(folder: Path, open_index: OpenIndex, known: State | None = None) -> State:
    """Open texts and index as one manifest describes them.

    A writer may work meanwhile: when the manifest changed while the files were opened, they are
    opened again.

    Args:
        folder: The collection.
        open_index: Opens the index in a folder.
        known: An earlier state; segments that the collection still has stay as they are mapped and
            verified.

    Raises:
        StorageError: A file is missing or damaged, or the index was changed by itself.
    """
    open_again = open_index if known is None else partial(_open_again, known, open_index)
    texts = () if known is None else known.texts.segments
    while True:
        before = read_manifest(folder)
        try:
            state = _opened(folder, before, open_again, texts)
        except StorageError:
            if read_manifest(folder) == before:
                raise
            continue
        if state is not None and read_manifest(folder) == before:
            return state


def settled(manifest: CollectionManifest, sha256: str | None) -> CollectionManifest:
    """The manifest without a pending change, which counts where the index's manifest is another.

    Args:
        manifest: As read.
        sha256: Checksum of the index's manifest now; None without an index.
    """
    index = manifest.index
    if manifest.pending is None or index is None or sha256 is None:
        return manifest.model_copy(update={"pending": None})
    if sha256 == index.sha256:
        return manifest.model_copy(update={"pending": None})
    changed = index.model_copy(update={"sha256": sha256})
    return manifest.model_copy(
        update={"texts": manifest.pending, "pending": None, "index": changed}
    )


def index_digest(folder: Path, record: IndexRecord) -> str:
    """Checksum of the index's manifest; raises StorageError where it cannot be read."""
    path = folder / record.name / INDEX_MANIFEST
    try:
        return sha256_of_file(path)
    except OSError as error:
        raise read_error(path, error, cure=CURE) from error


def is_current(folder: Path, state: State) -> bool:
    """Whether the collection on disk is still the one of this state.

    Raises:
        StorageError: A manifest is missing or damaged.
    """
    if read_manifest(folder) != state.on_disk:
        return False
    record = state.manifest.index
    if state.on_disk.pending is None or record is None:
        return True
    return index_digest(folder, record) == record.sha256


def _open_again(known: State, open_index: OpenIndex, path: Path) -> PlaidIndex:
    """The index in a folder, from what is open of it already."""
    if known.index is None or known.index.path != path:
        return open_index(path)
    index = copy.copy(known.index)
    index.refresh()
    return index


def _opened(
    folder: Path, on_disk: CollectionManifest, open_index: OpenIndex, known: Iterable[TextSegment]
) -> State | None:
    """The state of a manifest; None where the index changed while it was opened."""
    record = on_disk.index
    if record is None:
        manifest = settled(on_disk, None)
        return State(on_disk, manifest, Texts(folder, manifest.texts, known), None)
    digest = index_digest(folder, record)
    index = open_index(folder / record.name)
    if index_digest(folder, record) != digest:
        return None
    if digest != record.sha256 and on_disk.pending is None:
        raise StorageError(
            f"{folder / record.name} was changed by itself, not through its collection, so that its "
            f"documents and the texts differ; {CURE}"
        )
    manifest = settled(on_disk, digest)
    return State(on_disk, manifest, Texts(folder, manifest.texts, known), index)
