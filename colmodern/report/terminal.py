"""Tables for a terminal: drawn as wide as it is, or as tab-separated lines for a program."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from colmodern.checks import visible
from colmodern.report.tables import Cell, Table, plain

_LEAST_PROSE = 24  # columns of a terminal that a text needs beside other columns
_LEAST_NAME = 12


def lines(table: Table) -> list[str]:
    """A table as lines of tab-separated cells; title and note begin with "# "."""
    lines = [f"# {visible(table.title)}"] if table.title else []
    if any(table.header) and table.rows:
        lines.append("\t".join(map(visible, table.header)))
    lines += ["\t".join(visible(plain(cell)) for cell in row) for row in table.rows]
    return [*lines, f"# {visible(table.note)}"] if table.note else lines


def draw(out: Console, table: Table, prose: Sequence[int]) -> None:
    """Draw a table on a terminal so that no name and no number is cut.

    Args:
        out: the terminal.
        table: a table whose header is all "" is drawn without one.
        prose: columns of running text, which are folded first.
    """
    columns = range(len(table.header))
    whole = [_widest(out, table, column) for column in columns]
    least = [_least(out, table, column, prose) for column in columns]
    if not table.rows:
        pass  # the note says why
    elif _total(whole) <= out.width:
        out.print(_drawn(out, table, columns, whole))
    elif _total(least) <= out.width:
        out.print(_drawn(out, table, columns, _spread(least, whole, out.width, prose)))
    elif prose:
        _stack(out, table, whole, prose)
    else:
        for shown, widths in _divide(table, least, out.width):
            out.print(_drawn(out, table, shown, widths))
    if table.note:
        out.print(Text(f"{_encodable(out, table.note)}\n", style="dim"))


def _drawn(out: Console, table: Table, columns: Sequence[int], widths: Sequence[int]) -> RichTable:
    title = Text(_encodable(out, table.title)) if table.title else None
    has_header = any(table.header)
    drawn = RichTable(title=title, title_justify="left", header_style="", show_header=has_header)
    for column, width in zip(columns, widths, strict=True):
        drawn.add_column(
            Text(_encodable(out, table.header[column])),
            justify="right" if table.is_number(column) else "left",
            width=width,
            overflow="fold",
        )
    for row in table.rows:
        drawn.add_row(*(_text(out, row[column]) for column in columns))
    return drawn


def _divide(table: Table, least: Sequence[int], width: int) -> list[tuple[list[int], list[int]]]:
    """Columns and widths of the tables that a wide table is divided into; each repeats the names."""
    names = list(range(table.n_words))
    others = list(range(table.n_words, len(least)))
    room = width - 1 - 3 * len(names) - max((least[i] + 3 for i in others), default=0)
    shares = {i: min(least[i], max(_LEAST_NAME, room // max(1, len(names)))) for i in names}
    slices: list[tuple[list[int], list[int]]] = []
    for column in others:
        before = slices[-1] if slices else ([], [])
        if not slices or _total([*before[1], least[column]]) > width:
            slices.append((list(names), [shares[i] for i in names]))
        slices[-1][0].append(column)
        slices[-1][1].append(least[column])
    return slices or [(names, [shares[i] for i in names])]


def _stack(out: Console, table: Table, widths: Sequence[int], prose: Sequence[int]) -> None:
    """Print each row as a line with its texts below it, where they do not fit beside numbers."""
    columns = [i for i in range(len(table.header)) if i not in prose]
    if table.title:
        out.print(Text(_encodable(out, table.title), style="italic"))
    for number, row in enumerate([[Cell(name) for name in table.header], *table.rows]):
        cells = [_encodable(out, plain(row[i])) for i in columns]
        padded = (
            " " * (widths[i] - cell_len(cell)) + cell
            if table.is_number(i)
            else cell + " " * (widths[i] - cell_len(cell))
            for i, cell in zip(columns, cells, strict=True)
        )
        out.print(Text("  ".join(padded).rstrip()), soft_wrap=True)
        texts = [_encodable(out, plain(row[i])) for i in prose if number]
        if text := " · ".join(filter(None, texts)):
            out.print(Padding(Text(_encodable(out, text), style="dim"), (0, 0, 0, 4)))


def _spread(
    least: Sequence[int], whole: Sequence[int], width: int, prose: Sequence[int]
) -> list[int]:
    """Widths between the least and the whole that fill a terminal; texts get room last."""
    widths, left = list(least), width - _total(least)
    for column in sorted(range(len(least)), key=lambda i: i in prose):
        more = min(left, whole[column] - widths[column])
        widths[column] += more
        left -= more
    return widths


def _widest(out: Console, table: Table, column: int) -> int:
    cells = [plain(row[column]) for row in table.rows]
    texts = [table.header[column], *cells]
    return max(1, *(cell_len(_encodable(out, text)) for text in texts))


def _least(out: Console, table: Table, column: int, prose: Sequence[int]) -> int:
    """Least width of a column at which nothing in it is cut or folded."""
    if column in prose:
        return min(_LEAST_PROSE, _widest(out, table, column))
    words = re.split(r"\s+", table.header[column])
    cells = [plain(row[column]) for row in table.rows]
    return max(1, *(cell_len(_encodable(out, text)) for text in (*words, *cells)))


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + 3 * len(widths) + 1  # lines, and a space on either side


def _text(out: Console, cell: Cell) -> Text:
    return Text(_encodable(out, plain(cell)), style="bold" if cell.is_better else "")


def _encodable(out: Console, text: str) -> str:
    """Text that the terminal can show, so that its width is known before it is written."""
    return visible(text).encode(out.encoding, "backslashreplace").decode(out.encoding)
