from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_recipes_are_listed_under_their_commands(run) -> None:
    status, out, _ = run("recipes")
    assert status == 0
    lines = [line.split()[0] for line in out.splitlines() if line.startswith("  ")]
    assert {"demo", "nanobeir", "plaid", "local", "modernbert-base"} <= set(lines)
    assert "nanobeir/colbertv2" not in lines
    assert "  nanobeir/colbertv2 " in run("recipes", "--all")[1]
    records = json.loads(run("recipes", "--json")[1])
    [plaid] = [row for row in records if row["name"] == "sweep/plaid"]
    assert plaid["command"] == "colmodern sweep plaid"
    assert Path(plaid["path"]).is_file()


def test_show_prints_a_recipe_to_start_from(run, elsewhere: Path) -> None:
    status, out, _ = run("recipes", "show", "sweep/plaid")
    assert status == 0
    values = yaml.safe_load(out)
    assert values["dataset"]["name"] == "stdlib"  # of the demo, which it extends
    assert "extends" not in values
    assert run("recipes", "show", "demo")[1].startswith("# The whole pipeline")
    status, _, err = run("recipes", "show", "tiny")
    assert (status, "may be eval/" in err) == (2, True)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("eval demo search.q=5", "override search.q: unknown key"),
        ("eval nanobeir search.q=5", "search.q: unknown key"),
        ("plan demo search.q=5", "override search.q: unknown key"),
        ("sweep plaid sweep.q=5", "override sweep.q: unknown key"),
        ("train local optimisation.q=5", "override optimisation.q: unknown key"),
        ("mine local negatives.q=5", "override negatives.q: unknown key"),
        ("reproduce modernbert-base/scifakt", "no score of 'scifakt'"),
        ("reproduce modernbert-bass/scifact", "did you mean 'modernbert-base'?"),
    ],
)
def test_every_command_that_takes_a_config_takes_a_name(run, command: str, message: str) -> None:
    status, _, err = run(*command.split())
    assert (status, message in err) == (2, True), err


@pytest.mark.parametrize("command", ["eval", "plan", "sweep", "train", "mine"])
def test_every_command_says_which_names_are_near(run, command: str) -> None:
    status, _, err = run(command, "demi")
    assert (status, "did you mean `colmodern eval demo`" in err) == (2, True), err
    status, _, err = run(command, "x" * 3000)
    assert (status, "no recipe of that name" in err) == (2, True), err
