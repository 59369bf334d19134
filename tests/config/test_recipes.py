from __future__ import annotations

import re
from pathlib import Path

import pytest

from colmodern.config import shipped
from colmodern.config.mine import load_mine_config
from colmodern.config.models import EvalConfig
from colmodern.config.recipes import list_recipes, recipe_text
from colmodern.config.shipped import (
    Kind,
    command_of,
    find_config,
    find_recipe,
    recipes_folder,
    shipped_recipes,
)
from colmodern.config.suite import load_suite
from colmodern.config.sweep import SweepConfig
from colmodern.config.train import load_train_config
from colmodern.errors import ConfigError

CONFIGS = recipes_folder()
FILES = {name: path for name, path in shipped_recipes().items() if path.is_file()}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Names have to work away from the checkout."""
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    return tmp_path / "empty"


@pytest.mark.parametrize(
    ("name", "kind", "path"),
    [
        ("demo", "eval", "demo.yaml"),
        ("demo", "sweep", "demo.yaml"),
        ("tiny", "eval", "eval/tiny.yaml"),
        ("eval/tiny", "eval", "eval/tiny.yaml"),
        ("nanobeir", "eval", "eval/nanobeir"),
        ("nanobeir/colbertv2", "eval", "eval/nanobeir/colbertv2.yaml"),
        ("models/colbertv2", "eval", "models/colbertv2.yaml"),
        ("plaid", "sweep", "sweep/plaid.yaml"),
        ("local", "sweep", "sweep/local"),
        ("tiny", "train", "train/tiny.yaml"),
        ("local", "mine", "mine/local.yaml"),
        ("train/local", "mine", "train/local.yaml"),
    ],
)
def test_a_name_is_a_recipe_of_the_command_first(name: str, kind: Kind, path: str) -> None:
    assert find_config(name, kind) == CONFIGS / path


def test_a_path_wins_over_a_name(elsewhere: Path) -> None:
    (elsewhere / "demo").write_text("name: mine\n")
    assert find_config("demo", "eval") == Path("demo")
    (elsewhere / "nanobeir").mkdir()
    assert find_config("nanobeir", "eval") == Path("nanobeir")
    assert find_config(elsewhere / "demo", "train") == elsewhere / "demo"


@pytest.mark.parametrize(
    ("name", "kind", "hint"),
    [
        ("nanobier", "eval", "did you mean `colmodern eval nanobeir`"),
        ("configs/demo.yaml", "eval", "did you mean `colmodern eval demo`?"),
        ("./demo.yaml", "eval", "did you mean `colmodern eval demo`?"),
        ("plaid", "eval", "`colmodern sweep plaid`"),
        ("loacl", "train", "did you mean `colmodern train local`?"),
        ("qqqqqq", "train", "; `colmodern recipes` lists them"),
        ("", "eval", "a path is empty"),
        ("../configs/demo", "eval", "no recipe of that name"),
        ("_beir", "eval", "no recipe of that name"),
        ("eval", "eval", "no recipe of that name"),
        ("a\0b", "eval", "it has a NUL character"),
        ("x" * 5000, "eval", "no recipe of that name"),
    ],
)
def test_an_unknown_name_is_refused_with_the_near_ones(name: str, kind: Kind, hint: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(hint)):
        find_config(name, kind)


def test_an_installed_package_has_its_recipes_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site-packages" / "colmodern"
    (package / "config").mkdir(parents=True)
    monkeypatch.setattr(shipped, "__file__", str(package / "config" / "shipped.py"))
    (package.parent / "configs").mkdir()  # somebody else's, or a checkout's
    assert recipes_folder() == package.parent / "configs"
    (package / "configs").mkdir()
    assert recipes_folder() == package / "configs"
    with pytest.raises(ConfigError, match="this installation has no recipes"):
        find_config("demo", "eval")


def test_every_recipe_says_what_it_is_and_how_it_is_run() -> None:
    recipes = list_recipes()
    assert len(recipes) == len({recipe.name for recipe in recipes}) > 50
    for recipe in recipes:
        assert 5 < len(recipe.description) < 200, recipe.name
        kind, name = recipe.command.split()
        assert find_config(name, kind) == recipe.path


@pytest.mark.parametrize("name", FILES)
def test_a_recipe_that_is_shown_can_be_saved_anywhere_and_is_the_same(
    name: str, elsewhere: Path
) -> None:
    saved = elsewhere / FILES[name].name
    saved.write_text(recipe_text(FILES[name]))
    kind = command_of(name).split()[0]
    if kind == "train":
        assert load_train_config(saved) == load_train_config(FILES[name])
    elif kind == "mine":
        assert load_mine_config(saved) == load_mine_config(FILES[name])
    else:
        needed = [] if "sets" in saved.read_text() else ["dataset.name=stdlib"]
        model = SweepConfig if kind == "sweep" else EvalConfig
        both = [load_suite([path], needed, model=model) for path in (saved, FILES[name])]
        assert both[0] == both[1]


def test_a_recipe_is_found_by_its_end_where_that_is_clear() -> None:
    assert find_recipe("demo") == ("demo", CONFIGS / "demo.yaml")
    assert find_recipe("nanobeir") == ("eval/nanobeir", CONFIGS / "eval" / "nanobeir")
    with pytest.raises(ConfigError, match=r"may be eval/tiny|may be .* or train/tiny"):
        find_recipe("tiny")
    with pytest.raises(ConfigError, match="no recipe 'dmo'; did you mean `colmodern eval demo`"):
        find_recipe("dmo")
    with pytest.raises(ConfigError, match="is a suite; show one of eval/nanobeir/answerai"):
        recipe_text(CONFIGS / "eval" / "nanobeir")


def test_a_config_of_ones_own_extends_a_recipe_by_name(elsewhere: Path) -> None:
    (elsewhere / "mine.yaml").write_text("extends: demo\nsearch: {k: 170}\n")
    [member] = load_suite([elsewhere / "mine.yaml"])
    assert (member.config.search.k, member.config.dataset.name) == (170, "stdlib")
    (elsewhere / "demo").write_text("dataset: {name: other}\nencoder: {model: m}\n")
    [member] = load_suite([elsewhere / "mine.yaml"])
    assert member.config.dataset.name == "other"
    (elsewhere / "mine.yaml").write_text("extends: dmeo\n")
    with pytest.raises(ConfigError, match=r"there is no file .*dmeo; paths are relative"):
        load_suite([elsewhere / "mine.yaml"])
