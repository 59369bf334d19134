"""Shards of a compressed index: built as one, split, and searched together."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from colmodern.config.cluster import ClusterConfig
from colmodern.config.index import ShardedIndexConfig
from colmodern.errors import ConfigError
from colmodern.files import sha256_of_json
from colmodern.index.sharded.folder import NAME
from colmodern.index.sharded.index import ShardedIndex
from colmodern.index.sharded.placement import PLACEMENT
from colmodern.index.sharded.split import shard_index
from colmodern.pipeline.searchers.base import Workspace, prepared_folder
from colmodern.pipeline.searchers.build_cache import build_once, record_build
from colmodern.pipeline.searchers.plaid import PlaidSearcher
from colmodern.pipeline.searchers.plaid_index import build_settings
from colmodern.progress import Progress
from colmodern.ragged.store import EmbeddingStore


class ShardedSearcher(PlaidSearcher):
    """Builds, or reuses, a compressed index, splits it into shards and searches these.

    With ``cluster``, its machines build the shards one by one, hold them and search them. A
    shard that does not answer fails the evaluation: a part of an index is not measured.
    """

    config: ShardedIndexConfig

    @property
    def n_shards(self) -> int:
        """Number of shards to build."""
        assert isinstance(self.config.shards, int), "listed shards have another searcher"
        return self.config.shards

    def preparation_key(self, documents: EmbeddingStore) -> str:
        """Digest of all that the shards depend on."""
        return sha256_of_json([super().preparation_key(documents), PLACEMENT, self.config.shards])

    def prepare(
        self, documents: EmbeddingStore, queries: EmbeddingStore, workspace: Workspace
    ) -> Path:
        """Build the index and split it, or check the shards that an earlier call made."""
        folder = workspace.folder("index", self.preparation_key(documents))
        progress = workspace.progress
        if self.cluster is None:
            whole = prepared_folder(super().prepare(documents, queries, workspace))
            make = partial(shard_index, whole, folder, self.n_shards, progress=progress)
        else:
            make = partial(self._build_on_cluster, self.cluster, documents, folder, progress)
        built = build_once(
            folder, make, lambda: ShardedIndex.check(folder, progress=progress), name=NAME
        )
        record_build(workspace, "shard index", folder, built, documents.n_docs, "documents")
        return folder

    def cache_key(self, prepared: Path | None) -> list[object]:
        """The shards by the name of their folder, and the settings of a search."""
        return ["sharded", *super().cache_key(prepared)[1:]]

    def facts(self, documents: EmbeddingStore, prepared: Path | None) -> dict[str, Any]:
        """Sizes of all shards together."""
        info = ShardedIndex.load(prepared_folder(prepared)).info()
        names = ("shards", "centroids", "bytes", "bytes_per_token")
        return {"index": {"kind": "sharded", **{name: info[name] for name in names}}}

    def load_searched(self, prepared: Path | None) -> ShardedIndex:
        """The shards, where the config searches them."""
        folder = prepared_folder(prepared)
        if self.cluster is not None:
            from colmodern.cluster.search import open_on_cluster

            if self.device != "cpu":
                raise ConfigError(
                    f"index.device={self.device}: the machines of a cluster search on their CPUs; set "
                    "index.device=cpu"
                )
            return open_on_cluster(folder, self.cluster)
        return ShardedIndex.load(
            folder,
            device=self.device,
            device_max_memory=self.config.device_max_memory,
            while_compiling="wait",
        )

    def load_explained(self, prepared: Path | None) -> ShardedIndex:
        """The shards, for explanations of documents that they lose."""
        return ShardedIndex.load(prepared_folder(prepared))

    def _build_on_cluster(
        self, cluster: ClusterConfig, documents: EmbeddingStore, folder: Path, progress: Progress
    ) -> None:
        """Build each shard in a process of the cluster."""
        from colmodern.cluster.build import build_on_cluster

        settings = build_settings(self.config)
        build_on_cluster(documents, folder, self.n_shards, cluster, progress, **settings)
