"""An open collection as its readers use it: search, rerank, explain."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from colmodern.arguments import expect_counts
from colmodern.collection.documents import (
    CollectionHit,
)
from colmodern.collection.fields import expect_filter
from colmodern.collection.hits import expected_document, wanted_spans
from colmodern.collection.model import EncodedDocuments
from colmodern.collection.opened import OpenCollection
from colmodern.collection.search import rerank, search_many, search_one
from colmodern.index.filters import Filter
from colmodern.index.inputs import Embeddings
from colmodern.index.pages import checked_page
from colmodern.index.passages import PassageIndex
from colmodern.index.spans import SpanSettings
from colmodern.progress import Progress
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.token_words import with_words
from colmodern.types import BatchResults, Explanation, RankedDoc, Results, ScoredDoc


class CollectionReader(OpenCollection):
    """A collection's folder, opened: searched with text, and read by id.

    Safe to search from many threads. Searches see the documents that were there when it was opened,
    and later ones after ``refresh``. A pickle holds the path and opens the collection as it is then.

    Attributes:
        folder: The folder, absolute.
        read_only: Whether changes are refused.
    """

    @overload
    def search(  # type: ignore[overload-overlap]  # a text is an iterable of texts too
        self, query: str | npt.NDArray[np.floating], k: int = ..., *,
        spans: bool | SpanSettings | None = ..., filter: Filter | None = ...,
        nprobe: int | None = ..., n_candidates: int | None = ..., rescore: Embeddings | None = ...,
        exact: bool = ..., n_threads: int | None = ..., offset: int = ...,
        group_by: str | None = ..., progress: Progress | bool | None = ...,
    ) -> Results[CollectionHit]: ...  # fmt: skip
    @overload
    def search(
        self, query: Iterable[str] | TokenEmbeddings, k: int = ..., *,
        spans: bool | SpanSettings | None = ..., filter: Filter | None = ...,
        nprobe: int | None = ..., n_candidates: int | None = ..., rescore: Embeddings | None = ...,
        exact: bool = ..., n_threads: int | None = ..., offset: int = ...,
        group_by: str | None = ..., progress: Progress | bool | None = ...,
    ) -> BatchResults[CollectionHit]: ...  # fmt: skip
    def search(
        self,
        query: str | npt.NDArray[np.floating] | Iterable[str] | TokenEmbeddings,
        k: int = 10,
        *,
        spans: bool | SpanSettings | None = None,
        filter: Filter | None = None,
        nprobe: int | None = None,
        n_candidates: int | None = None,
        rescore: Embeddings | None = None,
        exact: bool = False,
        n_threads: int | None = None,
        offset: int = 0,
        group_by: str | None = None,
        progress: Progress | bool | None = None,
    ) -> Results[CollectionHit] | BatchResults[CollectionHit]:
        """The best ``k`` documents of a query, best first, with their texts.

        Args:
            query: One text, or a list of them; or what the collection's encoder made of them: an
                (n_query_tokens, dim) array of one query, or TokenEmbeddings of many.
            k: Number of documents of each query, at most.
            spans: Whether to show the passages that matched: True, False, or SpanSettings; default
                where the collection can.
            filter: Conditions on fields, as ``{"year": {"gte": 2020}, "lang": "en"}``, ids of
                allowed documents, or a function of an id.
            nprobe: As in PlaidIndex.search, like the arguments that follow.
            n_candidates: As in PlaidIndex.search.
            rescore: As in PlaidIndex.search.
            exact: As in PlaidIndex.search.
            n_threads: As in PlaidIndex.search.
            offset: Results to leave out before the first, for the next page.
            group_by: A field of which each value shall be among the hits once, with its best
                document; ``group`` of a hit is the value.
            progress: True for a bar on stderr, for many queries.

        Returns:
            The hits of one query; for many queries, one list of hits for each.

        Raises:
            InputError: A query has no text or comes from another encoder, a setting is wrong, or
                the collection has no spans.
        """
        state = self._state
        settings = wanted_spans(spans, state, self.folder)
        expect_filter(filter, state.manifest, self.folder)
        page = checked_page(k, offset, group_by)
        options: dict[str, Any] = {
            "filter": filter, "nprobe": nprobe, "n_candidates": n_candidates, "rescore": rescore,
            "exact": exact, "n_threads": n_threads, "offset": page.offset, "group_by": group_by,
            "spans": False if settings is None else settings,
        }  # fmt: skip
        if isinstance(query, str) or getattr(query, "ndim", None) == 2:
            return search_one(state, query, k, self._loaded, options)
        return search_many(state, query, k, self._loaded, options, progress=progress)

    def rerank(
        self,
        query: str | npt.NDArray[np.floating],
        documents: Iterable[str | RankedDoc | ScoredDoc],
        k: int | None = None,
        *,
        spans: bool | SpanSettings | None = None,
        embeddings: EncodedDocuments | None = None,
    ) -> Results[CollectionHit]:
        """Order documents of the collection by exact MaxSim: their texts are encoded again.

        For texts that are not in the collection, use ``Reranker(collection.encoder)``.

        Args:
            query: One text; or its (n_query_tokens, dim) embeddings, where ``embeddings`` are given.
            documents: Ids of the collection's documents, or results of a search.
            k: Number of documents to return; default all.
            spans: As in ``search``.
            embeddings: What the collection's encoder made of the documents, in their order, where
                that is at hand; nothing is encoded then. Of a collection of passages it is the pair
                that ``encode_passages`` returns.

        Returns:
            The best documents, best first.

        Raises:
            InputError: A document is not in the collection or repeats, or the query has no text.
        """
        state = self._state
        settings = wanted_spans(spans, state, self.folder)
        expect_counts(k=k)
        return rerank(state, query, documents, k, self._loaded, settings, embeddings)

    def explain(
        self,
        query: str,
        doc_id: str,
        k: int = 10,
        *,
        nprobe: int | None = None,
        n_candidates: int | None = None,
        query_embeddings: npt.ArrayLike | None = None,
    ) -> Explanation:
        """Follow a document through the stages of a search.

        Args:
            query: One text.
            doc_id: The document.
            k: Number of documents that the search looks for.
            nprobe: As in PlaidIndex.search.
            n_candidates: As in PlaidIndex.search.
            query_embeddings: (n_query_tokens, dim) embeddings of ``query``, where they are at hand.

        Returns:
            As from PlaidIndex.explain, with the words of the tokens. Characters are those of the
            encoded text: title, separator and text. Of a collection of passages, the document's best
            passage is explained, whose ranks are among passages.

        Raises:
            InputError: The collection has no such document.
        """
        state = self._state
        document = expected_document(state, doc_id)
        assert state.index is not None  # it has a document
        text, encoder = state.encoded(document).content, self.encoder
        if query_embeddings is None:
            query_embeddings = encoder.encode_queries([query])[0]
        stored_id = doc_id
        if isinstance(state.documents, PassageIndex):
            stored_id = state.documents.best_passage(query_embeddings, doc_id)
        explanation = state.index.explain(
            query_embeddings, stored_id, k, nprobe=nprobe, n_candidates=n_candidates,
            text=text if state.manifest.spans else None,
        )  # fmt: skip
        return with_words(explanation, encoder, query, text=text)
