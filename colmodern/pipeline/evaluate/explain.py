"""Explanations of single documents of an evaluation, for its report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from colmodern.config.index import PlaidIndexConfig
from colmodern.encoding.store import text_of
from colmodern.pipeline.compressed import compressed_kind
from colmodern.pipeline.explain import KINDS, ExplainSettings, explain_exactly, explain_search
from colmodern.pipeline.open.job import EvalJob
from colmodern.pipeline.passages import stored_id
from colmodern.ragged.store import EmbeddingStore
from colmodern.report.explanation_page import ExplanationReport
from colmodern.token_words import with_words
from colmodern.types import Document, ScoredDoc

Explain = Callable[[str, Document], ExplanationReport]  # takes the id of a query, and a document


def explainer(
    prepared: EvalJob,
    documents: EmbeddingStore,
    queries: EmbeddingStore,
    run: Mapping[str, Sequence[ScoredDoc]],
    index: Path | None,
) -> Explain | None:
    """Explains documents with the embeddings at hand; None without them, or where MaxSim did not rank.

    Args:
        prepared: The evaluation.
        documents: Embeddings of its documents.
        queries: Embeddings of its queries.
        run: Its results.
        index: Folder of its compressed index, if it has one.
    """
    config, encoder = prepared.config, prepared.encoder
    if config.index.kind not in KINDS or not documents.n_docs:
        return None
    compressed = config.index if isinstance(config.index, PlaidIndexConfig) else None
    plaid = None
    if compressed is not None and index is not None:
        plaid = compressed_kind(index).load(index)
    read, k = config.dataset, config.search.k

    def explain(query_id: str, document: Document) -> ExplanationReport:
        doc_id, query = document.doc_id, prepared.dataset.model_queries[query_id]
        text = text_of(document, join_titles=read.join_titles, title_separator=read.title_separator)
        query_store = queries.select([queries.doc_ids.index(query_id)])
        query_rows = np.asarray(query_store.values, np.float32)
        ranks = (rank for rank, result in enumerate(run[query_id], 1) if result[0] == doc_id)
        rank = next(ranks, None)
        doc_id = stored_id(documents, doc_id, query_rows)
        if plaid is not None and compressed is not None:
            settings = ExplainSettings(
                k=k, nprobe=compressed.nprobe, n_candidates=compressed.n_candidates
            )
            explanation = explain_search(plaid, query_rows, doc_id, settings, text)
        else:
            explanation = explain_exactly(query_rows, doc_id, k, documents, rank=rank, text=text)
        token_ids = documents.select([documents.doc_ids.index(doc_id)]).token_ids
        explanation = with_words(explanation, encoder, query, text=text, token_ids=token_ids)
        return ExplanationReport(explanation, query, k, config.name, text)

    return explain
