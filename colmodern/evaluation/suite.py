"""Scores of a suite: a line a data set, a column a model, and the average over data sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class SuiteScore(NamedTuple):
    """One evaluation of a suite."""

    row: str  # the data set; "suite/set/part" is a part of "suite/set"
    column: str
    measure: str
    value: float | None  # None: it failed


@dataclass(frozen=True)
class SuiteLine:
    """One line of a suite's table; columns without a value hold None."""

    label: str
    measure: str
    values: tuple[float | None, ...]
    n_parts: int = 0  # data sets that the values are the mean of; 0: they are no means


@dataclass(frozen=True)
class SuiteTable:
    """Lines in the order of the sets; the average is None in a column where a set is missing."""

    columns: tuple[str, ...]
    lines: tuple[SuiteLine, ...]
    average: tuple[float | None, ...]


def tabulate(cells: Sequence[SuiteScore]) -> SuiteTable:
    """Collect cells into a table; the parts of a set are one line, their mean.

    The average is over lines, so that a set of twelve parts counts as one.
    """
    columns = tuple(dict.fromkeys(cell.column for cell in cells))
    by_line: dict[str, dict[str, list[SuiteScore]]] = {}
    for cell in cells:
        by_line.setdefault(set_of(cell.row), {}).setdefault(cell.column, []).append(cell)
    lines = []
    for label, by_column in by_line.items():
        names = {cell.row for group in by_column.values() for cell in group}
        is_mean = names != {label}
        values = tuple(_mean(by_column.get(column, []), len(names)) for column in columns)
        measure = next(iter(by_column.values()))[0].measure
        lines.append(SuiteLine(label, measure, values, len(names) if is_mean else 0))
    average = tuple(_average([line.values[i] for line in lines]) for i in range(len(columns)))
    return SuiteTable(columns, tuple(lines), average)


def set_of(row: str) -> str:
    """The set that a row is, or is a part of: "suite/set" for "suite/set/part"."""
    levels = row.split("/")
    return "/".join(levels[:2]) if len(levels) == 3 and all(levels) else row


def _mean(cells: Sequence[SuiteScore], n_parts: int) -> float | None:
    return _average([cell.value for cell in cells]) if len(cells) == n_parts else None


def _average(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None
