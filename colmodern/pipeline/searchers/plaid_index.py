"""The compressed index of an evaluation: built once, resumed after an interruption, checked when reused."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from colmodern.config.index import PlaidIndexConfig
from colmodern.environment import describe_environment
from colmodern.errors import StorageError
from colmodern.files import read_json_object, sha256_of_file, sha256_of_json, write_json
from colmodern.index.plaid.disk.manifest import NAME, VERSION, building_folder
from colmodern.index.plaid.index import PlaidIndex
from colmodern.kernels.cpu.ir.vectors import FEW_LANES
from colmodern.progress import Progress
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.store import EmbeddingStore


def index_key(documents: EmbeddingStore, config: PlaidIndexConfig) -> str:
    """Digest of all that the index depends on."""
    settings = _settings(config)
    settings["max_ram"] = settings.pop("max_memory")  # the name in digests of earlier runs
    return sha256_of_json([VERSION, documents.manifest["fingerprint"], settings])


def build_once(
    folder: Path, documents: EmbeddingStore, config: PlaidIndexConfig, progress: Progress
) -> tuple[dict[str, Any], bool]:
    """Build the index into ``folder``, unless an earlier call did.

    Args:
        folder: Folder of the index.
        documents: Embeddings to index.
        config: Settings of the build, with the device resolved.
        progress: Receives the steps of the build.

    Returns:
        "seconds" and "environment" of its making, and whether it was there already.

    Raises:
        StorageError: It is damaged, or was changed since.
    """
    record_file = folder.with_name(f"{folder.name}.json")  # FOLDER itself is the index's own
    cure = f"delete {folder} and run again"
    begun = folder.is_dir() or building_folder(folder).is_dir()
    earlier = (
        read_json_object(record_file, StorageError, cure=cure)
        if record_file.is_file() and begun
        else {}
    )
    if folder.is_dir() and "manifest_sha256" in earlier:
        if sha256_of_file(folder / NAME) != earlier["manifest_sha256"]:
            raise StorageError(f"{folder} was changed since it was built; {cure}")
        PlaidIndex.check(folder, progress=progress)
        return earlier, True
    start = time.perf_counter()

    def made() -> dict[str, Any]:
        seconds = earlier.get("seconds", 0.0) + time.perf_counter() - start
        return {"seconds": seconds, "environment": describe_environment()}

    try:
        PlaidIndex.build(
            documents,
            folder,
            **_settings(config),
            overwrite=True,
            device=config.device,
            progress=progress,
        )
    except KeyboardInterrupt:
        # the build is resumed later, and what it has cost so far counts
        write_json(record_file, made())
        raise
    finished = {**made(), "manifest_sha256": sha256_of_file(folder / NAME)}
    write_json(record_file, finished)
    return finished, False


def describe_index(folder: Path) -> dict[str, Any]:
    """Sizes of a finished index, without what only holds where it lies."""
    info = PlaidIndex.load(folder).info()
    return {"kind": "plaid", **{name: info[name] for name in ("centroids", *_SIZES)}}


_SIZES = ("bytes", "bytes_per_token")


def compile_searches(index: PlaidIndex, queries: TokenEmbeddings, k: int, **options: Any) -> None:
    """Search for one query of each width that kernels are compiled for, before time is taken."""
    is_short = queries.lengths <= FEW_LANES
    for indices in (np.flatnonzero(is_short), np.flatnonzero(~is_short)):
        if len(indices):
            index.search(queries[int(indices[0])], k, **options)


def _settings(config: PlaidIndexConfig) -> dict[str, Any]:
    """Settings for ``PlaidIndex.build``."""
    names = ("nbits", "codec", "n_centroids", "seed")
    return {
        **{name: getattr(config, name) for name in names},
        "max_memory": config.build_max_memory,
    }
