"""Real PyTerrier pipelines with a retriever and a reranker of ours; needs no Java."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import QUERIES
from integrations.conftest import TEXTS

from colmodern import Collection, Encoder, ExactIndex, HybridIndex, Reranker, evaluate
from colmodern.errors import InputError
from colmodern.index.bm25.index import BM25Index

pytestmark = [pytest.mark.tools, pytest.mark.filterwarnings("ignore")]
pt: Any = pytest.importorskip("pyterrier", reason="needs the extra pyterrier")

TOPICS = pd.DataFrame([{"qid": q["_id"], "query": q["text"]} for q in QUERIES[:3]])
QRELS = pd.DataFrame(
    [("q1", "d1", 2), ("q2", "d2", 1), ("q3", "d3", 1)], columns=["qid", "docno", "label"]
)


def test_a_collection_is_a_retriever(collection: Collection) -> None:
    from colmodern.integrations.pyterrier import ColmodernRetriever

    results = ColmodernRetriever(collection, k=3)(TOPICS)
    assert list(results.columns) == ["qid", "query", "docno", "score", "rank", "text"]
    for topic in TOPICS.itertuples():
        hits = collection.search(topic.query, 3)
        rows = results[results.qid == topic.qid]
        assert list(rows.docno) == [hit.doc_id for hit in hits]
        assert list(rows.score) == pytest.approx([hit.score for hit in hits])
        assert list(rows["rank"]) == [0, 1, 2]
        assert list(rows.text) == [hit.text for hit in hits]


def test_an_index_is_a_retriever_in_an_experiment(tiny: Encoder) -> None:
    from colmodern.integrations.pyterrier import ColmodernRetriever

    index = ExactIndex(tiny.encode_documents(list(TEXTS.values())), list(TEXTS))
    retriever = ColmodernRetriever(index, tiny, k=5)
    table = pt.Experiment([retriever % 2, retriever], TOPICS, QRELS, ["ndcg_cut_10", "recip_rank"])
    queries = tiny.encode_queries(list(TOPICS["query"]))
    run = dict(zip(TOPICS.qid, index.search_batch(queries, 5), strict=True))
    qrels = {row.qid: {row.docno: row.label} for row in QRELS.itertuples()}
    assert table.loc[1, "ndcg_cut_10"] == pytest.approx(evaluate(run, qrels).mean["nDCG@10"])


def test_a_pipeline_reranks_what_another_stage_retrieves(tiny: Encoder) -> None:
    from colmodern.integrations.pyterrier import ColmodernReranker

    rows = [
        {"qid": q, "query": text, "docno": doc_id, "score": float(-i), "rank": i}
        for q, text in zip(TOPICS.qid, TOPICS["query"], strict=True)
        for i, doc_id in enumerate(TEXTS)
    ]
    first = pt.Transformer.from_df(pd.DataFrame(rows))
    texts = pt.apply.text(lambda row: TEXTS[row["docno"]])
    pipeline = first % 4 >> texts >> ColmodernReranker(tiny)
    results = pipeline(TOPICS)
    for topic in TOPICS.itertuples():
        ranked = Reranker(tiny).rank(topic.query, dict(list(TEXTS.items())[:4]))
        mine = results[results.qid == topic.qid]
        assert list(mine.docno) == [document.doc_id for document in ranked]
        assert list(mine.score) == pytest.approx([document.score for document in ranked])
        assert list(mine["rank"]) == [0, 1, 2, 3]


def test_bm25_and_a_reranker_need_no_java(tiny: Encoder, tmp_path: Path) -> None:
    from colmodern.integrations.pyterrier import ColmodernReranker, ColmodernRetriever

    index = BM25Index.build(TEXTS, tmp_path / "bm25")
    first = ColmodernRetriever(index, k=3)
    results = first(TOPICS)
    assert list(results.columns) == ["qid", "query", "docno", "score", "rank"]
    for topic in TOPICS.itertuples():
        hits = index.search(topic.query, 3)
        assert list(results[results.qid == topic.qid].docno) == [hit.doc_id for hit in hits]
    texts = pt.apply.text(lambda row: TEXTS[row["docno"]])
    reranked = (first >> texts >> ColmodernReranker(tiny))(TOPICS)
    assert set(zip(reranked.qid, reranked.docno, strict=True)) == set(
        zip(results.qid, results.docno, strict=True)
    )


def test_stages_keep_other_columns_and_take_empty_frames(
    collection: Collection, tiny: Encoder
) -> None:
    from colmodern.integrations.pyterrier import ColmodernReranker, ColmodernRetriever

    retriever, reranker = ColmodernRetriever(collection, k=2), ColmodernReranker(tiny)
    none = retriever(TOPICS[:0])
    assert list(none.columns) == ["qid", "query", "docno", "score", "rank", "text"]
    assert len(reranker(none)) == 0
    results = (retriever >> reranker)(TOPICS.assign(year=2020))
    assert list(results.year) == [2020] * 6
    twice = pd.concat([results, results])  # row labels repeat
    assert len(reranker(twice)) == 12


def test_wrong_frames_and_encoders_are_refused(collection: Collection, tiny: Encoder) -> None:
    from colmodern.integrations.pyterrier import ColmodernReranker, ColmodernRetriever

    with pytest.raises(InputError, match="leave encoder out"):
        ColmodernRetriever(collection, tiny)
    index = ExactIndex(tiny.encode_documents(["a text"]), ["a"])
    with pytest.raises(InputError, match="pass the encoder of its queries"):
        ColmodernRetriever(index)
    with pytest.raises(InputError, match="searched='folder'; pass a Collection, a BM25Index or an"):
        ColmodernRetriever("folder")
    with pytest.raises(InputError, match="k=0"):
        ColmodernRetriever(collection, k=0)
    with pytest.raises(pt.validate.InputValidationError, match="text"):
        ColmodernReranker(tiny)(ColmodernRetriever(index, tiny)(TOPICS))


def test_searches_of_searches_take_text_and_embeddings(tiny: Encoder, tmp_path: Path) -> None:
    from colmodern.integrations.pyterrier import ColmodernRetriever

    index = ExactIndex(tiny.encode_documents(list(TEXTS.values())), list(TEXTS))
    hybrid = HybridIndex({"words": BM25Index.build(TEXTS, tmp_path / "words"), "exact": index})
    results = ColmodernRetriever(hybrid, tiny, k=3)(TOPICS)
    for topic in TOPICS.itertuples():
        hits = hybrid.search(topic.query, tiny.encode_queries([topic.query])[0], 3)
        assert list(results[results.qid == topic.qid].docno) == [hit.doc_id for hit in hits]
