from __future__ import annotations

import asyncio
from typing import Any

import pytest
from integrations.conftest import TEXTS

from colmodern import Collection, Encoder, Reranker

pytestmark = [pytest.mark.tools, pytest.mark.filterwarnings("ignore")]
documents: Any = pytest.importorskip("langchain_core.documents", reason="needs the extra langchain")

QUERY = "how to parse a date"


def test_the_retriever_gives_documents_with_their_fields(collection: Collection) -> None:
    from colmodern.integrations.langchain import ColmodernRetriever

    retriever = ColmodernRetriever(collection=collection, k=2)
    hits = collection.search(QUERY, 2)
    results = retriever.invoke(QUERY)
    assert [(d.id, d.page_content) for d in results] == [(hit.doc_id, hit.text) for hit in hits]
    assert results[0].metadata == {
        "origin": f"{hits[0].doc_id}.txt",
        "title": "",
        "score": hits[0].score,
        "passages": list(hits[0].passages),
    }
    assert asyncio.run(retriever.ainvoke(QUERY)) == results
    chain = retriever | (lambda found: [document.id for document in found])
    assert chain.invoke(QUERY) == [hit.doc_id for hit in hits]


def test_the_retriever_takes_a_filter(collection: Collection) -> None:
    from colmodern.integrations.langchain import ColmodernRetriever

    retriever = ColmodernRetriever(collection=collection, filter=["d2", "d4"])
    assert {document.id for document in retriever.invoke(QUERY)} == {"d2", "d4"}
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        ColmodernRetriever(collection=collection, k=0)
    with pytest.raises(ValueError, match="collection='small'; pass an opened one"):
        ColmodernRetriever(collection="small")


def test_the_reranker_orders_documents_of_any_retriever(tiny: Encoder) -> None:
    from colmodern.integrations.langchain import ColmodernReranker

    texts = [
        documents.Document(page_content=text, metadata={"source": doc_id})
        for doc_id, text in TEXTS.items()
    ]
    reranker = Reranker(tiny)
    best = ColmodernReranker(reranker=reranker, top_n=2).compress_documents(texts, QUERY)
    wanted = reranker.rank(QUERY, TEXTS, 2)
    assert [document.metadata["source"] for document in best] == [x.doc_id for x in wanted]
    scores = [document.metadata["relevance_score"] for document in best]
    assert scores == pytest.approx([x.score for x in wanted])
    assert "relevance_score" not in texts[0].metadata
    assert ColmodernReranker(reranker=reranker).compress_documents([], QUERY) == []
    with pytest.raises(ValueError, match=r"reranker='tiny'; pass one, as Reranker\(MODEL\)"):
        ColmodernReranker(reranker="tiny")
