"""The samples of the documentation's pages run, page by page and in order. Run by `make check`.

A page's Python shares one namespace, and all its samples one empty folder; nothing is fetched. A
sample that cannot run here has a comment right above it: ``<!-- not run: needs the hub -->``.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

pytestmark = pytest.mark.docs

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
# what is run, and what is only shown; `bash` or `py` would be run by nobody
RUN = ("python", "sh")
SHOWN = ("", "text", "yaml", "json", "jsonl", "toml", "tsv", "html")
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>[^\n]*)\n(?P<code>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
NOT_RUN = re.compile(r"<!-- not run: \w[^\n]* -->$")


class Sample(NamedTuple):
    """A fenced block: the line that it begins in, its language, its text, and whether it runs."""

    line: int
    language: str
    code: str
    is_run: bool


def samples(page: str) -> Iterator[Sample]:
    for match in FENCE.finditer(page):
        language = match["language"].split()[0] if match["language"].split() else ""
        above = page[: match.start()].rstrip()
        is_run = language in RUN and not NOT_RUN.search(above.rpartition("\n")[2])
        line = page.count("\n", 0, match.start()) + 2
        yield Sample(line, language, textwrap.dedent(match["code"]), is_run)


def page_id(page: Path) -> str:
    return page.relative_to(ROOT / "docs").as_posix()


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose `colmodern` and `python` are those of this tree and this environment."""
    folder = tmp_path_factory.mktemp("bin")
    for name, call in (("colmodern", "-m colmodern"), ("python", "")):
        program = folder / name
        program.write_text(
            f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" {call} "$@"\n', "utf-8"
        )
        program.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finished stages of evaluations, which pages share: most begin with the same encoding."""
    return tmp_path_factory.mktemp("stages")


@pytest.fixture
def shells() -> Iterator[list[int]]:
    """Process groups of samples; what they leave running, such as a server, ends with the page."""
    groups: list[int] = []
    yield groups
    for group in groups:
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGTERM)


def run_in_shell(code: str, folder: Path, shells: list[int]) -> None:
    shell = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    shells.append(shell.pid)
    output, errors = shell.communicate(timeout=600)
    assert shell.returncode == 0, f"{code}\n{output[-2000:]}\n{errors[-2000:]}"


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(s.is_run for s in samples(page.read_text()))],
    ids=page_id,
)
def test_samples_run_one_after_another(
    page: Path,
    programs: Path,
    stages: Path,
    shells: list[int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / ".cache").symlink_to(stages)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    names: dict[str, object] = {"__name__": "__main__"}
    for sample in samples(page.read_text()):
        if not sample.is_run:
            continue
        if sample.language == "sh":
            run_in_shell(sample.code, tmp_path, shells)
            continue
        code = "\n" * (sample.line - 1) + sample.code  # a traceback names the page's line
        exec(compile(code, str(page), "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_sample_is_of_a_language_that_is_run_or_only_shown(page: Path) -> None:
    text = page.read_text()
    found = list(samples(text))
    assert len(re.findall(r"^ *```", text, re.MULTILINE)) == 2 * len(found), "a fence is not closed"
    for sample in found:
        assert sample.language in (*RUN, *SHOWN), f"{page.name}:{sample.line}: {sample.language}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_a_reason_for_not_running_stands_above_a_sample(page: Path) -> None:
    text = page.read_text()
    reasons = len(re.findall(r"<!-- not run", text))
    skipped = [s for s in samples(text) if s.language in RUN and not s.is_run]
    assert reasons == len(skipped), "a comment is not right above a python or sh block"


def test_a_sample_is_run_unless_the_comment_above_it_says_why_not() -> None:
    page = "a\n\n```python\nx = 1\n```\n\n<!-- not run: needs a GPU -->\n\n```sh\ny\n```\n"
    page += "- b\n\n    ```sh\n    z\n    ```\n\n<!-- not run: -->\n```python\nw\n```\n"
    assert list(samples(page)) == [
        Sample(4, "python", "x = 1\n", True),
        Sample(10, "sh", "y\n", False),
        Sample(15, "sh", "z\n", True),
        Sample(20, "python", "w\n", True),
    ]
