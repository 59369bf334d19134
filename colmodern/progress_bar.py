"""The progress bar on stderr of ``progress=True``; without a terminal, a line now and then."""

from __future__ import annotations

import time
import weakref

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_LINE_EVERY = 10.0  # seconds between lines where there is no terminal


class ProgressBar:
    """A Progress that draws one task after another; between tasks the terminal is free.

    A bar whose work failed disappears with this object, or when the process ends.

    Args:
        redirects_stdout: whether lines that are printed meanwhile go above the bar.
    """

    def __init__(self, *, redirects_stdout: bool = False) -> None:
        self._console = Console(stderr=True)
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<17}", markup=False),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
            redirect_stdout=redirects_stdout,
        )
        weakref.finalize(self, self._bars.stop)
        self._task: TaskID | None = None
        self._name, self._unit = "", ""
        self._total = self._done = self._before = 0
        self._start = self._last_line = 0.0

    def start(self, task: str, total: int, *, unit: str, done: int = 0) -> None:
        """Show a new bar; a total of 0 means unknown."""
        for task_id in self._bars.task_ids:  # finished tasks, whose bars stay on the screen
            self._bars.remove_task(task_id)
        self._begin(task, total, unit, done)
        self._bars.start()

    def advance(self, n: int) -> None:
        """Move the bar."""
        if self._task is None:
            return
        self._done += n
        now = time.monotonic()
        rate = (self._done - self._before) / max(1e-9, now - self._start)
        shown = f"{rate:,.0f} {self._unit}/s" if rate >= 10 else f"{rate:.2f} {self._unit}/s"
        self._bars.update(self._task, completed=self._done, rate=shown)
        if not self._console.is_terminal and now - self._last_line >= _LINE_EVERY:
            self._last_line = now
            left = (self._total - self._done) / max(rate, 1e-9)
            known = f" of {self._total:,}, {shown}, about {left:.0f} s left"
            self._print(f"{self._name}: {self._done:,}" + (known if self._total else f", {shown}"))

    def finish(self) -> None:
        """Complete the bar and give the terminal back."""
        self._complete()
        self._bars.stop()

    def note(self, message: str) -> None:
        """Print a line above the bar."""
        self._print(message)

    def _begin(self, task: str, total: int, unit: str, done: int) -> None:
        self._name, self._unit, self._total = task, unit, total
        self._done = self._before = done
        self._start = self._last_line = time.monotonic()
        self._task = self._bars.add_task(task, total=total or None, completed=done, rate="")

    def _complete(self) -> None:
        if self._task is None:
            return
        total = self._total or self._done
        self._bars.update(self._task, completed=total, total=total)
        if not self._console.is_terminal:
            seconds = time.monotonic() - self._start
            self._print(f"{self._name}: {total:,} {self._unit} in {seconds:.1f} s")

    def _print(self, message: str, *, style: str | None = None) -> None:
        self._console.print(
            message, style=style, highlight=False, markup=False, emoji=False, soft_wrap=True
        )
