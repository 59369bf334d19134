"""How long work tells whoever started it how far it is."""

from __future__ import annotations

from typing import Protocol

from colmodern.errors import InputError

_METHODS = ("start", "advance", "finish", "note")


class Progress(Protocol):
    """Receives the steps of long work; the command line draws them, a library call may not."""

    def start(self, task: str, total: int, *, unit: str, done: int = 0) -> None:
        """A task begins; ``done`` of its ``total`` units were finished by an earlier run."""

    def advance(self, n: int) -> None:
        """``n`` more units of the current task are finished."""

    def finish(self) -> None:
        """The current task is complete."""

    def note(self, message: str) -> None:
        """Something worth a line: what was reused, or what the user should know."""


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
        progress: True for a bar on stderr with the time left; False or None for nothing; or an
            object with the methods of Progress.

    Raises:
        InputError: it is none of these.
    """
    if progress is None or progress is False:
        return Silent()
    if progress is True:
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
