from __future__ import annotations

import asyncio
from typing import Any

import pytest
from integrations.conftest import TEXTS

from colmodern import Collection, Encoder, Reranker
from colmodern.errors import InputError

pytestmark = [pytest.mark.tools, pytest.mark.filterwarnings("ignore")]
schema: Any = pytest.importorskip("llama_index.core.schema", reason="needs the extra llama-index")

QUERY = "how to parse a date"


def test_the_retriever_gives_nodes_with_their_fields(collection: Collection) -> None:
    from colmodern.integrations.llama_index import ColmodernRetriever

    retriever = ColmodernRetriever(collection, k=2)
    hits = collection.search(QUERY, 2)
    nodes = retriever.retrieve(QUERY)
    assert [(x.node.node_id, x.node.text) for x in nodes] == [(h.doc_id, h.text) for h in hits]
    assert [x.score for x in nodes] == pytest.approx([hit.score for hit in hits])
    assert nodes[0].node.metadata == {"origin": f"{hits[0].doc_id}.txt", "title": ""}
    again = asyncio.run(retriever.aretrieve(QUERY))
    assert [x.node.node_id for x in again] == [hit.doc_id for hit in hits]
    allowed = ColmodernRetriever(collection, filter=["d4"]).retrieve(QUERY)
    assert [x.node.node_id for x in allowed] == ["d4"]
    with pytest.raises(InputError, match="k=0"):
        ColmodernRetriever(collection, k=0)
    with pytest.raises(InputError, match="collection='small'; pass an opened one"):
        ColmodernRetriever("small")


def test_the_reranker_orders_nodes_of_any_retriever(tiny: Encoder) -> None:
    from colmodern.integrations.llama_index import ColmodernReranker

    nodes = [
        schema.NodeWithScore(node=schema.TextNode(id_=doc_id, text=text), score=0.0)
        for doc_id, text in TEXTS.items()
    ]
    reranker = Reranker(tiny)
    best = ColmodernReranker(reranker=reranker, top_n=2).postprocess_nodes(nodes, query_str=QUERY)
    wanted = reranker.rank(QUERY, TEXTS, 2)
    assert [x.node.node_id for x in best] == [document.doc_id for document in wanted]
    assert [x.score for x in best] == pytest.approx([document.score for document in wanted])
    assert ColmodernReranker(reranker=reranker).postprocess_nodes([], query_str=QUERY) == []
    with pytest.raises(InputError, match="pass the query that the nodes are ranked for"):
        ColmodernReranker(reranker=reranker).postprocess_nodes(nodes)
    with pytest.raises(ValueError, match=r"reranker='tiny'; pass one, as Reranker\(MODEL\)"):
        ColmodernReranker(reranker="tiny")
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        ColmodernReranker(reranker=reranker, top_n=0)
