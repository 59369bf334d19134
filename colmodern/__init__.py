"""Late-interaction (ColBERT-style) retrieval: encode, index, rank and evaluate, reproducibly.

Names are loaded on first use, so ``import colmodern`` costs milliseconds and loads no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "Encoder",
    "ExactIndex",
    "PlaidIndex",
    "Reranker",
    "TokenEmbeddings",
    "evaluate",
    "load_dataset",
]

if TYPE_CHECKING:
    from colmodern.datasets.load import load_dataset
    from colmodern.encoder.encoder import Encoder
    from colmodern.evaluation.measures import evaluate
    from colmodern.index.exact import ExactIndex
    from colmodern.index.plaid.index import PlaidIndex
    from colmodern.ragged.embeddings import TokenEmbeddings
    from colmodern.rerank import Reranker

_HOMES = {
    "Encoder": "colmodern.encoder.encoder",
    "ExactIndex": "colmodern.index.exact",
    "PlaidIndex": "colmodern.index.plaid.index",
    "Reranker": "colmodern.rerank",
    "TokenEmbeddings": "colmodern.ragged.embeddings",
    "evaluate": "colmodern.evaluation.measures",
    "load_dataset": "colmodern.datasets.load",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'colmodern' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
