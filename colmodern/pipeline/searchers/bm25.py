"""BM25 over texts, for candidates to rerank: bm25s with its own defaults."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any

from colmodern.optional import require
from colmodern.pipeline.searchers.base import SearchResults
from colmodern.types import ScoredDoc

EXTRA = "bm25"


def load_bm25s() -> Any:
    """The library; raises MissingExtraError without the extra bm25."""
    bm25s = require("bm25s", extra=EXTRA)
    logging.getLogger("bm25s").setLevel(logging.WARNING)  # it logs each step
    return bm25s


def search_bm25(
    documents: Iterable[tuple[str, str]], queries: Mapping[str, str], k: int
) -> SearchResults:
    """The best ``k`` documents of every query that share a word with it, ties by the smaller id.

    Lucene's BM25 with k1 1.5 and b 0.75, English stop words left out, no stemming.

    Args:
        documents: (doc_id, text) pairs.
        queries: query_id -> text.
        k: Documents to find for each query.

    Raises:
        MissingExtraError: bm25s is not installed.
    """
    bm25s = load_bm25s()
    start = time.perf_counter()
    doc_ids, texts = [], []
    for doc_id, text in documents:
        doc_ids.append(doc_id)
        texts.append(text)
    tokens = bm25s.tokenize(texts, show_progress=False)
    if not queries or not tokens.vocab or not any(map(len, tokens.ids)):
        return SearchResults([[] for _ in queries], time.perf_counter() - start)
    index = bm25s.BM25()
    index.index(tokens, show_progress=False)
    indices, scores = index.retrieve(
        bm25s.tokenize(list(queries.values()), show_progress=False),
        k=min(k, len(doc_ids)),
        show_progress=False,
    )
    results = []
    for doc_indices, doc_scores in zip(indices, scores, strict=True):
        pairs = zip(doc_indices.tolist(), doc_scores.tolist(), strict=True)
        best = [ScoredDoc(doc_ids[i], score) for i, score in pairs if score > 0]
        results.append(sorted(best, key=lambda scored: (-scored.score, scored.doc_id)))
    return SearchResults(results, time.perf_counter() - start)
