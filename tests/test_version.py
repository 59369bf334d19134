"""The version is written once, in colmodern/__init__.py; whatever else names it says the same."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from click.testing import CliRunner

import colmodern
from colmodern.cli.main import cli

ROOT = Path(__file__).parents[1]
VERSION = colmodern.__version__


def test_the_command_prints_the_version() -> None:
    assert VERSION in CliRunner().invoke(cli, ["--version"]).output.split()


def test_the_newest_version_of_the_changelog_is_this_one() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## (\d+\.\d+\.\d+)", changelog, flags=re.MULTILINE)
    assert versions[0] == VERSION


def test_the_page_of_news_takes_the_changelog_in_below_its_preamble() -> None:
    [line] = re.findall(r'^--8<-- "CHANGELOG\.md:(\d+):"$', page("whats-new.md"), re.MULTILINE)
    lines = (ROOT / "CHANGELOG.md").read_text().splitlines()
    assert lines[int(line) - 1].startswith("## ")
    assert not any(line.startswith("## ") for line in lines[: int(line) - 1])


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def test_the_citation_has_the_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == VERSION


def test_the_archive_that_the_readme_installs_has_the_version() -> None:
    assert f"colmodern-{VERSION}.tar.gz" in (ROOT / "README.md").read_text()
