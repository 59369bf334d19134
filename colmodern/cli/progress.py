"""Progress of long work on stderr: a live bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

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

from colmodern.cli.terminal import visible

_LINE_EVERY = 10.0  # seconds between lines where there is no terminal


class TerminalProgress:
    """Draws what a Progress is told; use it as a context manager."""

    def __init__(self) -> None:
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
        )
        self._task = TaskID(0)
        self._name, self._unit = "", ""
        self._total = self._done = self._before = 0
        self._start = self._last_line = 0.0

    def __enter__(self) -> TerminalProgress:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def start(self, task: str, total: int, *, unit: str, done: int = 0) -> None:
        """Show a new bar."""
        self._name, self._unit, self._total = visible(task), visible(unit), total
        self._done = self._before = done
        self._start = self._last_line = time.monotonic()
        # a total of 0 is one that nobody knows
        self._task = self._bars.add_task(self._name, total=total or None, completed=done, rate="")

    def advance(self, n: int) -> None:
        """Move the bar."""
        self._done += n
        now = time.monotonic()
        rate = (self._done - self._before) / max(1e-9, now - self._start)
        shown = f"{rate:,.0f} {self._unit}/s" if rate >= 10 else f"{rate:.2f} {self._unit}/s"
        self._bars.update(self._task, completed=self._done, rate=shown)
        if not self._console.is_terminal and now - self._last_line >= _LINE_EVERY:
            self._last_line = now
            left = (self._total - self._done) / max(rate, 1e-9)
            known = f" of {self._total:,}, {shown}, about {left:.0f} s left"
            self._line(f"{self._done:,}" + (known if self._total else f", {shown}"))

    def finish(self) -> None:
        """Complete the bar."""
        total = self._total or self._done
        self._bars.update(self._task, completed=total, total=total)
        if not self._console.is_terminal:
            self._line(f"{total:,} {self._unit} in {time.monotonic() - self._start:.1f} s")

    def note(self, message: str) -> None:
        """Print a line above the bars."""
        self._print(message, style="dim")

    def _line(self, message: str) -> None:
        self._print(f"{self._name}: {message}")

    def _print(self, message: str, *, style: str | None = None) -> None:
        self._console.print(
            visible(message, lines=True),
            style=style,
            highlight=False,
            markup=False,
            emoji=False,
            soft_wrap=True,
        )
