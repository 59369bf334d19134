from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import unit_rows
from rich.console import Console

from colmodern import ExactIndex, PlaidIndex, progress_bar
from colmodern.errors import InputError
from colmodern.progress import Progress, Silent, as_progress
from colmodern.progress_bar import ProgressBar
from colmodern.ragged.store import EmbeddingStore

DOCUMENTS = unit_rows([5] * 40, dim=16, seed=1)
QUERIES = unit_rows([3, 2], dim=16, seed=2)


class _Lines(Silent):
    def __init__(self) -> None:
        self.tasks: list[str] = []

    def start(self, task: str, total: int, *, unit: str, done: int = 0) -> None:
        self.tasks.append(task)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What bars write to a terminal."""
    written = io.StringIO()

    def console(**options: object) -> Console:
        return Console(file=written, force_terminal=True, width=100)

    monkeypatch.setattr(progress_bar, "Console", console)
    return written


def test_none_and_false_are_silent_and_true_is_a_bar() -> None:
    assert isinstance(as_progress(None), Silent)
    assert isinstance(as_progress(False), Silent)
    assert isinstance(as_progress(True), ProgressBar)
    mine = _Lines()
    assert as_progress(mine) is mine


@pytest.mark.parametrize("progress", ["yes", 1, 0, [], {}, print, lambda n: None])
def test_anything_else_is_refused(progress: object) -> None:
    with pytest.raises(InputError, match=r"progress is a .* without start, .*pass True for a bar"):
        as_progress(progress)  # type: ignore[arg-type]


@pytest.mark.parametrize("progress", [True, False, _Lines()], ids=["bar", "none", "mine"])
def test_every_progress_argument_takes_each_kind(
    tmp_path: Path, progress: Progress | bool | None
) -> None:
    store = EmbeddingStore.write(tmp_path / "store", DOCUMENTS, progress=progress)
    store.verify(progress=progress)
    assert len(ExactIndex(store).search_batch(QUERIES, 3, progress=progress)) == 2
    index = PlaidIndex.build(store, tmp_path / "index", progress=progress)
    assert len(index.search_batch(QUERIES, 3, progress=progress)) == 2
    index.add(DOCUMENTS, [f"new {i}" for i in range(40)], progress=progress)
    index.compact(progress=progress)
    PlaidIndex.check(tmp_path / "index", progress=progress)
    if isinstance(progress, _Lines):
        assert {"write embeddings", "check embeddings", "search"} <= set(progress.tasks)


def test_a_bar_says_how_far_it_is_and_gives_the_terminal_back(terminal: io.StringIO) -> None:
    bar = ProgressBar()
    for task in ("encode documents", "search"):
        bar.start(task, 10, unit="texts", done=2)
        bar.advance(3)
        bar.note("[going on]")
        bar.finish()
    text = terminal.getvalue()
    assert "2/10" in text
    assert "10/10" in text
    assert "[going on]" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 2  # the cursor comes back


def test_a_bar_of_work_that_failed_goes_away_with_it(terminal: io.StringIO) -> None:
    bar = ProgressBar()
    bar.start("search", 10, unit="texts")
    del bar
    assert terminal.getvalue().count("\x1b[?25h") == 1


def test_where_there_is_no_terminal_a_task_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    bar = ProgressBar()
    bar.advance(1)  # of work that somebody else began
    bar.finish()
    bar.start("search", 3, unit="texts")
    bar.advance(3)
    bar.finish()
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"search: 3 texts in \d+\.\d s\n", err)


def test_a_bar_for_an_unknown_total_counts(terminal: io.StringIO) -> None:
    bar = ProgressBar()
    bar.start("read", 0, unit="texts")
    bar.advance(int(np.int64(7)))
    bar.finish()
    assert "7/7" in terminal.getvalue()
