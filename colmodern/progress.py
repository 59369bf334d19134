"""Progress reports of long work."""

from __future__ import annotations

from typing import Protocol

from colmodern.errors import InputError
from colmodern.notebook import is_running

_METHODS = ("start", "advance", "finish", "note")


class Progress(Protocol):
    """A receiver of the steps of long work; the command line draws them."""

    def start(self, task: str, total: int, *, unit: str, done: int = 0) -> None:
        """Begin a task; an earlier run finished ``done`` of its ``total`` units."""

    def advance(self, n: int) -> None:
        """Count ``n`` more units of the current task as finished."""

    def finish(self) -> None:
        """End the current task."""

    def note(self, message: str) -> None:
        """Report something worth a line: what was reused, or what the user should know."""


class Silent:
    """A Progress that shows nothing."""

    def start(self, task: str, total: int, *, unit: str, done: int = 0) -> None:
        """Ignore."""

    def advance(self, n: int) -> None:
        """Ignore."""

    def finish(self) -> None:
        """Ignore."""

    def note(self, message: str) -> None:
        """Ignore."""


def as_progress(progress: Progress | bool | None) -> Progress:
    """The Progress that an argument ``progress`` stands for.

    Args:
        progress: True for a bar with the time left, on stderr or in a notebook's cell; False or None
            for nothing; or an object with the methods of Progress.

    Raises:
        InputError: it is none of these.
    """
    if progress is None or progress is False:
        return Silent()
    if progress is True:
        if is_running():
            from colmodern.notebook_progress import NotebookProgress

            return NotebookProgress()
        from colmodern.progress_bar import ProgressBar  # loads rich

        return ProgressBar()
    if isinstance(progress, type):
        raise InputError(
            f"progress is the class {progress.__name__}; pass an object of it, as "
            f"{progress.__name__}()"
        )
    if lacking := [name for name in _METHODS if not callable(getattr(progress, name, None))]:
        raise InputError(
            f"progress is a {type(progress).__name__} without {', '.join(lacking)}; pass True for "
            "a bar, None for nothing, or an object with start, advance, finish and note"
        )
    return progress
