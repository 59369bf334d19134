from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from colmodern.config.from_python import eval_config
from colmodern.errors import ConfigError, InputError

VALUES = {"name": "mine", "dataset": {"name": "stdlib"}, "encoder": {"model": "colmodern/tiny"}}


def test_a_recipe_a_file_a_mapping_and_a_config_are_taken(tmp_path: Path) -> None:
    assert eval_config("demo").name == "demo"
    (tmp_path / "own.yaml").write_text("extends: demo\n")
    assert eval_config(tmp_path / "own.yaml", ["search.k=170"]).search.k == 170
    config = eval_config(VALUES, ["search.k=170", "encoder.document_length=9"])
    assert (config.search.k, config.encoder.document_length) == (170, 9)
    assert "document_length" not in VALUES["encoder"]  # the caller's own stays as it was
    assert eval_config(config) is config
    assert eval_config(config, ["index={kind: plaid}"]).index.kind == "plaid"
    assert config.index.kind == "exact"


@pytest.mark.parametrize(
    ("config", "overrides", "message"),
    [
        ("dmeo", [], "did you mean `colmodern eval demo`"),
        ("nanobeir", [], "is a suite of configs, and run_eval takes one"),
        ("nanobeir/colbertv2", [], "is of 13 data sets"),
        ({**VALUES, "sets": {"a": None}}, [], "run_eval takes one evaluation"),
        ({"name": "mine"}, [], "encoder: missing"),
        ({}, [], "name: missing"),
        (VALUES, ["search.q=1"], "search.q: unknown key"),
        (VALUES, ["search"], "not of the form"),
    ],
)
def test_what_is_no_single_evaluation_is_a_config_error(
    config: Any, overrides: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        eval_config(config, overrides)


@pytest.mark.parametrize(
    ("config", "overrides", "message"),
    [
        (None, [], "config is of type NoneType; give a config file's path"),
        (["demo"], [], "config is of type list"),
        ("demo", "search.k=5", "overrides='search.k=5' is one string; pass a list"),
        ("demo", {"search.k": 5}.items(), "pass a list of strings"),
        ("demo", [5], "pass a list of strings"),
    ],
)
def test_arguments_of_another_type_are_input_errors(
    config: Any, overrides: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        eval_config(config, overrides)


def test_a_folder_without_configs_is_called_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder; give a config file's path"):
        eval_config(tmp_path)
