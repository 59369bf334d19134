"""Tables on stdout."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from colmodern.cli import terminal
from colmodern.report.tables import Table
from colmodern.report.terminal import draw, lines


def cell_text(value: object) -> str:
    """A value as the cell of a table; empty for None."""
    return "" if value is None else str(value)


def show(*tables: Table, prose: Sequence[int] = (), console: Console | None = None) -> None:
    """Print tables whole on stdout.

    On a terminal they are drawn; where it is too narrow, texts are folded, then further columns move
    to a second table that names its rows again; no name and no number is cut. Elsewhere a line is a
    row, its cells are separated by tabs, and titles and notes begin with "# ".

    Args:
        *tables: a table whose header is all "" is drawn without one.
        prose: columns of running text, which are folded first.
        console: where to print; default: stdout.
    """
    out = console or Console()
    for number, shown in enumerate(tables):
        if out.is_terminal:
            draw(out, shown, prose)
        else:
            terminal.put("\n".join(([""] if number else []) + lines(shown)))
