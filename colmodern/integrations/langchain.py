"""A retriever and a reranker for LangChain (extra ``langchain``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ConfigDict, Field

from colmodern.integrations.inputs import CheckedCollection, CheckedReranker
from colmodern.optional import require

documents = require("langchain_core.documents", extra="langchain")
retrievers = require("langchain_core.retrievers", extra="langchain")


class ColmodernRetriever(retrievers.BaseRetriever):  # type: ignore[misc, name-defined]
    """The documents of a collection that match a query, as LangChain's documents.

    A document has its id and its text; its metadata are its own fields, and "title", "score" and
    "passages": the words that matched, where the collection keeps spans.

    Attributes:
        collection: The opened Collection.
        k: Number of documents, at most.
        filter: As in Collection.search.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    collection: CheckedCollection
    k: int = Field(10, ge=1)
    filter: Any = None

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Any]:
        return [
            documents.Document(
                id=hit.doc_id,
                page_content=hit.text,
                metadata={
                    **hit.fields,
                    "title": hit.title,
                    "score": hit.score,
                    "passages": list(hit.passages),
                },
            )
            for hit in self.collection.search(query, self.k, filter=self.filter)
        ]


class ColmodernReranker(documents.BaseDocumentCompressor):  # type: ignore[misc, name-defined]
    """Documents of any retriever in the order of MaxSim, each with metadata "relevance_score".

    Attributes:
        reranker: A colmodern Reranker.
        top_n: Number of documents to keep; None: all.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    reranker: CheckedReranker
    top_n: int | None = Field(None, ge=1)

    def compress_documents(
        self, documents: Sequence[Any], query: str, callbacks: Any = None
    ) -> list[Any]:
        """The best of the documents, best first, as copies.

        Args:
            documents: LangChain's documents.
            query: One text.
            callbacks: Not used.
        """
        texts = [document.page_content for document in documents]
        best = self.reranker.rank(query, texts, self.top_n)  # ids are positions
        return [_scored(documents[int(position)], score) for position, score, _ in best]


def _scored(document: Any, score: float) -> Any:
    metadata = {**document.metadata, "relevance_score": score}
    return document.model_copy(update={"metadata": metadata})
