"""Runs of several stages, searched again as they were evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colmodern.config.index import (
    Bm25IndexConfig,
    ExactIndexConfig,
    FirstStage,
    HybridIndexConfig,
    PlaidIndexConfig,
    RerankIndexConfig,
)
from colmodern.config.load import build
from colmodern.config.models import EvalConfig
from colmodern.errors import InputError, StorageError
from colmodern.kernels.device import resolve_device
from colmodern.pipeline.run_folder import ENVIRONMENT, is_run
from colmodern.pipeline.stored_files import CURE, read_run_config, read_run_file
from colmodern.ragged.store import EmbeddingStore
from colmodern.types import BatchResults, Results, ScoredDoc

if TYPE_CHECKING:
    from colmodern.index.staged import AnyIndex, HybridIndex, RerankIndex

_STAGED = ("hybrid", "rerank")


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
    if not is_run(folder) or read_run_config(folder).get("index", {}).get("kind") not in _STAGED:
        return None
    config = build(EvalConfig, read_run_config(folder), source=str(folder)).index
    environment = read_run_file(folder, ENVIRONMENT)
    paths = environment.get("first_stages")
    if not isinstance(paths, list):  # an older version did not record them
        return None
    from colmodern.index.staged import HybridIndex, RerankIndex  # loads torch

    devices = resolve_device(device, kernels="triton or torch", auto=encoder_device, name=name)
    if isinstance(config, RerankIndexConfig):
        if isinstance(config.candidates, str):
            return None
        [path] = _paths(folder, paths, 1)
        first = _open(config.candidates, path, store, devices.setting)
        assert config.most_results is not None, "an index has a depth"
        return RerankIndex(first, store, depth=config.most_results, device=devices)
    assert isinstance(config, HybridIndexConfig), config
    if trec := [path for path in config.of if isinstance(path, str)]:
        raise InputError(
            f"{folder} fused the run {trec[0]}, which has no results for other queries; search one of "
            "its other parts by itself"
        )
    settings = zip(config.of, _paths(folder, paths, len(config.of)), strict=True)
    indexes = {
        f"{number} {getattr(first, 'kind', '')}": _open(first, path, store, devices.setting)
        for number, (first, path) in enumerate(settings, start=1)
    }
    fusion = read_run_file(folder, "metrics.json").get("fusion", {})
    return HybridIndex(
        indexes,
        fusion=config.fusion,
        weights=fusion.get("weights"),
        rrf_k=config.rrf_k,
        depth=config.depth,
    )


class _IndexWithOptions:
    """An index of embeddings whose searches have the options of a config."""

    def __init__(self, index: Any, options: Mapping[str, Any]) -> None:
        self._index, self._options = index, options

    @property
    def dim(self) -> int:
        """Width of a token embedding."""
        dim: int = self._index.dim
        return dim

    def search(self, query: Any, k: int = 10) -> Results[ScoredDoc]:
        """The best ``k`` documents."""
        results: Results[ScoredDoc] = self._index.search(query, k, **self._options)
        return results

    def search_batch(self, queries: Any, k: int = 10, **steps: Any) -> BatchResults[ScoredDoc]:
        """The best ``k`` documents of each query."""
        results: BatchResults[ScoredDoc] = self._index.search_batch(
            queries, k, **self._options, **steps
        )
        return results


def _open(config: FirstStage, path: Path | None, store: EmbeddingStore, device: str) -> AnyIndex:
    """One part of a run."""
    from colmodern.index.exact.index import ExactIndex

    if isinstance(config, ExactIndexConfig):
        return ExactIndex.load(store.folder, device=device, precision=config.precision)
    assert path is not None, "other kinds have a folder"
    if isinstance(config, Bm25IndexConfig):
        from colmodern.index.bm25.index import BM25Index

        return BM25Index.load(path)
    assert isinstance(config, PlaidIndexConfig), config
    from colmodern.index.plaid.index import PlaidIndex  # loads numba

    index = PlaidIndex.load(path, device=device, while_compiling="wait")
    options = {
        "nprobe": config.nprobe,
        "n_candidates": config.n_candidates,
        "rescore": store if config.rescore else None,
    }
    return _IndexWithOptions(index, options)  # type: ignore[return-value]


def _paths(folder: Path, paths: Sequence[object], n: int) -> list[Path | None]:
    """The folders of a run's parts; raises StorageError when they are not as many, or no paths."""
    if len(paths) != n or not all(isinstance(path, str | None) for path in paths):
        raise StorageError(f"{folder / ENVIRONMENT}: first_stages: not {n} folders; {CURE}")
    return [None if path is None else folder / str(path) for path in paths]
