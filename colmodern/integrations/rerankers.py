"""A Reranker that is called as those of the package rerankers are (extra ``rerankers``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from colmodern.encoder.encoder import Encoder
from colmodern.errors import InputError
from colmodern.optional import require
from colmodern.rerank import Reranker

ranker = require("rerankers.models.ranker", extra="rerankers")
results = require("rerankers.results", extra="rerankers")
utils = require("rerankers.utils", extra="rerankers")


class ColmodernRanker(ranker.BaseRanker):  # type: ignore[misc, name-defined]
    """Orders documents by MaxSim: ``ColmodernRanker(MODEL).rank(query, docs)``.

    Args:
        model: A Reranker, an Encoder, or the name or folder of a checkpoint.
        **options: Further arguments of Reranker.
    """

    def __init__(self, model: Reranker | Encoder | str | Path, **options: Any) -> None:
        self.reranker = model if isinstance(model, Reranker) else Reranker(model, **options)

    def rank(
        self,
        query: str,
        docs: Any,
        doc_ids: Sequence[str | int] | None = None,
        metadata: Sequence[dict[str, Any]] | None = None,
    ) -> Any:
        """All documents, best first.

        Args:
            query: One text.
            docs: A text or several, or documents of the package.
            doc_ids: Their ids; default 0, 1, ...
            metadata: What the results carry along, for each of them.

        Returns:
            The package's RankedResults.

        Raises:
            InputError: There are more or fewer ids or metadata than documents.
        """
        if not isinstance(docs, str) and not len(docs):
            return results.RankedResults(results=[], query=query, has_scores=True)
        n_docs = 1 if isinstance(docs, str) else len(docs)
        for name, values in (("doc_ids", doc_ids), ("metadata", metadata)):
            if isinstance(values, Sequence) and len(values) != n_docs:
                raise InputError(
                    f"{name} has {len(values)} entries for {n_docs} documents; pass one for each"
                )
        documents = utils.prep_docs(docs, doc_ids, metadata)
        best = self.reranker.rank(query, [document.text for document in documents])
        ranked = [
            results.Result(document=documents[int(position)], score=score, rank=rank)
            for position, score, rank in best  # ids are positions
        ]
        return results.RankedResults(results=ranked, query=query, has_scores=True)

    def score(self, query: str, doc: str) -> float:
        """MaxSim of one text with the query."""
        return float(self.reranker.rank(query, [doc])[0].score)
