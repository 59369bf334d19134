"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from colmodern.evaluation.report import Figure
from colmodern.evaluation.tables import Table as Evaluated
from colmodern.evaluation.tables import plain


def figures(title: str, rows: Sequence[Figure]) -> Table:
    """Figures, one a line; with those of exact search beside them where there are any."""
    is_compared = any(row.exact is not None for row in rows)
    table = Table(title=Text(title), title_justify="left", show_header=is_compared)
    table.add_column(style="bold")
    table.add_column("index" if is_compared else "", justify="right")
    if is_compared:
        table.add_column("exact", justify="right")
    for label, value, exact in rows:
        table.add_row(Text(label), Text(value), *([Text(exact or "")] if is_compared else []))
    return table


def show(console: Console, table: Evaluated) -> None:
    """Print a table of results whole: bold is only what a test says is better.

    Where a terminal is too narrow, numbers go on in the next line, and none is cut off; where there
    is no terminal, lines are as long as they have to be.
    """
    whole = _drawn(table, wraps=False)
    width = console.measure(whole, options=console.options.update(max_width=10_000)).maximum
    if not console.is_terminal:
        console.width = max(console.width, width)
    console.print(whole if width <= console.width else _drawn(table, wraps=True))
    console.print(Text(f"{table.note}\n", style="dim"))


def _drawn(table: Evaluated, *, wraps: bool) -> Table:
    drawn = Table(title=Text(table.title), title_justify="left", header_style="")
    for position, name in enumerate(table.header):
        is_number = table.is_number(position)
        drawn.add_column(
            Text(name),
            justify="right" if is_number else "left",
            no_wrap=is_number and not wraps,
            overflow="fold",
        )
    for row in table.rows:
        drawn.add_row(*(Text(plain(cell), style="bold" if cell.is_better else "") for cell in row))
    return drawn
