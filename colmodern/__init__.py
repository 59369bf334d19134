"""Late-interaction (ColBERT-style) retrieval: encode, index, rank and evaluate, reproducibly.

Names are loaded on first use, so ``import colmodern`` costs milliseconds and loads no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "BM25Index",
    "CheckpointError",
    "Collection",
    "CollectionHit",
    "ColmodernError",
    "ConfigError",
    "DataError",
    "EmbeddingStore",
    "Encoder",
    "ExactIndex",
    "GroupedHit",
    "Hit",
    "HybridIndex",
    "InputError",
    "MissingExtraError",
    "PassageHit",
    "PassageIndex",
    "PlaidIndex",
    "RemoteIndex",
    "RerankIndex",
    "Reranker",
    "ResourceError",
    "ScoredDoc",
    "ShardedIndex",
    "Span",
    "SpanSettings",
    "StorageError",
    "StoredDocument",
    "TokenEmbeddings",
    "TokenSpans",
    "UnavailableError",
    "WorkerError",
    "create_app",
    "encode_passages",
    "evaluate",
    "fuse",
    "load_dataset",
    "matched_spans",
    "run_eval",
    "shard_index",
    "shard_of",
]

if TYPE_CHECKING:
    from colmodern.collection.collection import Collection
    from colmodern.collection.documents import CollectionHit, StoredDocument
    from colmodern.datasets.load import load_dataset
    from colmodern.encoder.encoder import Encoder
    from colmodern.encoder.passages import encode_passages
    from colmodern.errors import (
        CheckpointError,
        ColmodernError,
        ConfigError,
        DataError,
        InputError,
        MissingExtraError,
        ResourceError,
        StorageError,
        UnavailableError,
        WorkerError,
    )
    from colmodern.evaluation.measures import evaluate
    from colmodern.fusion import fuse
    from colmodern.index.bm25.index import BM25Index
    from colmodern.index.exact.index import ExactIndex
    from colmodern.index.passages import PassageIndex
    from colmodern.index.plaid.index import PlaidIndex
    from colmodern.index.remote.index import RemoteIndex
    from colmodern.index.sharded.index import ShardedIndex
    from colmodern.index.sharded.placement import shard_of
    from colmodern.index.sharded.split import shard_index
    from colmodern.index.spans import SpanSettings, matched_spans
    from colmodern.index.staged import HybridIndex, RerankIndex
    from colmodern.passages import PassageHit
    from colmodern.pipeline.evaluate.run import run_eval
    from colmodern.ragged.embeddings import TokenEmbeddings
    from colmodern.ragged.spans import TokenSpans
    from colmodern.ragged.store import EmbeddingStore
    from colmodern.rerank import Reranker
    from colmodern.service.app import create_app
    from colmodern.types import GroupedHit, Hit, ScoredDoc, Span

_HOMES = {
    "BM25Index": "colmodern.index.bm25.index",
    "CheckpointError": "colmodern.errors",
    "Collection": "colmodern.collection.collection",
    "CollectionHit": "colmodern.collection.documents",
    "ColmodernError": "colmodern.errors",
    "ConfigError": "colmodern.errors",
    "DataError": "colmodern.errors",
    "EmbeddingStore": "colmodern.ragged.store",
    "Encoder": "colmodern.encoder.encoder",
    "ExactIndex": "colmodern.index.exact.index",
    "GroupedHit": "colmodern.types",
    "Hit": "colmodern.types",
    "HybridIndex": "colmodern.index.staged",
    "InputError": "colmodern.errors",
    "MissingExtraError": "colmodern.errors",
    "PassageHit": "colmodern.passages",
    "PassageIndex": "colmodern.index.passages",
    "PlaidIndex": "colmodern.index.plaid.index",
    "RemoteIndex": "colmodern.index.remote.index",
    "RerankIndex": "colmodern.index.staged",
    "Reranker": "colmodern.rerank",
    "ResourceError": "colmodern.errors",
    "ScoredDoc": "colmodern.types",
    "ShardedIndex": "colmodern.index.sharded.index",
    "Span": "colmodern.types",
    "SpanSettings": "colmodern.index.spans",
    "StorageError": "colmodern.errors",
    "StoredDocument": "colmodern.collection.documents",
    "TokenEmbeddings": "colmodern.ragged.embeddings",
    "TokenSpans": "colmodern.ragged.spans",
    "UnavailableError": "colmodern.errors",
    "WorkerError": "colmodern.errors",
    "create_app": "colmodern.service.app",
    "encode_passages": "colmodern.encoder.passages",
    "evaluate": "colmodern.evaluation.measures",
    "fuse": "colmodern.fusion",
    "load_dataset": "colmodern.datasets.load",
    "matched_spans": "colmodern.index.spans",
    "run_eval": "colmodern.pipeline.evaluate.run",
    "shard_index": "colmodern.index.sharded.split",
    "shard_of": "colmodern.index.sharded.placement",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'colmodern' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
