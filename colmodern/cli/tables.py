"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from colmodern.evaluation.report import Figure


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
