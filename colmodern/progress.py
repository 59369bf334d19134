"""How long work tells whoever started it how far it is."""

from __future__ import annotations

from typing import Protocol


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
