"""A retriever and a reranker for LlamaIndex (extra ``llama-index``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from colmodern.arguments import checked_count
from colmodern.errors import InputError
from colmodern.integrations.inputs import CheckedReranker, checked_collection
from colmodern.optional import require

if TYPE_CHECKING:
    from colmodern.collection.reader import CollectionReader
    from colmodern.index.filters import Filter

retrievers = require("llama_index.core.retrievers", extra="llama-index")
postprocessor = require("llama_index.core.postprocessor.types", extra="llama-index")
schema = require("llama_index.core.schema", extra="llama-index")


class ColmodernRetriever(retrievers.BaseRetriever):  # type: ignore[misc, name-defined]
    """The documents of a collection that match a query, as LlamaIndex's nodes with scores.

    A node has the document's id and text; its metadata are the document's own fields and "title".

    Args:
        collection: The opened Collection.
        k: Number of documents, at most.
        filter: As in Collection.search.
        **options: Further arguments of LlamaIndex's BaseRetriever.
    """

    def __init__(
        self,
        collection: CollectionReader,
        k: int = 10,
        *,
        filter: Filter | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._collection = checked_collection(collection)
        self._k, self._filter = checked_count("k", k), filter

    def _retrieve(self, query_bundle: Any) -> list[Any]:
        hits = self._collection.search(
            query_bundle.query_str, self._k, filter=self._filter, spans=False
        )
        return [
            schema.NodeWithScore(
                node=schema.TextNode(
                    id_=hit.doc_id, text=hit.text, metadata={**hit.fields, "title": hit.title}
                ),
                score=hit.score,
            )
            for hit in hits
        ]


class ColmodernReranker(postprocessor.BaseNodePostprocessor):  # type: ignore[misc, name-defined]
    """Nodes of any retriever in the order of MaxSim.

    Attributes:
        reranker: A colmodern Reranker.
        top_n: Number of nodes to keep; None: all.
    """

    reranker: CheckedReranker
    top_n: int | None = Field(None, ge=1)

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex knows it."""
        return "ColmodernReranker"

    def _postprocess_nodes(self, nodes: list[Any], query_bundle: Any = None) -> list[Any]:
        if query_bundle is None:
            raise InputError("query_bundle=None; pass the query that the nodes are ranked for")
        texts = [node.node.get_content() for node in nodes]
        best = self.reranker.rank(query_bundle.query_str, texts, self.top_n)  # ids are positions
        return [
            schema.NodeWithScore(node=nodes[int(position)].node, score=score)
            for position, score, _ in best
        ]
