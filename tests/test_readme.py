"""The README's Python runs, and its commands and paths exist. Run by `make check`."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from colmodern.cli.main import cli
from colmodern.config.load import load_eval_config

pytestmark = pytest.mark.docs

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands(program: str) -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    split = [shlex.split(line, comments=True) for line in lines]
    return [words for words in split if words and words[0] == program]


def test_python_examples_run_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # they write
    assert blocks("python")
    names: dict[str, object] = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    assert [hit.rank for hit in names["hits"]] == [1, 2]


@pytest.mark.parametrize("words", commands("colmodern"), ids=" ".join)
def test_colmodern_commands_exist_with_their_options(words: list[str]) -> None:
    _, name, *arguments = words
    path = [name, *(arguments[:1] if name == "index" else [])]
    page = CliRunner().invoke(cli, [*path, "--help"])
    assert page.exit_code == 0
    for option in (word.split("=")[0] for word in arguments if word.startswith("-")):
        assert re.search(rf"(^|\s|,){re.escape(option)}\b", page.output), option
    if name == "eval":
        load_eval_config(ROOT / arguments[0], arguments[1:])


@pytest.mark.parametrize("words", commands("make"), ids=" ".join)
def test_make_targets_exist(words: list[str]) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    for target in (word for word in words[1:] if "=" not in word):
        assert target in targets


def test_links_to_files_lead_somewhere() -> None:
    for path in re.findall(r"\]\((?!https?:|#)([^)#]+)\)", README):
        assert (ROOT / path).exists(), path
