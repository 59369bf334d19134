"""The bar of a notebook: one output, rewritten in place, whatever the number of steps."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from colmodern.notebook_progress import NotebookProgress
from colmodern.progress import as_progress


class _Cell:
    """What a kernel sends to the page: outputs, and updates of them."""

    def __init__(self) -> None:
        self.outputs: list[dict[str, str]] = []
        self.n_updates = 0

    def display(self, bundle: dict[str, str], *, raw: bool, display_id: bool) -> _Cell:
        assert raw
        assert display_id
        self.outputs.append(bundle)
        return self

    def update(self, bundle: dict[str, str], *, raw: bool) -> None:
        assert raw
        self.n_updates += 1
        self.outputs[-1] = bundle


@pytest.fixture
def cell(monkeypatch: pytest.MonkeyPatch) -> _Cell:
    page = _Cell()
    shell: Any = type(sys)("IPython")
    shell.get_ipython = lambda: SimpleNamespace(kernel=object())
    shell.display = SimpleNamespace(display=page.display)
    monkeypatch.setitem(sys.modules, "IPython", shell)
    monkeypatch.setitem(sys.modules, "IPython.display", shell.display)
    return page


def test_true_is_the_bar_of_the_notebook_where_one_runs(cell: _Cell) -> None:
    assert isinstance(as_progress(True), NotebookProgress)
    assert cell.outputs == []


def test_many_steps_of_many_tasks_are_one_output(cell: _Cell) -> None:
    progress = NotebookProgress()
    for task in ("encode", "search"):
        progress.start(task, 10_000, unit="<b>texts")
        for _ in range(10_000):
            progress.advance(1)
        progress.finish()
    assert len(cell.outputs) == 1
    assert cell.n_updates < 1000
    lines = cell.outputs[0]["text/plain"].split("\n")
    assert [line.partition(" in ")[0] for line in lines] == [
        "encode: 10,000 <b>texts",
        "search: 10,000 <b>texts",
    ]
    assert "&lt;b&gt;texts" in cell.outputs[0]["text/html"]
    assert "<progress" not in cell.outputs[0]["text/html"]


def test_a_running_task_is_a_bar_with_the_time_left(
    cell: _Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(100))
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    progress = NotebookProgress()
    progress.start("search", 400, unit="queries", done=100)
    progress.advance(60)
    assert 'value="160" max="400"' in cell.outputs[0]["text/html"]
    assert "search: 160 of 400 queries, " in cell.outputs[0]["text/plain"]
    assert cell.outputs[0]["text/plain"].endswith(" s left")


def test_notes_stay_above_the_bar_and_an_unknown_total_has_no_end(cell: _Cell) -> None:
    progress = NotebookProgress()
    progress.note("reused")
    progress.start("read", 0, unit="lines")
    assert cell.outputs[0]["text/plain"] == "reused\nread: 0 lines"
    assert "<progress>" in cell.outputs[0]["text/html"]
    progress.advance(7)
    progress.finish()
    assert cell.outputs[0]["text/plain"].startswith("reused\nread: 7 lines in ")
