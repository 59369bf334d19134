"""An index that is served: many searches at a time, one change at a time, and changes of others."""

from __future__ import annotations

import copy
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from colmodern.collection.collection import Collection
from colmodern.collection.documents import CollectionHit, EncodedText, StoredDocument, encoded_text
from colmodern.collection.manifest import is_collection_folder, read_manifest
from colmodern.encoder.encoder import Encoder
from colmodern.errors import ColmodernError, InputError, StorageError
from colmodern.index.plaid.index import PlaidIndex
from colmodern.index.plaid.search.queries import expect_encoder
from colmodern.index.sharded.index import ShardedIndex
from colmodern.index.spans import SpanSettings
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.token_words import with_words
from colmodern.types import Explanation, ScoredDoc
from colmodern.writer_lock import LockedError

Searched = Collection | PlaidIndex | ShardedIndex
ServedHit = CollectionHit | ScoredDoc  # the first where the index has texts
_SEPARATOR = " "  # between title and text, for an index that does not know its own
_RETRY = 0.05  # seconds until another process's lock is tried again
_log = logging.getLogger(__name__)


class ServedState:
    """An index as it is at one moment, for as many searches as want it; a change makes another.

    Attributes:
        collection: The collection, None where the folder holds an index alone.
        index: The index, None where the folder holds a collection.
        version: Digest of the manifest.
        n_docs: Number of documents.
        dim: Width of a token embedding.
        takes_texts: Whether the server's model is the one that the documents were encoded with.
        has_spans: Whether searches can show the passages that matched.
        has_passages: Whether it is a collection that ranks documents by their passages.
    """

    def __init__(self, searched: Searched, encoder: Encoder | None) -> None:
        """Keep ``searched`` as it is now; its owner may change it later.

        Args:
            searched: The open collection or index.
            encoder: The server's model.
        """
        self._searched = searched = copy.copy(searched)
        self._encoder = encoder
        self.collection = searched if isinstance(searched, Collection) else None
        self.index = None if isinstance(searched, Collection) else searched
        self.version = searched.version
        self.n_docs = len(searched)
        self.dim = searched.dim
        self.has_spans = searched.has_spans
        self.has_passages = isinstance(searched, Collection) and searched.passages is not None
        fingerprint = None if encoder is None else encoder.fingerprint("document")
        self.takes_texts = fingerprint is not None and fingerprint == searched.fingerprint

    def __contains__(self, doc_id: str) -> bool:
        return doc_id in self._searched

    def copied(self) -> Searched:
        """The collection or index, to be changed; this state stays as it is."""
        return copy.copy(self._searched)

    def expect_texts(self) -> Encoder:
        """The model of texts for this index; raises InputError where it was built with another one."""
        if self.takes_texts and self._encoder is not None:
            return self._encoder
        if self._searched.fingerprint is None:
            fault = "the index does not name the model of its embeddings"
        else:
            fault = (
                "the index was built with another model, or other settings of it, than the server's"
            )
        raise InputError(
            f"{fault}; send embeddings, or serve it with the model that it was built with"
        )

    def search(
        self,
        queries: TokenEmbeddings,
        k: int,
        *,
        spans: bool | SpanSettings | None = None,
        **options: Any,
    ) -> Sequence[Sequence[ServedHit]]:
        """The best documents of each query.

        Args:
            queries: Embeddings of the queries.
            k: Number of documents of each, at most.
            spans: As in Collection.search.
            **options: ``filter``, ``nprobe``, ``n_candidates``, ``exact``, ``offset``, ``group_by``
                and, for several queries, ``n_threads`` of PlaidIndex.search.

        Raises:
            InputError: An argument does not fit the index.
        """
        expect_encoder(queries.fingerprint, self._searched.fingerprint)
        options["spans"] = self.has_spans if spans is None else spans
        if len(queries) == 1:  # a single search does not wait for the compiler, nor use all CPUs
            return [self._searched.search(queries[0], k, **{**options, "n_threads": 1})]
        if isinstance(self._searched, Collection):
            return self._searched.search(queries, k, **options)
        return self._searched.search_batch(queries, k, **options)

    def rescore(
        self,
        queries: TokenEmbeddings,
        results: Sequence[Sequence[ServedHit]],
        documents: TokenEmbeddings,
        doc_ids: Sequence[str],
        *,
        spans: bool | SpanSettings | None = None,
    ) -> Sequence[Sequence[ServedHit]]:
        """The results of a search in the order of exact MaxSim, without the index's compression.

        Args:
            queries: Embeddings of the queries.
            results: The results of each.
            documents: What the server's model made of the documents in all of the results.
            doc_ids: Their ids.
            spans: As in ``search``.

        Raises:
            InputError: The index has no texts.
        """
        collection = self._expect_collection()
        row_of = {doc_id: row for row, doc_id in enumerate(doc_ids)}
        ranked = []
        for query, hits in zip(queries, results, strict=True):
            own = documents.select([row_of[hit.doc_id] for hit in hits])
            ids = [hit.doc_id for hit in hits]
            ranked.append(collection.rerank(query, ids, spans=spans, embeddings=own))
        return ranked

    def explain(
        self, query: str, embeddings: Any, doc_id: str, k: int, **options: Any
    ) -> Explanation:
        """Follow a document of the index through the stages of a search.

        Args:
            query: The query's text.
            embeddings: (n_query_tokens, dim) embeddings of it.
            doc_id: The document.
            k: Number of results that the search looks for.
            **options: ``nprobe`` and ``n_candidates`` of PlaidIndex.search.

        Raises:
            InputError: There is no such document, or the server has another model than the index.
        """
        encoder = self.expect_texts()
        if self.collection is not None:
            explain = self.collection.explain
            return explain(query, doc_id, k, query_embeddings=embeddings, **options)
        assert self.index is not None
        return with_words(self.index.explain(embeddings, doc_id, k, **options), encoder, query)

    def texts_of(self, doc_ids: Sequence[str]) -> list[str]:
        """The texts that the model reads for documents of the index.

        Raises:
            InputError: The index has no texts, or no such document.
        """
        collection = self._expect_collection()
        return collection.model_texts(collection.get(doc_ids))

    def document(self, doc_id: str) -> tuple[StoredDocument, EncodedText] | None:
        """A document and what the model read of it; None where the index keeps no texts."""
        if self.collection is None:
            return None
        document = self.collection[doc_id]
        return document, encoded_text(document, self.collection.title_separator)

    def model_texts(self, documents: Sequence[StoredDocument]) -> list[str]:
        """The texts that the model reads for documents.

        Raises:
            InputError: An id repeats.
        """
        if self.collection is not None:
            return self.collection.model_texts(documents)
        return [encoded_text(document, _SEPARATOR).content for document in documents]

    def _expect_collection(self) -> Collection:
        if self.collection is None:
            raise InputError("the index has no texts to encode again; leave rescore out")
        return self.collection

    def info(self) -> dict[str, Any]:
        """Counts, model and settings, as ``info`` of collection and index have them."""
        return self._searched.info()


