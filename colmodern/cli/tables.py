"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

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


def drawn(table: Evaluated) -> Table:
    """A table of results; bold is only what a test says is better."""
    drawn = Table(title=Text(table.title), title_justify="left", header_style="")
    for position, name in enumerate(table.header):
        is_number = table.is_number(position)
        # no line break inside a number
        drawn.add_column(Text(name), justify="right" if is_number else "left", no_wrap=is_number)
    for row in table.rows:
        drawn.add_row(*(Text(plain(cell), style="bold" if cell.is_better else "") for cell in row))
    return drawn
