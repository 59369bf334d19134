"""The one list of kinds of index: ``index.kind`` -> the class that prepares and searches it."""

from __future__ import annotations

from importlib import import_module

from colmodern.config.index import IndexConfig, IndexSettings, ShardedIndexConfig
from colmodern.pipeline.searchers.base import Searcher, SearchTexts

# modules are loaded when they are needed: some load numba
_SEARCHERS = {
    "exact": ("colmodern.pipeline.searchers.exact", "ExactSearcher"),
    "plaid": ("colmodern.pipeline.searchers.plaid", "PlaidSearcher"),
    "sharded": ("colmodern.pipeline.searchers.sharded", "ShardedSearcher"),
    "listed shards": ("colmodern.pipeline.searchers.listed", "ListedSearcher"),
    "bm25": ("colmodern.pipeline.searchers.bm25", "Bm25Searcher"),
    "hybrid": ("colmodern.pipeline.searchers.hybrid", "HybridSearcher"),
    "rerank": ("colmodern.pipeline.searchers.rerank", "RerankSearcher"),
}


def searcher_class(kind: str) -> type[Searcher[IndexSettings]]:
    """The class of a kind of index."""
    module, name = _SEARCHERS[kind]
    searcher: type[Searcher[IndexSettings]] = getattr(import_module(module), name)
    return searcher


def make_searcher(
    config: IndexConfig, encoder_device: str, texts: SearchTexts | None = None
) -> Searcher[IndexSettings]:
    """The searcher of a config, with its device settled.

    Args:
        config: Any kind of index.
        encoder_device: Where the encoder is, which ``index.device=auto`` follows.
        texts: Documents and queries, for kinds that read them.

    Raises:
        ConfigError: The device is a GPU that is not there.
        MissingExtraError: The device needs Triton, which is missing.
    """
    are_listed = isinstance(config, ShardedIndexConfig) and config.listed is not None
    kind = "listed shards" if are_listed else config.kind
    return searcher_class(kind)(config, encoder_device, texts)
