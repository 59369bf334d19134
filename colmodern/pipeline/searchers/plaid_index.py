"""The compressed index of an evaluation: built once, resumed after an interruption, checked when reused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from colmodern.config.index import PlaidIndexConfig
from colmodern.files import sha256_of_json
from colmodern.index.plaid.disk.manifest import VERSION
from colmodern.index.plaid.index import PlaidIndex
from colmodern.index.sharded.index import ShardedIndex
from colmodern.kernels.cpu.ir.vectors import FEW_LANES
from colmodern.pipeline.searchers import build_cache
from colmodern.progress import Progress
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.store import EmbeddingStore


def index_key(documents: EmbeddingStore, config: PlaidIndexConfig) -> str:
    """Digest of all that the index depends on."""
    settings = build_settings(config)
    settings["max_ram"] = settings.pop("max_memory")  # the name in digests of earlier runs
    return sha256_of_json([VERSION, documents.manifest["fingerprint"], settings])


def build_once(
    folder: Path, documents: EmbeddingStore, config: PlaidIndexConfig, progress: Progress
) -> tuple[dict[str, Any], bool]:
    """Build the index into ``folder``, unless an earlier call did; as ``build_cache.build_once``."""

    def build() -> None:
        PlaidIndex.build(
            documents,
            folder,
            **build_settings(config),
            overwrite=True,
            device=config.device,
            progress=progress,
        )

    return build_cache.build_once(
        folder, build, lambda: PlaidIndex.check(folder, progress=progress)
    )


def describe_index(folder: Path) -> dict[str, object]:
    """Sizes of a finished index, without what only holds where it lies."""
    info = PlaidIndex.load(folder).info()
    return {"kind": "plaid", **{name: info[name] for name in ("centroids", *_SIZES)}}


_SIZES = ("bytes", "bytes_per_token")


def compile_searches(
    index: PlaidIndex | ShardedIndex, queries: TokenEmbeddings, k: int, **options: Any
) -> None:
    """Search for one query of each width that kernels are compiled for, before time is taken."""
    is_short = queries.lengths <= FEW_LANES
    for indices in (np.flatnonzero(is_short), np.flatnonzero(~is_short)):
        if len(indices):
            index.search(queries[int(indices[0])], k, **options)


def build_settings(config: PlaidIndexConfig) -> dict[str, Any]:
    """Settings for ``PlaidIndex.build``."""
    names = ("nbits", "codec", "n_centroids", "seed")
    return {
        **{name: getattr(config, name) for name in names},
        "max_memory": config.build_max_memory,
    }
