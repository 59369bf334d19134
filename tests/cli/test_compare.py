from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pipeline.evaluate.test_run import run

from colmodern.cli.main import cli


@pytest.fixture
def pair(eval_config: Callable[..., Path]) -> list[str]:
    """Two run folders."""
    config = eval_config()
    return [
        str(run(config, f"name={name}", *overrides)[0].folder)
        for name, *overrides in (["a"], ["b", "encoder.query_length=4"])
    ]


def compare(*words: str) -> Result:
    return CliRunner().invoke(
        cli, ["compare", *words], env={"COLUMNS": "200"}, catch_exceptions=False
    )


def test_the_terminal_shows_scores_tests_queries_and_recipes(pair: list[str]) -> None:
    shown = compare(*pair).output
    for text in (
        "small",
        "nDCG@10",
        "p (randomisation)",
        "wins / ties / losses",
        "config.encoder.query_length",
        "decides scores",
        "Other differences may be chance",
    ):
        assert text in shown


def test_nothing_is_bold_where_no_test_says_so(pair: list[str]) -> None:
    # three queries: no test can tell a difference
    assert "**" not in compare(*pair, "--format", "markdown").output
    assert "textbf" not in compare(*pair, "--format", "latex").output


def test_json_has_everything_and_goes_into_a_file(pair: list[str], tmp_path: Path) -> None:
    shown = json.loads(compare(*pair, "--format", "json", "-m", "AP").output)
    assert shown["measures"] == ["AP"]
    path = tmp_path / "out" / "found.json"
    result = compare(*pair, "--format", "json", "-m", "AP", "-o", str(path))
    assert result.output.strip() == str(path)
    assert json.loads(path.read_text()) == shown
    assert shown["differences"][0]["difference"].keys() == {"mean", "low", "high"}


def test_the_page_needs_a_file_and_a_file_needs_a_format(pair: list[str]) -> None:
    assert "needs --output" in compare(*pair, "--format", "html").output
    assert "--output needs --format" in compare(*pair, "-o", "out.txt").output


def test_the_page_is_written(pair: list[str], tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    compare(*pair, "--format", "html", "-o", str(path))
    assert "b against a" in path.read_text()


def test_what_cannot_be_compared_is_told_in_words(pair: list[str]) -> None:
    result = CliRunner().invoke(cli, ["compare", pair[0], "nowhere"])
    assert "nowhere holds no run" in str(result.exception)
