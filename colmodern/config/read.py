"""Settings from YAML files, with those of the files that they extend."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import yaml

from colmodern.checks import shown
from colmodern.config.renamed import with_new_names
from colmodern.config.shipped import shipped_recipes
from colmodern.config.yaml_text import MAX_BYTES, parse_yaml
from colmodern.errors import ConfigError
from colmodern.reading import read_text

EXTENDS = "extends"
REGISTRY = "datasets.yaml"  # names data sets of one's own, beside a config
_MOST_FILES = 200  # each counted as often as it is extended


def read_values(path: Path, *, is_stored: bool = False) -> dict[str, object]:
    """The settings of a file over those of the files that its ``extends`` names.

    ``extends`` is a path or a list of paths, each relative to the file that it stands in, or a
    recipe's whole name ("eval/tiny"); a later one wins over an earlier one, and the file over all.
    Settings are merged key by key; lists and single values are replaced whole.

    Args:
        path: YAML file.
        is_stored: Whether colmodern wrote the file: old names in it are then replaced without a
            warning.

    Raises:
        ConfigError: A file cannot be read, is not YAML or extends itself.
    """
    return _read(path, (), [0], is_stored)


def is_same_config(path: Path, text: str) -> bool:
    """Whether a file that colmodern wrote has the settings of a text, by whichever names.

    A damaged file has others.
    """
    try:
        stored = read_text(path, ConfigError)
        return stored == text or read_values(path, is_stored=True) == yaml.safe_load(text)
    except ConfigError:
        return False


def with_registry(path: Path, values: dict[str, object]) -> dict[str, object]:
    """The settings of a config, with the file of data sets beside it unless they name one."""
    registry, dataset = path.parent / REGISTRY, values.get("dataset") or {}
    if not os.path.isfile(registry) or not isinstance(dataset, dict) or "registry" in dataset:
        return values
    return {**values, "dataset": {**dataset, "registry": os.path.abspath(registry)}}


def merge(values: Mapping[str, object], over: Mapping[str, object]) -> dict[str, object]:
    """A new dict of both, in which ``over`` wins; nested settings are merged, too.

    Settings of another ``kind`` replace those that were there; an empty value of a key that holds
    settings keeps them.
    """
    merged = dict(values)
    for key, value in over.items():
        earlier = merged.get(key)
        if isinstance(earlier, dict) and value is None:
            continue
        if isinstance(earlier, dict) and isinstance(value, dict) and _same_kind(earlier, value):
            value = merge(earlier, value)
        merged[key] = value
    return merged


def _same_kind(earlier: Mapping[str, object], over: Mapping[str, object]) -> bool:
    return "kind" not in over or over["kind"] == earlier.get("kind")


def _read(
    path: Path, children: tuple[Path, ...], n_read: list[int], is_stored: bool
) -> dict[str, object]:
    if _real(path) in [_real(child) for child in children]:
        chain = " extends ".join(str(entry) for entry in (*children, path))
        raise ConfigError(f"{chain}: a circle; take one `{EXTENDS}` out")
    if children and not os.path.isfile(path):
        raise ConfigError(
            f"{children[-1]}: {EXTENDS}: there is no file {path}; paths are relative to the file "
            "that they stand in, and `colmodern recipes` lists the names that can stand there"
        )
    n_read[0] += 1
    if n_read[0] > _MOST_FILES:
        first = children[0] if children else path
        raise ConfigError(
            f"{first}: {EXTENDS} leads to more than {_MOST_FILES} files; take some out"
        )
    values = with_new_names(_parse(path), str(path), is_quiet=is_stored)
    parents = values.pop(EXTENDS, [])
    parents = [parents] if isinstance(parents, str) else parents
    if not isinstance(parents, list) or not all(isinstance(entry, str) for entry in parents):
        raise ConfigError(
            f"{path}: {EXTENDS}: {shown(parents)} is neither a path nor a list of paths"
        )
    inherited: dict[str, object] = {}
    for parent in parents:
        inherited = merge(
            inherited, _read(_parent(path, parent), (*children, path), n_read, is_stored)
        )
    return merge(inherited, values)


def _parent(path: Path, parent: str) -> Path:
    """The file that a file extends: a path relative to it, or else a recipe."""
    beside = path.parent / parent
    return beside if os.path.exists(beside) else shipped_recipes().get(parent, beside)


def _real(path: Path) -> str:
    try:
        return os.path.realpath(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error


def _parse(path: Path) -> dict[str, object]:
    values = parse_yaml(
        read_text(path, ConfigError, max_bytes=4 * MAX_BYTES), str(path), ConfigError
    )
    if not isinstance(values, dict):
        raise ConfigError(
            f"{path} holds {type(values).__name__}, not settings; write key: value lines"
        )
    return values
