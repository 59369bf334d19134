"""Settings by the names that they had: taken for one more version, and never beside the new one."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from colmodern.config.from_python import eval_config
from colmodern.config.index import PlaidIndexConfig
from colmodern.config.load import dump, load_eval_config
from colmodern.config.models import EvalConfig
from colmodern.config.read import is_same_config, read_values
from colmodern.config.renamed import RENAMED, with_old_names
from colmodern.config.suite import load_suite
from colmodern.errors import ConfigError

OLD = {
    "encoder": {"model": "m"},
    "max_ram": "8G",
    "index": {"kind": "plaid", "max_ram": "2G", "memory_budget": "3G", "device_memory": "4G"},
}


def limits(config: EvalConfig) -> list[str | None]:
    index = config.index
    assert isinstance(index, PlaidIndexConfig)
    ceilings = [index.build_max_memory, index.exact_max_memory, index.device_max_memory]
    return [config.max_memory, *ceilings]


def write(path: Path, values: object) -> Path:
    path.write_text(yaml.safe_dump(values))
    return path


def test_a_file_with_old_names_says_the_new_ones(tmp_path: Path, caplog) -> None:
    path = write(tmp_path / "old.yaml", OLD)
    assert limits(load_eval_config(path)) == ["8G", "2G", "3G", "4G"]
    for old, new in RENAMED.items():
        assert f"{path}: {old} is now called {new}" in caplog.text


def test_old_names_in_the_sets_of_a_suite_count(tmp_path: Path, caplog) -> None:
    sets = {"a": {"index": {"memory_budget": "5G"}}, "b": None}
    path = write(tmp_path / "suite.yaml", {**OLD, "index": {}, "sets": sets})
    first, second = load_suite([path])
    assert [first.config.index.exact_max_memory, second.config.index.exact_max_memory] == [
        "5G",
        "1G",
    ]
    assert "sets.a: index.memory_budget is now called index.exact_max_memory" in caplog.text


def test_an_override_by_its_old_name_wins_over_a_file_with_the_new_one(
    tmp_path: Path, caplog
) -> None:
    values = {"encoder": {"model": "m"}, "index": {"kind": "plaid", "build_max_memory": "2G"}}
    path = write(tmp_path / "new.yaml", values)
    assert limits(load_eval_config(path, ["index.max_ram=1G"]))[1] == "1G"
    assert limits(load_eval_config(path, ["index={kind: plaid, max_ram: 3G}"]))[1] == "3G"


def test_settings_from_python_may_have_old_names() -> None:
    assert limits(eval_config({**OLD, "name": "x"})) == ["8G", "2G", "3G", "4G"]
    assert PlaidIndexConfig.model_validate({"max_ram": "1G"}).build_max_memory == "1G"


@pytest.mark.parametrize("old", RENAMED)
def test_both_names_of_a_setting_are_refused(tmp_path: Path, old: str) -> None:
    new, path = RENAMED[old], write(tmp_path / "new.yaml", {**OLD, "index": {"kind": "plaid"}})
    with pytest.raises(ConfigError, match=f"old name of {new}"):
        load_eval_config(path, [f"{old}=1G", f"{new}=1G"])
    both = {"kind": "plaid", **{name.rpartition(".")[2]: "1G" for name in (old, new)}}
    values = {"encoder": {"model": "m"}, "index": both} if "." in old else {**both, **OLD}
    with pytest.raises(
        ConfigError, match=f"{path}: {old} is the old name of {new}, which is there"
    ):
        load_eval_config(write(path, values))


def test_a_stored_config_is_the_same_by_either_name(tmp_path: Path, caplog) -> None:
    config = eval_config({**OLD, "name": "x"})
    caplog.clear()
    text = dump(config)
    stored = yaml.safe_load(text)
    index = with_old_names(stored.pop("index"), "index")
    path = write(tmp_path / "config.yaml", {**with_old_names(stored, ""), "index": index})
    assert "max_ram: 8G" in path.read_text()
    assert is_same_config(path, text)
    assert read_values(path, is_stored=True) == yaml.safe_load(text)
    assert not caplog.text
    assert not is_same_config(path, text.replace("8G", "9G"))
    path.write_text("[")
    assert not is_same_config(path, text)
