"""The README's Python runs, and its commands and paths exist. Run by `make check`.

`make test-wheel` runs its commands one after another, with an installed package.
"""

from __future__ import annotations

import re
from pathlib import Path

import installed
import pytest
from click.testing import CliRunner

from colmodern.cli.eval import paths_and_overrides
from colmodern.cli.main import cli
from colmodern.config.models import EvalConfig
from colmodern.config.suite import load_suite
from colmodern.config.sweep import SweepConfig

pytestmark = pytest.mark.docs

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def commands(program: str) -> list[list[str]]:
    return [words for words in installed.shell_commands(README) if words[0] == program]


def test_the_python_example_prints_what_the_readme_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    [sample] = installed.blocks(README, "python")
    [shown] = installed.blocks(README, "text")
    exec(compile(sample, "README.md", "exec"), {})
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize("words", commands("colmodern"), ids=" ".join)
def test_colmodern_commands_exist_with_their_options(words: list[str]) -> None:
    _, name, *arguments = words
    if name == "index":
        path = [name, arguments.pop(0)]
    else:
        path = [name]
    page = CliRunner().invoke(cli, [*path, "--help"])
    assert page.exit_code == 0
    for option in (word.split("=")[0] for word in arguments if word.startswith("-")):
        assert re.search(rf"(^|\s|,){re.escape(option)}\b", page.output), option
    if name in ("eval", "plan", "sweep"):
        [path_of_config], overrides = paths_and_overrides(tuple(arguments), name)
        assert load_suite(
            [path_of_config], overrides, model=SweepConfig if name == "sweep" else EvalConfig
        )


@pytest.mark.parametrize("words", commands("make"), ids=" ".join)
def test_make_targets_exist(words: list[str]) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    for target in (word for word in words[1:] if "=" not in word):
        assert target in targets


def test_links_to_files_lead_somewhere() -> None:
    for path in re.findall(r"\]\((?!https?:|#)([^)#]+)\)", README):
        assert (ROOT / path).exists(), path
