"""Runs of several stages, searched again as they were evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from colmodern.config.index import (
    Bm25IndexConfig,
    ExactIndexConfig,
    FirstStage,
    HybridIndexConfig,
    PlaidIndexConfig,
    RerankIndexConfig,
    ShardedIndexConfig,
)
from colmodern.config.load import build
from colmodern.config.models import EvalConfig
from colmodern.errors import InputError, StorageError
from colmodern.kernels.device import Devices, resolve_device
from colmodern.pipeline.compressed import ListedShards
from colmodern.pipeline.passages import ranked_by_passages
from colmodern.pipeline.run_folder import ENVIRONMENT, is_run
from colmodern.pipeline.stored_files import CURE, read_run_config, read_run_file
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.store import EmbeddingStore
from colmodern.types import BatchResults, PassageRank, Results, ScoredDoc

if TYPE_CHECKING:
    from colmodern.index.staged import AnyIndex, HybridIndex, RerankIndex

_STAGED = (HybridIndexConfig, RerankIndexConfig)


def open_staged(
    folder: Path, store: EmbeddingStore, *, device: str, encoder_device: str, name: str
) -> HybridIndex | RerankIndex | None:
    """The searches of a hybrid or rerank run; None for other runs, and for candidates of a TREC run.

    Args:
        folder: A folder of whatever kind.
        store: Its document embeddings.
        device: Setting of a device, whose "auto" follows the encoder.
        encoder_device: Where the encoder is.
        name: The setting of the device, for errors.

    Raises:
        InputError: A TREC run was fused, which has no results for other queries.
        StorageError: The run or an index of it is damaged.
    """
    if not is_run(folder) or read_run_config(folder).get("index", {}).get("kind") not in (
        "hybrid",
        "rerank",
    ):
        return None
    evaluated = build(EvalConfig, read_run_config(folder), source=str(folder))
    config, passages = evaluated.index, evaluated.search.passages
    environment = read_run_file(folder, ENVIRONMENT)
    paths = environment.get("first_stages")
    if not isinstance(paths, list):  # an older version did not record them
        return None
    devices = resolve_device(device, kernels="triton or torch", auto=encoder_device, name=name)
    assert isinstance(config, _STAGED), config
    if isinstance(config, RerankIndexConfig) and isinstance(config.candidates, str):
        return None
    tuned = None
    if isinstance(config, HybridIndexConfig) and config.tune_split is not None:
        tuned = read_run_file(folder, "metrics.json").get("fusion", {}).get("weights")
    return _Opener(folder, store, devices, passages).open_staged(config, paths, tuned)


_BUDGET = ("nprobe", "n_candidates")


class _IndexWithOptions:
    """An index of embeddings whose searches have the options of a config."""

    def __init__(self, index: Any, options: Mapping[str, object]) -> None:
        self._index, self._options = index, options

    @property
    def dim(self) -> int:
        """Width of a token embedding."""
        dim: int = self._index.dim
        return dim

    def search(self, query: npt.ArrayLike, k: int = 10) -> Results[ScoredDoc]:
        """The best ``k`` documents."""
        results: Results[ScoredDoc] = self._index.search(query, k, **self._options)
        return results

    def search_batch(
        self, queries: TokenEmbeddings | EmbeddingStore, k: int = 10, **steps: Any
    ) -> BatchResults[ScoredDoc]:
        """The best ``k`` documents of each query."""
        results: BatchResults[ScoredDoc] = self._index.search_batch(
            queries, k, **self._options, **steps
        )
        return results

    def info(self) -> dict[str, Any]:
        """What the index says of itself, and the options of its searches."""
        return {**self._index.info(), **{name: self._options[name] for name in _BUDGET}}


@dataclass(frozen=True)
class _Opener:
    """Opens the searches that a run was made of."""

    folder: Path
    store: EmbeddingStore
    devices: Devices
    passages: PassageRank | None

    def open_staged(
        self,
        config: HybridIndexConfig | RerankIndexConfig,
        paths: object,
        tuned: Sequence[float] | None = None,
    ) -> HybridIndex | RerankIndex:
        """A search made of others; paths: of their indexes, as ``first_stages`` of the run."""
        from colmodern.index.staged import HybridIndex  # loads torch

        if isinstance(config, RerankIndexConfig):
            return self._open_rerank(config, paths)
        own_paths = self._listed(paths, len(config.of))
        return HybridIndex(
            {
                f"{number} {getattr(first, 'kind', '')}": self._open(first, path)
                for number, (first, path) in enumerate(
                    zip(config.of, own_paths, strict=True), start=1
                )
            },
            fusion=config.fusion,
            weights=tuned or config.weights,
            rrf_k=config.rrf_k,
            depth=config.depth,
        )

    def _open_rerank(self, config: RerankIndexConfig, paths: object) -> RerankIndex:
        from colmodern.index.staged import CompressedRerank, RerankIndex  # loads torch

        depth, rank = config.most_results, self.passages
        assert depth is not None, "an index has a depth"
        if config.scorer == "exact":
            [path] = self._listed(paths, 1)
            first = self._open(config.candidates, path)
            return RerankIndex(first, self.store, depth=depth, passages=rank, device=self.devices)
        from colmodern.index.plaid.index import PlaidIndex  # loads numba

        path, scorer = self._listed(paths, 2)
        if not isinstance(scorer, str):
            raise self._damaged("the scorer lacks its index")
        first, folder = self._open(config.candidates, path), self.folder / scorer
        index = PlaidIndex.load(folder, device=self.devices.setting, while_compiling="wait")
        return CompressedRerank(first, ranked_by_passages(index, rank), depth=depth)

    def _open(self, config: FirstStage, path: object) -> AnyIndex:
        """One of the searches."""
        if isinstance(config, str):
            raise InputError(
                f"{self.folder} searched the run {config}, which has no results for other queries; search "
                "one of its other parts by itself"
            )
        if isinstance(config, _STAGED):
            return self.open_staged(config, path)
        if isinstance(config, ExactIndexConfig):
            from colmodern.index.exact.index import ExactIndex

            places: dict[str, Any] = {"device": self.devices.setting, "precision": config.precision}
            exact = ExactIndex.load(self.store.folder, **places)
            index: AnyIndex = ranked_by_passages(exact, self.passages)
            return index
        if isinstance(config, ShardedIndexConfig) and (listed := ListedShards.of(config)):
            shards = listed.open(self.devices.setting, while_compiling="wait")
            return self._with_options(shards, config)
        if not isinstance(path, str):
            raise self._damaged("a search lacks its index")
        if isinstance(config, Bm25IndexConfig):
            from colmodern.index.bm25.index import BM25Index

            return BM25Index.load(self.folder / path)
        return self._open_compressed(config, self.folder / path)

    def _open_compressed(self, config: PlaidIndexConfig, path: Path) -> AnyIndex:
        if isinstance(config, ShardedIndexConfig):
            from colmodern.index.sharded.index import ShardedIndex as Compressed  # loads numba
        else:
            from colmodern.index.plaid.index import PlaidIndex as Compressed  # type: ignore[assignment]
        index = Compressed.load(path, device=self.devices.setting, while_compiling="wait")
        return self._with_options(index, config)

    def _with_options(self, index: Any, config: PlaidIndexConfig) -> AnyIndex:
        options = {
            "nprobe": config.nprobe,
            "n_candidates": config.n_candidates,
            "rescore": self.store if config.rescore else None,
        }
        ranked = ranked_by_passages(index, self.passages)
        return _IndexWithOptions(ranked, options)  # type: ignore[return-value]

    def _listed(self, paths: object, n: int) -> list[object]:
        """The paths of ``n`` searches; raises StorageError for another number of them."""
        if not isinstance(paths, list) or len(paths) != n:
            raise self._damaged(f"not {n} folders")
        return paths

    def _damaged(self, fault: str) -> StorageError:
        return StorageError(f"{self.folder / ENVIRONMENT}: first_stages: {fault}; {CURE}")
