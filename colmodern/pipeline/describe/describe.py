"""What ``colmodern info`` says."""

from __future__ import annotations

import os
from pathlib import Path

from colmodern.collection.manifest import is_collection_folder
from colmodern.config.read import REGISTRY
from colmodern.config.shipped import shipped_recipes
from colmodern.datasets.names import find_set
from colmodern.datasets.registry import BUILT_IN
from colmodern.environment import describe_environment
from colmodern.errors import InputError, StorageError
from colmodern.index.bm25.files import is_bm25_index
from colmodern.pipeline.cache import FOLDER
from colmodern.pipeline.compressed import is_index, is_sharded
from colmodern.pipeline.describe.data import (
    describe_collection,
    describe_data_file,
    describe_named,
    describe_own_sets,
    is_collection,
)
from colmodern.pipeline.describe.results import (
    describe_config,
    describe_configs,
    describe_runs,
    describe_suite,
    describe_sweep,
)
from colmodern.pipeline.open.artifacts import (
    index_info,
    index_of,
    read_run_file,
    stores_of,
)
from colmodern.pipeline.run_folder import (
    ENVIRONMENT,
    SWEEP_CONFIG,
    TRAIN_CONFIG,
    TRAIN_RESULT,
    TRAINED_MODEL,
    is_run,
)
from colmodern.ragged.store import EmbeddingStore
from colmodern.reading import user_path


def describe(what: str | None, *, verify: bool = False) -> dict[str, object]:
    """Facts about anything that colmodern reads or writes; None: this machine.

    Args:
        what: A run, a sweep, a training, embeddings, an index, a collection, a file of
            documents, queries, judgments, results or settings, a folder of runs or of configs; the
            name of a collection; a model. The hub is asked only for what is not a path here.
        verify: For embeddings and an index, a run's too, compare every file with its checksum.

    Raises:
        StorageError: A file is damaged.
        DataError: A file is malformed.
        ConfigError: A config is malformed.
        InputError: The path is none of these.
        CheckpointError: The model cannot be read.
    """
    if what is None:
        return describe_environment()
    path = user_path(what, InputError)
    facts = _describe_artifact(path, verify=verify) if os.path.isdir(path) else None
    if facts is not None:
        return facts
    if verify:
        raise InputError(f"{what} is neither embeddings nor an index; nothing to verify")
    if os.path.isdir(path):
        return _describe_folder(path)
    if os.path.isfile(path):
        return _describe_file(path)
    if os.path.lexists(path):
        raise InputError(
            f"{what} is neither a file nor a folder, or is a link to nothing; {_KNOWN}"
        )
    if what == BUILT_IN or find_set(what) is not None:
        return describe_named(what)
    if what.startswith((".", "/", "~")) or what.count("/") > 1 or path.suffix in _FILES:
        raise InputError(f"there is no {what}; correct the path, or give a model's name")
    if (recipe := _recipe_name(what)) is not None:
        raise InputError(
            f"{what} is a recipe, not a path or a model; colmodern recipes show {recipe} prints it"
        )
    return _describe_model(what)


_KNOWN = (
    "give a run, a sweep, a training, embeddings, an index, a collection, a file of documents, "
    "queries, judgments or results, a config, a folder of runs, or a model"
)
_FILES = (".jsonl", ".json", ".gz", ".tsv", ".trec", ".txt", ".yaml", ".yml", ".run", ".qrels")
_MODEL_FILES = ("config.json", "modules.json", "artifact.metadata", "model.safetensors")


def _recipe_name(name: str) -> str | None:
    """The whole name of the first recipe with this name or end of a name; None without one."""
    return next((key for key in shipped_recipes() if f"/{key}".endswith(f"/{name}")), None)


def _describe_artifact(folder: Path, *, verify: bool) -> dict[str, object] | None:
    """A folder with files of checksums; None for anything else."""
    if is_run(folder):
        return _describe_run(folder, verify=verify)
    if (folder / TRAIN_CONFIG).is_file():
        if not (folder / TRAINED_MODEL).is_dir():
            cure = f"colmodern train {folder / TRAIN_CONFIG} resumes it"
            return {"training": str(folder), "state": f"not finished; {cure}"}
        facts = read_run_file(folder, TRAIN_RESULT)
        return {"training": str(folder), "model": str(folder / TRAINED_MODEL), **facts}
    if is_collection_folder(folder):
        return _describe_texts(folder, verify=verify)
    if is_index(folder) or is_bm25_index(folder) or is_sharded(folder):
        return index_info(folder, verify=verify)
    if (folder / "manifest.json").is_file() or any(folder.glob("shard-*")):
        store = EmbeddingStore(folder)
        if verify:
            store.verify()
        record = {
            k: v for k, v in store.manifest.items() if k not in {"shards", "format", "environment"}
        }
        shards = len(store.manifest["shards"])
        return {"embeddings": str(folder), "bytes": store.n_bytes, "shards": shards, **record}
    return None


def _describe_texts(folder: Path, *, verify: bool) -> dict[str, object]:
    from colmodern.collection.reader import CollectionReader  # loads torch

    collection = CollectionReader.open(folder, read_only=True, device="cpu")
    if verify:
        collection.check()
    return collection.info()


def _describe_run(folder: Path, *, verify: bool) -> dict[str, object]:
    metrics, environment = (read_run_file(folder, name) for name in ("metrics.json", ENVIRONMENT))
    index = index_of(folder)
    if verify:
        for store in stores_of(folder).values():
            store.verify()
        if index is not None:
            index_info(index, verify=True)
    try:
        return {
            "run": str(folder),
            **metrics,
            "model": environment["model"]["model"],
            "dataset": environment["dataset"]["description"],
            "embeddings": {role: str(folder / p) for role, p in environment["embeddings"].items()},
            **({} if index is None else {"index_folder": str(index)}),
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise StorageError(
            f"{folder / ENVIRONMENT} is damaged ({error!r}); run the evaluation again"
        ) from error


def _describe_folder(folder: Path) -> dict[str, object]:
    if (folder / SWEEP_CONFIG).is_file():
        return describe_sweep(folder)
    if is_collection(folder):
        return describe_collection(folder)
    if any((folder / name).is_file() for name in _MODEL_FILES):
        return _describe_model(str(folder))
    if folder.name == FOLDER:
        raise InputError(f"{folder} is a cache; colmodern cache --output {folder.parent} lists it")
    facts = describe_runs(folder) or describe_configs(folder)
    if facts is None:
        raise InputError(f"{folder} holds nothing that colmodern knows; {_KNOWN}")
    return facts


def _describe_file(path: Path) -> dict[str, object]:
    if path.name == REGISTRY:
        return {"data sets": str(path), **describe_own_sets(path)}
    if path.suffix in (".yaml", ".yml"):
        return describe_config(path)
    facts = describe_suite(path) if path.suffix == ".json" else describe_data_file(path)
    if facts is None:
        raise InputError(f"{path} is not a file that colmodern knows; {_KNOWN}")
    return facts


def _describe_model(name: str) -> dict[str, object]:
    from colmodern.encoder.encoder import Encoder

    return Encoder.from_pretrained(name, device="cpu").describe()
