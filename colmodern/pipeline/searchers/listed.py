"""Shards that a config lists: they are there already, here or on servers, and searched together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from colmodern.config.index import ShardedIndexConfig
from colmodern.encoder.encoder import Encoder
from colmodern.errors import ConfigError
from colmodern.evaluation.fidelity import LostDoc
from colmodern.index.sharded.index import ShardedIndex
from colmodern.pipeline.compressed import ListedShards
from colmodern.pipeline.losses import Loss
from colmodern.pipeline.sample import Sample, Total
from colmodern.pipeline.searchers.base import (
    Searcher,
    SearchTexts,
    Seconds,
    Workload,
    Workspace,
    elsewhere,
)
from colmodern.pipeline.searchers.plaid import PlaidSearcher
from colmodern.progress import Progress
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.store import EmbeddingStore

_BUILD = "build index"


class ListedSearcher(PlaidSearcher):
    """Searches shards that exist, in folders and on servers; builds nothing.

    Documents are encoded only for exact search beside them and to rescore. A shard that does not
    answer fails the evaluation.
    """

    config: ShardedIndexConfig

    def __init__(
        self, config: ShardedIndexConfig, encoder_device: str, texts: SearchTexts | None = None
    ) -> None:
        super().__init__(config, encoder_device, texts)
        self.reads_embeddings = config.rescore or config.compare_with_exact

    @cached_property
    def index(self) -> ShardedIndex:
        """The shards, opened once; raises as ``ListedShards.open``."""
        shards = ListedShards.of(self.config)
        assert shards is not None, "the registry chose by the list"
        return shards.open(self.device, self.config.device_max_memory, while_compiling="wait")

    @property
    def can_explain(self) -> bool:
        """Whether all shards follow a document through a search; servers do so for texts alone."""
        return all(hasattr(shard, "explain") for shard in self.index.shards.values())

    def preparation_key(self, documents: EmbeddingStore) -> str:
        """Digest of the shards as they are now."""
        return self.index.version

    def prepare(
        self, documents: EmbeddingStore, queries: EmbeddingStore, workspace: Workspace
    ) -> None:
        """Open the shards, and make sure that they are of the encoder and of all documents.

        Raises:
            ConfigError: They are not; or as ``ListedShards.open``, like the other errors.
        """
        its, own = self.index.fingerprint, documents.fingerprint
        if None not in (its, own) and its != own:
            raise ConfigError(
                "index.shards were built with another encoder, or other settings of it, than encoder; give "
                "the one that they were built with"
            )
        n_docs = len(self.texts.corpus)
        if self.index.n_docs != n_docs:
            raise ConfigError(
                f"index.shards have {self.index.n_docs:,} documents together, and the collection "
                f"{n_docs:,}; list every shard of this collection, and no other"
            )
        if not self.can_explain:
            self.loss_stages = ()

    def cache_key(self, prepared: Path | None) -> list[object]:
        """The shards as they are, and the settings of a search."""
        config = self.config
        settings = [self.index.version, config.nprobe, config.n_candidates, config.rescore]
        return ["sharded", [*settings, *elsewhere(self.device)]]

    def explain_losses(
        self,
        lost: Sequence[LostDoc],
        queries: EmbeddingStore,
        prepared: Path | None,
        k: int,
        progress: Progress,
    ) -> list[Loss]:
        """The causes of one index, where all shards explain."""
        if not self.can_explain:
            return []
        return super().explain_losses(lost, queries, prepared, k, progress)

    def index_folder(self, prepared: Path | None) -> None:
        """No folder has all of the index."""

    def facts(self, documents: EmbeddingStore, prepared: Path | None) -> dict[str, Any]:
        """Sizes of all shards together."""
        info = self.index.info()
        names = ("documents", "shards", "centroids", "bytes", "bytes_per_token")
        return {
            "index": {"kind": "sharded", **{name: info[name] for name in names if name in info}}
        }

    def memory(self, work: Workload) -> dict[str, float]:
        """The stages of one index, without a build."""
        stages = super().memory(work)
        return {stage: size for stage, size in stages.items() if stage != _BUILD}

    def ceilings(self, work: Workload) -> dict[str, float]:
        """The ceiling of exact search."""
        return Searcher.ceilings(self, work)

    def time(
        self,
        documents: TokenEmbeddings,
        queries: TokenEmbeddings,
        encoder: Encoder,
        k: int,
        progress: Progress,
    ) -> Seconds:
        """The stages of one index, without a build."""
        seconds = super().time(documents, queries, encoder, k, progress)

        def without_build(sample: Sample) -> dict[str, Total]:
            return {stage: total for stage, total in seconds(sample).items() if stage != _BUILD}

        return without_build

    def load_searched(self, prepared: Path | None) -> ShardedIndex:
        """The shards."""
        return self.index

    load_explained = load_searched
