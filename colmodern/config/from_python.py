"""An evaluation's config in any of the forms that a caller in Python may have."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from colmodern.arguments import checked_path, listed
from colmodern.checks import shown
from colmodern.config.load import SETS, build, load_eval_config, parse_overrides
from colmodern.config.models import EvalConfig
from colmodern.config.shipped import find_config
from colmodern.errors import ConfigError, InputError


def eval_config(
    config: EvalConfig | Mapping[str, object] | str | Path, overrides: Sequence[str] = ()
) -> EvalConfig:
    """The checked config of one evaluation.

    Args:
        config: A config, its values as nested mappings, a file's path or a recipe's name ("demo").
            What is given is not changed.
        overrides: Settings to replace, as "search.k=50".

    Raises:
        ConfigError: A setting is wrong, there is no such file or recipe, or it is a whole suite.
        InputError: An argument is of another type.
    """
    cure = "pass a list of strings, as ['search.k=50']"
    overrides = listed("overrides", overrides, cure)
    if not all(isinstance(text, str) for text in overrides):
        raise InputError(f"overrides={shown(overrides)}; {cure}")
    if isinstance(config, EvalConfig):
        if not overrides:
            return config
        values = config.model_dump(mode="json")
        merged = parse_overrides(overrides, values)
        return build(EvalConfig, merged, source=config.name, overrides=overrides)
    if isinstance(config, Mapping):
        values = copy.deepcopy(dict(config))
        if SETS in values:
            raise ConfigError(f"config: {SETS}: run_eval takes one evaluation; give dataset.name")
        merged = parse_overrides(overrides, values)
        return build(EvalConfig, merged, source="config", overrides=overrides)
    if not isinstance(config, str | os.PathLike):
        raise InputError(
            f"config is of type {type(config).__name__}; give a config file's path, a recipe's name, "
            "a mapping of settings or an EvalConfig"
        )
    try:
        checked_path("config", config, "a config file or a recipe's name")
    except InputError as error:
        raise ConfigError(str(error)) from None
    path = find_config(config, "eval")
    if path.is_dir() and not any(path.glob("*.yaml")):
        raise ConfigError(f"{config} is a folder; give a config file's path or a recipe's name")
    if path.is_dir():
        raise ConfigError(
            f"{config} is a suite of configs, and run_eval takes one; `colmodern eval {config}` runs "
            "them all"
        )
    return load_eval_config(path, overrides)
