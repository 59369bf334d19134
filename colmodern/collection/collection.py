"""A collection of texts: add texts, search with text, get texts back."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, get_args

from colmodern.arguments import checked_path, expect_choice, expect_flags
from colmodern.checks import shown
from colmodern.collection.changes import Changer, Numbers, writing
from colmodern.collection.documents import DocumentInput, SourceError, documents_of
from colmodern.collection.fields import checked_names
from colmodern.collection.manifest import CollectionManifest, commit, read_manifest
from colmodern.collection.model import (
    EncodedDocuments,
    checked_index_settings,
    encoder_for,
    own_embeddings,
    record_of,
)
from colmodern.collection.reader import CollectionReader
from colmodern.collection.state import State, load_state
from colmodern.disk import make_folder
from colmodern.encoder.encoder import Encoder
from colmodern.encoder.passages import expect_split
from colmodern.errors import ColmodernError, InputError, StorageError
from colmodern.files import naming_write_errors
from colmodern.progress import Progress, as_progress
from colmodern.ragged.doc_ids import id_list
from colmodern.types import PassageRank
from colmodern.writer_lock import LOCK, writer_lock

Documents = Iterable[DocumentInput] | Mapping[str, str]


class Collection(CollectionReader):
    """Texts, the model that encodes them and their index in one folder.

    Safe to search from many threads. Searches see the documents that were there when the collection
    was opened, what this object itself changed since, and what ``refresh`` finds. One process at a
    time changes a collection; a change that fails or is killed leaves it as it was. A pickle holds
    the path and opens the collection as it is then.

    Attributes:
        folder: The folder, absolute.
        read_only: Whether changes are refused.
    """

    @classmethod
    def create(
        cls,
        folder: Path | str,
        model: Encoder | str | Path = "colmodern/tiny",
        *,
        index: dict[str, Any] | None = None,
        spans: bool = True,
        fields: bool | Iterable[str] = True,
        passages: PassageRank | None = None,
        title_separator: str = " ",
        device: str = "auto",
        **encoder_options: object,
    ) -> Collection:
        """Make an empty collection in a folder.

        Args:
            folder: A folder that does not exist, or is empty.
            model: An Encoder, or what Encoder.from_pretrained takes.
            index: Settings of the index, as ``{"nbits": 2}``: nbits, n_centroids, seed, codec and
                max_memory of PlaidIndex.build.
            spans: Whether searches can show the passages that matched, for 2 bytes a token.
            fields: The keys of records, beside id, title and text, that searches can filter by:
                True for all, False for none, or their names.
            passages: "best" or "sum" to keep the windows of long documents apart, as passages that
                rank them: by the best one, or by the sum of all (see PassageIndex). The model needs
                ``overflow="split"``, and a passage has ``document_length`` tokens.
            title_separator: What stands between a document's title and its text when it is encoded.
            device: Where encoder and index are, as Encoder.from_pretrained takes it.
            **encoder_options: Further arguments of Encoder.from_pretrained, as
                ``document_length=8192``.

        Returns:
            The collection.

        Raises:
            StorageError: The folder holds something, or cannot be written.
            InputError: A setting is unknown or wrong.
            ConfigError: ``passages``, and the model cuts long documents.
            CheckpointError: The model cannot be read.
        """
        if passages is not None:
            expect_choice("passages", passages, get_args(PassageRank))
        path = Path(os.path.abspath(checked_path("folder", folder)))
        expect_flags(spans=spans)
        if not isinstance(title_separator, str):
            raise InputError(f"title_separator={shown(title_separator)}; pass text")
        _expect_empty(path)
        if not isinstance(model, Encoder):
            encoder_options = {**encoder_options, "device": device}
        encoder = encoder_for(model, encoder_options)
        if passages is not None:
            expect_split(encoder.settings)
        manifest = CollectionManifest(
            change=0,
            encoder=record_of(encoder),
            spans=spans,
            fields=checked_names(fields),
            passages=passages,
            title_separator=title_separator,
            index_settings=checked_index_settings(index, encoder.dim),
        )
        with naming_write_errors(path):
            make_folder(path)
            with writer_lock(path):
                _expect_empty(path)
                commit(path, manifest)
        trusts = encoder.trust_remote_code
        return cls(path, read_only=False, device=device, trust_remote_code=trusts, encoder=encoder)

    def add(
        self,
        documents: Documents,
        ids: Iterable[str] | None = None,
        *,
        embeddings: EncodedDocuments | None = None,
        progress: Progress | bool | None = None,
    ) -> None:
        """Add documents; all or none.

        Documents may come from a generator: their texts go to disk one by one, and embeddings shard
        by shard. A collection that has grown to four times the size that its index was learnt from
        learns it again, from up to 50,000 documents.

        Args:
            documents: Texts, (id, text) pairs, a mapping from ids to texts, or records with "id" (or
                "_id"), "text", and maybe "title"; all other keys of a record are kept.
            ids: One id for each text; without, texts get the next free numbers, "0", "1", ...
            embeddings: As in ``update``.
            progress: True for a bar on stderr, or an object that receives the steps.

        Raises:
            InputError: An id is in the collection already or repeats, a document is none of these, or
                ``embeddings`` are not those of the documents.
            StorageError: Another process is writing the collection, or the disk is full.
        """
        self._put(documents, ids, progress, replaces=False, embeddings=embeddings)

    def update(
        self,
        documents: Documents,
        *,
        embeddings: EncodedDocuments | None = None,
        progress: Progress | bool | None = None,
    ) -> None:
        """Add documents, and replace those with the same ids; all or none.

        Args:
            documents: As in ``add``, each with its id.
            embeddings: What the collection's encoder made of ``model_texts(documents)``, where that
                is at hand; with spans where the collection has them. For a collection of passages it
                is the pair that ``encode_passages`` returns.
            progress: As in ``add``.

        Raises:
            InputError: An id is missing or repeats, or ``embeddings`` are not those of the documents.
            StorageError: As from ``add``.
        """
        self._put(documents, None, progress, replaces=True, embeddings=embeddings)

    def model_texts(self, documents: Documents) -> list[str]:
        """The texts that the model reads for documents: title, separator and text.

        Args:
            documents: As in ``update``.

        Returns:
            One text for each document.

        Raises:
            InputError: As from ``update``.
        """
        state = self._state
        return [state.encoded(document).content for document in documents_of(documents, None, None)]

    def delete(self, ids: Iterable[str]) -> int:
        """Delete documents; all or none.

        Args:
            ids: Ids of documents in the collection.

        Returns:
            The number of deleted documents.

        Raises:
            InputError: An id is not in the collection.
            StorageError: As from ``add``.
        """
        listed_ids = list(dict.fromkeys(id_list("ids", ids, is_ordered=False)))
        with self._changing(None) as change:
            for doc_id in listed_ids:
                change.expect_document(doc_id)
            if listed_ids:
                change.after = change.changer.delete(change.after, listed_ids)
        return len(listed_ids)

    def compact(self, *, progress: Progress | bool | None = None) -> None:
        """Give back the space of deleted documents; results stay the same.

        Args:
            progress: As in ``add``.
        """
        with self._changing(progress) as change:
            change.after = change.changer.compact(change.after)

    def rebuild(self, *, progress: Progress | bool | None = None) -> None:
        """Encode all texts again and build the index anew, as if all had been added at once.

        Args:
            progress: As in ``add``.
        """
        with self._changing(progress) as change:
            change.after = change.changer.rebuild(change.after)

    def _put(
        self,
        documents: Documents,
        ids: Iterable[str] | None,
        progress: Progress | bool | None,
        *,
        replaces: bool,
        embeddings: EncodedDocuments | None = None,
    ) -> None:
        own = None
        if embeddings is not None:
            own = own_embeddings(self._state.manifest, embeddings, needs_spans=self.has_spans)
        try:
            with self._changing(progress) as change:
                numbers = None if replaces else Numbers(change.after)
                checked = documents_of(documents, ids, numbers)
                change.after = change.changer.put(
                    change.after, checked, numbers, replaces=replaces, embeddings=own
                )
        except SourceError as error:
            raise error.fault from None

    @contextmanager
    def _changing(self, progress: Progress | bool | None) -> Iterator[_Change]:
        """Be the only writer in the block; what it made of the state is seen from then on."""
        before = self._state
        if self.read_only:
            raise InputError(
                f"{self.folder} was opened with read_only=True; open it without to change it"
            )
        changer = Changer(
            self.folder, lambda: self.encoder, self._open_index, as_progress(progress)
        )
        try:
            with writing(self.folder, before, self._open_index) as latest:
                change = _Change(latest, changer)
                yield change
            self._current = change.after
        except BaseException:
            with suppress(ColmodernError, OSError):  # the change may be complete nevertheless
                if read_manifest(self.folder) != before.on_disk:
                    self._current = load_state(self.folder, self._open_index, before)
            raise


class _Change:
    """A change in progress: the latest state, and what makes another of it."""

    def __init__(self, latest: State, changer: Changer) -> None:
        self.after = latest
        self.changer = changer

    def expect_document(self, doc_id: str) -> None:
        """Raise InputError where there is no such document."""
        if doc_id not in self.after:
            raise InputError(f"document {shown(doc_id)} is not in the collection; leave its id out")


def _expect_empty(folder: Path) -> None:
    """Raise StorageError for a folder that holds something, or is none."""
    if folder.is_dir():
        if all(path.name == LOCK for path in folder.iterdir()):
            return
        raise StorageError(
            f"{folder} holds files already; open the collection that is there, or choose another "
            "folder"
        )
    if os.path.lexists(folder):
        raise StorageError(f"{folder} is a file; choose another folder")
