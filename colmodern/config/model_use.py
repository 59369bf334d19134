"""Kinds of index that need a model."""

from __future__ import annotations

from colmodern.config.index import Bm25IndexConfig, HybridIndexConfig, IndexSettings


def needs_model(index: IndexSettings) -> bool:
    """Whether a model encodes the queries; BM25 and TREC runs alone need none."""
    if isinstance(index, HybridIndexConfig):
        return any(not isinstance(search, str) and needs_model(search) for search in index.of)
    return not isinstance(index, Bm25IndexConfig)
