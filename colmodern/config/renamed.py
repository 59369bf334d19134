"""Settings that were renamed: their old names work for one more version, with a warning."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from functools import cache

from colmodern.errors import ConfigError

# path of the old name -> path of the new one; the old names go with version 0.2
RENAMED = {
    "max_ram": "max_memory",
    "index.max_ram": "index.build_max_memory",
    "index.memory_budget": "index.exact_max_memory",
    "index.device_memory": "index.device_max_memory",
}
_SETS = "sets"
_log = logging.getLogger(__name__)


def renamed_fields(section: str) -> dict[str, str]:
    """Old name -> new name of the fields of a section: "index", or "" for the top level."""
    paths = [(old.rpartition("."), new.rpartition(".")) for old, new in RENAMED.items()]
    return {old: new for (owner, _, old), (_, _, new) in paths if owner == section}


def with_new_names(
    values: Mapping[str, object], source: str, *, is_quiet: bool = False
) -> dict[str, object]:
    """Settings of a file with each old name replaced, also in the settings of its ``sets``.

    Args:
        values: Nested settings, which are not changed.
        source: What the settings are from, for the warning.
        is_quiet: Whether to leave the warning out, as for files that colmodern itself wrote.

    Raises:
        ConfigError: A setting stands there by both of its names.
    """
    renewed = dict(values)
    for section in sorted({old.rpartition(".")[0] for old in RENAMED}):
        inner = renewed.get(section) if section else renewed
        if isinstance(inner, dict):
            replaced = replace_names(
                inner, renamed_fields(section), f"{source}: ", section, is_quiet=is_quiet
            )
            renewed = {**renewed, section: replaced} if section else replaced
    if isinstance(sets := renewed.get(_SETS), dict):
        renewed[_SETS] = {
            row: with_new_names(changes, f"{source}: {_SETS}.{row}", is_quiet=is_quiet)
            if isinstance(changes, dict)
            else changes
            for row, changes in sets.items()
        }
    return renewed


def replace_names(
    values: Mapping[str, object],
    fields: Mapping[str, str],
    prefix: str = "",
    section: str = "",
    *,
    is_quiet: bool = False,
) -> dict[str, object]:
    """The settings of one section under their new names, in the order in which they stand.

    Args:
        values: Settings of the section, which are not changed.
        fields: Old name -> new name.
        prefix: Begins each message, as "demo.yaml: ".
        section: Path of the section, as "index".
        is_quiet: Whether to leave the warnings out.

    Raises:
        ConfigError: A setting stands there by both of its names.
    """
    path = f"{section}." if section else ""
    for old, new in fields.items():
        if old in values and new in values:
            raise ConfigError(
                f"{prefix}{path}{old} is the old name of {path}{new}, which is there too; give {new} alone"
            )
        if old in values and not is_quiet:
            _warn(f"{prefix}{path}{old}", f"{path}{new}")
    return {fields.get(name, name): value for name, value in values.items()}


def current_key(key: str) -> str:
    """The path of an override's setting by its new name; a warning names the new one."""
    if key in RENAMED:
        _warn(f"override {key}", RENAMED[key])
    return RENAMED.get(key, key)


def expect_one_name(keys: Iterable[str]) -> None:
    """Raise ConfigError where overrides name a setting by its old and its new name."""
    names = set(keys)
    for old, new in RENAMED.items():
        if {old, new} <= names:
            raise ConfigError(f"override {old}: it is the old name of {new}; give {new} alone")


def with_old_names(values: Mapping[str, object], section: str) -> dict[str, object]:
    """The settings of a section under the names that digests were made with."""
    fields = {new: old for old, new in renamed_fields(section).items()}
    return {fields.get(name, name): value for name, value in values.items()}


@cache  # a suite would say it for each of its evaluations
def _warn(old: str, new: str) -> None:
    _log.warning("%s is now called %s; the old name goes with version 0.2", old, new)
