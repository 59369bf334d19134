"""What ``colmodern info`` says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from colmodern.errors import InputError
from colmodern.pipeline.artifacts import index_of, is_index, read_run_file, stores_of
from colmodern.pipeline.environment import describe_environment
from colmodern.pipeline.run_folder import (
    ENVIRONMENT,
    TRAIN_CONFIG,
    TRAIN_RESULT,
    TRAINED_MODEL,
    is_run,
)
from colmodern.ragged.store import EmbeddingStore


def describe(what: str | None, *, verify: bool = False) -> dict[str, Any]:
    """Facts about a run, a training, a folder of embeddings, an index or a model; None: this machine.

    verify: for embeddings and an index, a run's too, compare every file with its checksum

    Raises StorageError for damaged files, CheckpointError for what is none of these.
    """
    if what is None:
        return describe_environment()
    folder = Path(what)
    if is_run(folder):
        metrics, environment = (
            read_run_file(folder, name) for name in ("metrics.json", ENVIRONMENT)
        )
        index = index_of(folder)
        if verify:
            for store in stores_of(folder).values():
                store.verify()
            if index is not None:
                _describe_index(index, verify=True)
        return {
            "run": str(folder),
            **metrics,
            "model": environment["model"]["model"],
            "dataset": environment["dataset"]["description"],
            "embeddings": {role: str(folder / p) for role, p in environment["embeddings"].items()},
            **({} if index is None else {"index_folder": str(index)}),
        }
    if (folder / TRAIN_CONFIG).is_file():
        if not (folder / TRAINED_MODEL).is_dir():
            cure = f"colmodern train {folder / TRAIN_CONFIG} goes on"
            return {"training": str(folder), "state": f"not finished; {cure}"}
        facts = read_run_file(folder, TRAIN_RESULT)
        return {"training": str(folder), "model": str(folder / TRAINED_MODEL), **facts}
    if is_index(folder):
        return _describe_index(folder, verify=verify)
    if (folder / "manifest.json").is_file() or any(folder.glob("shard-*")):
        store = EmbeddingStore(folder)
        if verify:
            store.verify()
        about = {
            k: v for k, v in store.manifest.items() if k not in {"shards", "format", "environment"}
        }
        shards = len(store.manifest["shards"])
        return {"embeddings": str(folder), "bytes": store.n_bytes, "shards": shards, **about}
    if verify:
        raise InputError(f"{what} is neither embeddings nor an index; nothing to verify")
    from colmodern.encoder.encoder import Encoder

    return Encoder.from_pretrained(what, device="cpu").describe()


def _describe_index(folder: Path, *, verify: bool) -> dict[str, Any]:
    from colmodern.index.plaid.index import PlaidIndex  # loads numba

    if verify:
        PlaidIndex.check(folder)
    return PlaidIndex.load(folder).info()
