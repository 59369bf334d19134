"""Progress of a command on stderr: bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

from colmodern.checks import visible
from colmodern.progress_bar import ProgressBar


class TerminalProgress(ProgressBar):
    """Keeps the bars of finished tasks until the command ends; use it as a context manager."""

    def __init__(self) -> None:
        super().__init__(redirects_stdout=True)

    def __enter__(self) -> TerminalProgress:
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def start(self, task: str, total: int, *, unit: str, done: int = 0) -> None:
        """Show one more bar; a total of 0 means unknown."""
        self._begin(visible(task), total, visible(unit), done)

    def finish(self) -> None:
        """Complete the bar."""
        self._complete()

    def note(self, message: str) -> None:
        """Print a line above the bars."""
        self._print(message, style="dim")

    def _print(self, message: str, *, style: str | None = None) -> None:
        super()._print(visible(message, lines=True), style=style)
