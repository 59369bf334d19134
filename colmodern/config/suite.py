"""From files and folders to the evaluations of a suite.

A file with ``sets`` is an evaluation for each of them: its other settings, with those of the set
over them. A set's name is its data set, unless it says dataset.name.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from colmodern.checks import shown, storable
from colmodern.config.load import SETS, build, parse_overrides
from colmodern.config.models import EvalConfig
from colmodern.config.read import REGISTRY, merge, read_values, with_registry
from colmodern.config.shipped import EXPECTED
from colmodern.errors import ConfigError

_OF_FILES = ("name=", f"{SETS}=")  # overrides of a file, not of each of its evaluations


@dataclass(frozen=True)
class Member:
    """One evaluation of a suite: a cell of its table."""

    column: str  # a model with its settings
    row: str  # the data set; of three parts ("beir/cqadupstack/tex"): a part of a set
    config: EvalConfig


def load_suite(
    paths: Sequence[Path],
    overrides: Sequence[str] = (),
    *,
    only: Sequence[str] = (),
    model: type[EvalConfig] = EvalConfig,
) -> list[Member]:
    """The evaluations of files and folders, in the order of their names and of their sets.

    Args:
        paths: Config files, or folders with such; files that begin with "_" are only to be
            extended.
        overrides: Settings of every evaluation, as "search.k=50"; "sets={mldr/de: }" replaces a
            file's sets.
        only: Patterns of rows, as "beir/cqa*"; default all.
        model: What the settings must be: EvalConfig, or one with more of them.

    Raises:
        ConfigError: A config is wrong, or nothing is left to run.
    """
    members = [member for path in paths for member in _load_path(path, overrides, model)]
    kept = [m for m in members if not only or any(fnmatchcase(m.row, pattern) for pattern in only)]
    if not kept:
        datasets = ", ".join(dict.fromkeys(member.row for member in members))
        raise ConfigError(f"no set is like {' or '.join(only)}; sets are {datasets}")
    names: dict[tuple[str, str], Member] = {}
    for member in kept:
        key = (member.config.output, member.config.name)
        if key in names:
            raise ConfigError(
                f"{member.column} on {member.row} and {names[key].column} on {names[key].row} "
                f"are both called {member.config.name}; give one of their files a name of its own"
            )
        names[key] = member
    return kept


def is_suite(paths: Sequence[Path]) -> bool:
    """Whether these are more than one evaluation, or may be."""
    return len(paths) != 1 or os.path.isdir(paths[0]) or SETS in read_values(paths[0])


def _load_path(path: Path, overrides: Sequence[str], model: type[EvalConfig]) -> list[Member]:
    if not os.path.isdir(path):
        return _load_file(path, overrides, model, column=path.stem)
    files = [
        file
        for file in sorted(path.glob("*.yaml"), key=lambda file: file.stem)
        if not file.name.startswith("_")
        and file.name != REGISTRY
        and not file.name.endswith(EXPECTED)
    ]
    if not files:
        raise ConfigError(f"{path} has no *.yaml files; give a folder of configs, or a file")
    return [member for file in files for member in _load_file(file, overrides, model, column=None)]


def _load_file(
    path: Path, overrides: Sequence[str], model: type[EvalConfig], *, column: str | None
) -> list[Member]:
    """Evaluations of one file; without a column, one of a single set is a row of its folder."""
    values = with_registry(path, {"name": path.stem, **read_values(path)})
    parse_overrides([override for override in overrides if override.startswith(_OF_FILES)], values)
    if SETS not in values:
        config = build(
            model, parse_overrides(overrides, values), source=str(path), overrides=overrides
        )
        row = config.dataset.name if column else config.name
        return [Member(column or storable(path.resolve().parent.name), row, config)]
    sets = values.pop(SETS)
    if not isinstance(sets, dict) or not sets:
        raise ConfigError(f"{path}: {SETS}: give data sets, one a line, each ending in a colon")
    name = str(values["name"])
    others = [override for override in overrides if not override.startswith(_OF_FILES)]
    members = []
    for row, changes in sets.items():
        settings = parse_overrides(others, _values(path, name, values, str(row), changes))
        config = build(model, settings, source=f"{path}: {SETS}.{row}")
        members.append(Member(path.stem, str(row), config))
    return members


def _values(
    path: Path, name: str, values: dict[str, object], row: str, changes: object
) -> dict[str, object]:
    """The settings of one set: those of the file, with its own over them."""
    if changes is not None and not isinstance(changes, dict):
        raise ConfigError(
            f"{path}: {SETS}.{row}: {shown(changes)} are not settings; write key: value"
        )
    named: dict[str, object] = {"name": f"{name}.{row.replace('/', '-')}", "dataset": {"name": row}}
    return merge(merge(values, named), changes or {})
