"""Collections from configs."""

from __future__ import annotations

import os
from collections.abc import Iterable

from colmodern.checks import storable
from colmodern.config.models import DatasetConfig
from colmodern.datasets.fetch import checked_split, set_folder
from colmodern.datasets.load import Files, load_dataset
from colmodern.datasets.names import find_fetched, find_set, set_defaults
from colmodern.datasets.own_sets import LocalSet
from colmodern.datasets.registry import BUILT_IN
from colmodern.errors import ConfigError, DataError
from colmodern.reading import user_path
from colmodern.types import Dataset


def dataset_from_config(config: DatasetConfig) -> Dataset:
    """Load the collection that a config names.

    Raises as ``load_dataset`` does, and ConfigError where there is no such registry.
    """
    expect_registry(config)
    return load_dataset(
        config.name,
        split=config.split,
        files=_files(config),
        max_queries=config.max_queries,
        sample_seed=config.sample_seed,
        drop_empty_documents=config.drop_empty_documents,
        query_template=config.query_template,
        registry=config.registry,
    )


def expect_registry(config: DatasetConfig) -> None:
    """Raise ConfigError where the config names a registry that is not there."""
    registry = config.registry
    if registry is not None and not os.path.isfile(user_path(registry, ConfigError)):
        raise ConfigError(
            f"dataset.registry={registry}: there is no such file; correct it, or leave it out"
        )


def resolve_dataset(config: DatasetConfig) -> DatasetConfig:
    """The config with everything filled in that the collection's suite decides."""
    # files of one's own are not the suite's, whatever they are called
    defaults = set_defaults("" if _files(config) else config.name, config.registry)
    settings = {
        "split": defaults.split if config.split is None else config.split,
        "drop_empty_documents": defaults.drop_empty_documents
        if config.drop_empty_documents is None
        else config.drop_empty_documents,
        "drop_self_matches": defaults.drop_self_matches
        if config.drop_self_matches is None
        else config.drop_self_matches,
    }
    return config.model_copy(update=settings)


def source_of(config: DatasetConfig) -> str:
    """The documents as they are found from anywhere: a name, or an absolute folder or file."""
    if config.corpus is not None:
        return storable(os.path.realpath(user_path(config.corpus, DataError)))
    folder = user_path(config.name, DataError)
    if config.name == BUILT_IN:
        return config.name
    known = None if folder.is_dir() else find_set(config.name, config.registry)
    if isinstance(known, LocalSet):
        folder = known.documents
    elif known is not None:
        return config.name
    return storable(os.path.realpath(folder))


def fetch_commands(configs: Iterable[DatasetConfig]) -> list[str]:
    """The commands, one a split, that fetch the collections which are not on this machine."""
    missing: dict[str, dict[str, None]] = {}
    for config in configs:
        expect_registry(config)
        named_set = find_fetched(config.name, config.registry)
        if named_set is None or _files(config) or os.path.isdir(config.name):
            continue
        split = checked_split(named_set, config.split)
        if not set_folder(named_set, split).is_dir():
            missing.setdefault(named_set.fetch_options(split), {})[named_set.name] = None
    return [f"colmodern fetch {' '.join(names)}{options}" for options, names in missing.items()]


def _files(config: DatasetConfig) -> Files | None:
    if config.corpus is None or config.queries is None or config.qrels is None:
        return None
    return config.corpus, config.queries, config.qrels
