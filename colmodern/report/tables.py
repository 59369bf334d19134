"""Tables that are built once and shown on the terminal, in Markdown, LaTeX and HTML."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Cell(NamedTuple):
    """Text, and whether a test says that it is better or worse than the baseline."""

    text: str
    is_better: bool = False
    is_worse: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of cells under a header; a column of numbers is set to the right."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    n_words: int = 1  # leading columns that hold words
    note: str = ""
    words: Sequence[int] = ()  # further columns that hold words

    def is_number(self, column: int) -> bool:
        """Whether a column is set to the right."""
        return column >= self.n_words and column not in self.words


WORSE = "†"
_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "−": "$-$",
    "—": "---",
    "–": "--",
    "±": r"$\pm$",
    "α": r"$\alpha$",
    "…": r"\ldots{}",
    WORSE: r"\textsuperscript{\dag}",
}


def text_table(
    title: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    words: Sequence[int] = (0,),
    note: str = "",
) -> Table:
    """A table of plain cells; ``words`` are its columns that hold no numbers."""
    cells = [[Cell(text) for text in row] for row in rows]
    n_leading = next(i for i in range(len(header) + 1) if i not in words)
    return Table(title, header, cells, n_words=n_leading, words=words, note=note)


def plain(cell: Cell) -> str:
    """A cell's text with its mark, without any markup."""
    return f"{cell.text}{WORSE if cell.is_worse else ''}"


def markdown(tables: Sequence[Table]) -> str:
    """Tables under headings, as GitHub reads them."""
    return "\n".join(map(_markdown, tables))


def latex(tables: Sequence[Table]) -> str:
    """``table`` environments that need the package booktabs."""
    return "\n".join(map(_latex, tables))


def _markdown(table: Table) -> str:
    columns = range(len(table.header))
    lines = [
        _line(_escaped(name) for name in table.header),
        _line("---:" if table.is_number(column) else "---" for column in columns),
        *(_line(_markdown_cell(cell) for cell in row) for row in table.rows),
    ]
    note = f"\n{_escaped(table.note)}\n" if table.note else ""
    return f"### {_escaped(table.title)}\n\n" + "\n".join(lines) + f"\n{note}"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_cell(cell: Cell) -> str:
    text = _escaped(plain(cell))
    return f"**{text}**" if cell.is_better else text


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_|<>\[\]])", r"\\\1", " ".join(text.split()))


def _latex(table: Table) -> str:
    columns = "".join("r" if table.is_number(i) else "l" for i in range(len(table.header)))
    rows = [" & ".join(map(_latex_cell, row)) + r" \\" for row in table.rows]
    note = f". {table.note}" if table.note else ""
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_tex(table.title + note)}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            " & ".join(map(_tex, table.header)) + r" \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _latex_cell(cell: Cell) -> str:
    text = _tex(plain(cell))
    return rf"\textbf{{{text}}}" if cell.is_better else text


def _tex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in " ".join(text.split()))
