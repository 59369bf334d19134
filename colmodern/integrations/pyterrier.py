"""A retriever and a reranker as stages of PyTerrier's pipelines (extra ``pyterrier``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from colmodern.arguments import checked_count
from colmodern.collection.reader import CollectionReader
from colmodern.encoder.encoder import Encoder
from colmodern.index.staged import HybridIndex, RerankIndex
from colmodern.integrations.inputs import expect_searchable
from colmodern.optional import require
from colmodern.rerank import Reranker

if TYPE_CHECKING:
    from pandas import DataFrame

pt = require("pyterrier", extra="pyterrier")
pd = require("pandas", extra="pyterrier")


class ColmodernRetriever(pt.Transformer):  # type: ignore[misc, name-defined]
    """From queries to documents of a collection or an index: ``retriever >> other_stage``.

    Columns qid and query become qid, query, docno, score and rank, of a collection also text. Other
    columns of the queries stay.

    Args:
        searched: A Collection, a BM25Index, or an index of embeddings, also a HybridIndex or RerankIndex.
        encoder: The encoder that made these embeddings.
        k: Number of documents of each query, at most.

    Raises:
        InputError: It cannot be searched; an index of embeddings has no encoder, or one is given where
            none is needed.
    """

    def __init__(self, searched: Any, encoder: Encoder | None = None, *, k: int = 1000) -> None:
        expect_searchable(searched, encoder)
        self.searched: Any = searched
        self.encoder, self.k = encoder, checked_count("k", k)

    def transform(self, inp: DataFrame) -> DataFrame:
        """The documents of each query, best first; ranks begin at 0, as PyTerrier's do."""
        pt.validate.query_frame(inp, extra_columns=["query"])
        texts: Any = list(inp["query"])
        with_text = isinstance(self.searched, CollectionReader)
        hits: Any = []
        if texts and with_text:
            hits = self.searched.search(texts, self.k, spans=False)
        elif texts:
            queries = texts if self.encoder is None else self.encoder.encode_queries(texts)
            both = isinstance(self.searched, HybridIndex | RerankIndex)
            hits = self.searched.search_batch(*([texts] if both else []), queries, self.k)
        topics = inp.drop(columns=["docno", "score", "rank", "text"], errors="ignore")
        rows = [
            [*topic, hit.doc_id, float(hit.score), rank, *([hit.text] if with_text else [])]
            for topic, results in zip(topics.itertuples(index=False), hits, strict=True)
            for rank, hit in enumerate(results, pt.model.FIRST_RANK)
        ]
        columns = [*topics.columns, "docno", "score", "rank", *(["text"] if with_text else [])]
        return pd.DataFrame(rows, columns=columns)


class ColmodernReranker(pt.Transformer):  # type: ignore[misc, name-defined]
    """From documents with texts to their order by MaxSim: ``bm25 >> get_text >> reranker``.

    Args:
        model: A Reranker, an Encoder, or the name or folder of a checkpoint.
        text_field: Column with the documents' texts.
    """

    def __init__(self, model: Reranker | Encoder | str, *, text_field: str = "text") -> None:
        self.reranker = model if isinstance(model, Reranker) else Reranker(model)
        self.text_field = text_field

    def transform(self, inp: DataFrame) -> DataFrame:
        """The same rows with new scores and ranks, best first within each query."""
        pt.validate.result_frame(inp, extra_columns=["query", self.text_field])
        frame = inp.reset_index(drop=True)
        groups = [group for _, group in frame.groupby("qid", sort=False)]
        ranked = self.reranker.rank_batch(
            [group["query"].iloc[0] for group in groups],
            # a row is known by its position: a document may stand there twice
            [
                dict(zip(map(str, group.index), group[self.text_field], strict=True))
                for group in groups
            ],
        )
        rows = [
            (int(document.doc_id), document.score, rank)
            for documents in ranked
            for rank, document in enumerate(documents, pt.model.FIRST_RANK)
        ]
        best = frame.iloc[[row for row, _, _ in rows]].reset_index(drop=True)
        return best.assign(score=[row[1] for row in rows], rank=[row[2] for row in rows])
