"""The progress bar of ``progress=True`` in a notebook: one output of a cell, rewritten in place.

It needs neither ipywidgets nor a script, only the ``<progress>`` element of HTML.
"""

from __future__ import annotations

import time
from html import escape
from threading import Lock
from typing import Any

_EVERY = 0.2  # seconds between updates of a bar
_MOST_LINES = 30  # finished tasks and notes that stay under each other


class NotebookProgress:
    """A Progress that shows finished tasks as lines, and the current task as a bar under them."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._lock = Lock()  # searches advance from several threads
        self._lines: list[str] = []
        self._task, self._unit = "", ""
        self._is_active = False
        self._total = self._done = self._before = 0
        self._start = self._last_update = 0.0

    def start(self, task: str, total: int, *, unit: str, done: int = 0) -> None:
        """Show a new bar; a total of 0 means unknown."""
        with self._lock:
            self._task, self._unit, self._total = task, unit, total
            self._done = self._before = done
            self._start, self._is_active = time.monotonic(), True
            self._show()

    def advance(self, n: int) -> None:
        """Move the bar."""
        with self._lock:
            self._done += n
            if self._is_active and time.monotonic() - self._last_update >= _EVERY:
                self._show()

    def finish(self) -> None:
        """Replace the bar by a line with the time that the task took."""
        with self._lock:
            if self._is_active:
                self._is_active = False
                seconds = time.monotonic() - self._start
                total = self._total or self._done
                self._add(f"{self._task}: {total:,} {self._unit} in {seconds:.1f} s")

    def note(self, message: str) -> None:
        """Add a line above the bar."""
        with self._lock:
            self._add(message)

    def _add(self, line: str) -> None:
        self._lines = [*self._lines, line][-_MOST_LINES:]
        self._show()

    def _show(self) -> None:
        from IPython.display import display  # a kernel is running, so it is there

        self._last_update = time.monotonic()
        state = self._state() if self._is_active else ""
        text = "\n".join([*self._lines, *[state] * self._is_active])
        lines = "".join(f"<div>{escape(line)}</div>" for line in self._lines)
        bundle = {"text/plain": text, "text/html": lines + (self._bar(state) if state else "")}
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)

    def _state(self) -> str:
        """The current task in words: what is done, how fast, and the time that is left."""
        seconds = time.monotonic() - self._start
        rate = (self._done - self._before) / max(1e-9, seconds)
        count = f"{self._done:,} of {self._total:,}" if self._total else f"{self._done:,}"
        state = f"{self._task}: {count} {self._unit}"
        if self._done > self._before:
            state += f", {rate:,.0f} a second" if rate >= 10 else f", {rate:.2f} a second"
            if self._total:
                state += f", about {max(0, self._total - self._done) / rate:.0f} s left"
        return state

    def _bar(self, state: str) -> str:
        share = f' value="{self._done}" max="{self._total}"' if self._total else ""
        return f"<div><progress{share}></progress> {escape(state)}</div>"
