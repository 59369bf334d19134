"""An index that is served as it is at one moment: what searches and requests ask of it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from colmodern.collection.collection import Collection
from colmodern.collection.documents import CollectionHit, EncodedText, StoredDocument, encoded_text
from colmodern.collection.model import EncodedDocuments
from colmodern.encoder.encoder import Encoder
from colmodern.errors import InputError
from colmodern.index.plaid.index import PlaidIndex
from colmodern.index.plaid.search.queries import expect_encoder
from colmodern.index.sharded.index import ShardedIndex
from colmodern.index.sharded.known import known_ids
from colmodern.index.spans import SpanSettings
from colmodern.passages import passage_ids
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.token_words import with_words
from colmodern.types import Explanation, ScoredDoc

Searched = Collection | PlaidIndex | ShardedIndex
ServedHit = CollectionHit | ScoredDoc  # the first where the index has texts
_SEPARATOR = " "  # between title and text, for an index that does not know its own


class ServedState:
    """An index as it is at one moment, for as many searches as want it; a change makes another.

    Attributes:
        collection: The collection, None where the folder holds an index alone.
        index: The index, None where the folder holds a collection.
        version: Digest of the manifest.
        n_docs: Number of documents.
        is_complete: Whether version and n_docs are of all shards; those of a cluster may be lost.
        dim: Width of a token embedding.
        takes_texts: Whether the server's model is the one that the documents were encoded with.
        has_spans: Whether searches can show the passages that matched.
        has_passages: Whether it is a collection that ranks documents by their passages.
        is_sharded: Whether shards are searched, which may be on other machines.
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
        self.is_complete: bool = getattr(searched, "is_whole", True)
        self.is_sharded = isinstance(searched, ShardedIndex)
        self.has_passages = isinstance(searched, Collection) and searched.passages is not None
        fingerprint = None if encoder is None else encoder.fingerprint("document")
        self.takes_texts = fingerprint is not None and fingerprint == searched.fingerprint

    def __contains__(self, doc_id: str) -> bool:
        return doc_id in self._searched

    def known_ids(self, doc_ids: Sequence[str]) -> list[str]:
        """The ids of documents that it has, in their order; shards are asked once for all of them."""
        return known_ids(self._searched, doc_ids)

    def copied(self) -> Searched:
        """The collection or index, to be changed; this state stays as it is."""
        return copy.copy(self._searched)

    def expect_texts(self) -> Encoder:
        """The model that encodes texts for this index.

        Raises:
            InputError: The index was built with another model, or with one that it does not name.
        """
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
        counts: Mapping[str, int],
        *,
        spans: bool | SpanSettings | None = None,
    ) -> Sequence[Sequence[ServedHit]]:
        """The results of a search in the order of exact MaxSim, without the index's compression.

        Args:
            queries: Embeddings of the queries.
            results: The results of each.
            documents: What the server's model made of the documents in all of the results, or of
                their passages.
            counts: For each of these documents, in their order, how many of ``documents`` it is: 1,
                or its passages.
            spans: As in ``search``.

        Raises:
            InputError: The index has no texts.
        """
        collection = self._expect_collection()
        ends = dict(zip(counts, accumulate(counts.values()), strict=True))
        ranked = []
        for query, hits in zip(queries, results, strict=True):
            own = {hit.doc_id: counts[hit.doc_id] for hit in hits}
            rows = [row for name in own for row in range(ends[name] - counts[name], ends[name])]
            embeddings = self.encoded(documents.select(rows), own)
            ranked.append(collection.rerank(query, list(own), spans=spans, embeddings=embeddings))
        return ranked

    def encoded(self, embeddings: TokenEmbeddings, counts: Mapping[str, int]) -> EncodedDocuments:
        """What the server's model made of documents, as the index takes it.

        Args:
            embeddings: Of the documents, or of their passages where the index has these.
            counts: For each document how many of ``embeddings`` it is, as in ``rescore``.
        """
        return (
            (embeddings, passage_ids(counts, counts.values())) if self.has_passages else embeddings
        )

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