def expect_folder(name: str, folder: Path | str) -> None:
    """Raise StorageError where an index that is to be served has no folder."""
    if not os.path.isdir(folder):
        raise StorageError(
            f"index {name!r}: there is no folder {os.path.abspath(folder)}; give a collection or an index"
        )


class ServedIndex:
    """A folder that the server searches and changes: a collection, or an index of embeddings alone.

    Searches take ``state`` once and use it to their end. A change works on a copy and replaces the
    state when it is complete, so that no search waits for it.

    Attributes:
        name: Its name in paths.
        folder: The folder.
        read_only: Whether changes are refused.
        fault: Why the last change of another process could not be read, else None.
    """

    def __init__(
        self, name: str, folder: Path | str, encoder: Encoder | None, *, read_only: bool = False
    ) -> None:
        """Open the folder.

        Args:
            name: Its name in paths.
            folder: The folder of a collection or an index.
            encoder: The server's model, None for a server of embeddings alone.
            read_only: Whether to refuse changes.

        Raises:
            StorageError: The folder holds neither, or is damaged.
        """
        self.name = name
        self.folder = Path(os.path.abspath(folder))
        self.read_only = read_only
        self.fault: str | None = None
        self._encoder = encoder
        self._changing = Lock()
        self._state: ServedState | None = ServedState(self._open(), encoder)

    @property
    def state(self) -> ServedState:
        """The index as it is now; raises InputError once it is closed."""
        if self._state is None:
            raise InputError(f"index {self.name!r} is closed")
        return self._state

    @property
    def n_docs(self) -> int:
        """Number of documents."""
        return self.state.n_docs

    @property
    def version(self) -> str:
        """Digest of the manifest."""
        return self.state.version

    def warm(self) -> None:
        """Verify the files and compile the kernels of searches, by searching."""
        if self.n_docs:
            query = np.zeros((1, self.state.dim), np.float32)
            self.state.search(TokenEmbeddings.from_list([query, query]), 1)

    def refresh(self) -> bool:
        """See what other processes changed; searches that run keep what they see.

        A change that cannot be read is logged once and leaves the index as it was.

        Returns:
            Whether there was a change.
        """
        if self._state is None or not self._changing.acquire(blocking=False):
            return False  # the change that is being made begins with what others changed
        try:
            searched = self.state.copied()
            try:
                is_changed = searched.refresh()
            except ColmodernError as error:
                if self.fault is None:
                    _log.error("index %r stays as it was: %s", self.name, error)
                self.fault = str(error)
                return False
            self.fault = None
            if is_changed:
                self._state = ServedState(searched, self._encoder)
            return is_changed
        finally:
            self._changing.release()

    def put(
        self,
        documents: Sequence[StoredDocument],
        embeddings: TokenEmbeddings,
        *,
        replaces: bool = True,
        seconds: float,
    ) -> ServedState:
        """Add documents; all or none.

        Args:
            documents: The documents; an index of embeddings alone keeps their ids and fields.
            embeddings: What the server's model made of ``state.model_texts(documents)``, or what an
                index of embeddings alone is given by its client.
            replaces: Whether documents with the same ids are replaced, and not refused.
            seconds: How long to wait for other changes.

        Returns:
            The state after the change.

        Raises:
            InputError: The index is read-only, or a document or an embedding does not fit it.
            LockedError: Another change took longer.
            StorageError: The disk is full.
        """

        def change(searched: Searched) -> None:
            if isinstance(searched, Collection):
                keep = searched.update if replaces else searched.add
                return keep(documents, embeddings=embeddings)
            ids = [document.doc_id for document in documents]
            put = searched.update if replaces else searched.add
            return put(embeddings, ids, fields=[document.fields for document in documents])

        return self._change(change, seconds)

    def delete(self, ids: Sequence[str], *, seconds: float) -> ServedState:
        """Delete documents; all or none.

        Args:
            ids: Ids of documents of the index.
            seconds: How long to wait for other changes.

        Returns:
            The state after the change.

        Raises:
            InputError: The index is read-only, or has no such document.
            LockedError: Another change took longer.
        """
        return self._change(lambda searched: searched.delete(ids), seconds)

    def close(self) -> None:
        """Give up the files; later searches raise InputError, and running ones go on."""
        with self._changing:
            self._state = None

    def _change(self, change: Callable[[Searched], object], seconds: float) -> ServedState:
        """Make a change as the only writer."""
        if self.read_only:
            raise InputError(f"index {self.name!r} is served with read_only; change it elsewhere")
        deadline = time.monotonic() + seconds
        if not self._changing.acquire(timeout=max(0.0, seconds)):
            raise LockedError(f"index {self.name!r} is being changed; try again later")
        try:
            before = self.state
            searched = before.copied()
            try:
                _patiently(change, searched, deadline)
            finally:
                if searched.version != before.version:  # also where it failed after it was made
                    self._state = ServedState(searched, self._encoder)
            return self.state
        finally:
            self._changing.release()

    def _open(self) -> Searched:
        encoder = self._encoder
        device = "auto" if encoder is None else encoder.device
        expect_folder(self.name, self.folder)
        if not is_collection_folder(self.folder):
            return PlaidIndex.load(self.folder, device=device)
        own = read_manifest(self.folder).encoder.fingerprint
        if encoder is not None and encoder.fingerprint("document") != own:
            encoder = None  # the collection loads its own where it is needed
        return Collection.open(
            self.folder, read_only=self.read_only, device=device, encoder=encoder
        )


def _patiently(change: Callable[[Searched], object], searched: Searched, deadline: float) -> None:
    """Make a change as soon as no other process writes; raises LockedError after the deadline."""
    while True:
        try:
            change(searched)
            return
        except LockedError:  # nothing was changed yet
            left = deadline - time.monotonic()
            if left <= 0:
                raise
            time.sleep(min(_RETRY, left))
