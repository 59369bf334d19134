"""Documents that meet a condition, by whole columns."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from colmodern.index.fields.conditions import AND, NOT, OR, Comparison, Condition, Literal
from colmodern.index.fields.table import Column, FieldTable
from colmodern.index.fields.values import Kind, as_float

Mask = npt.NDArray[np.bool_]


def mask_of(table: FieldTable, condition: Condition) -> Mask:
    """(n_docs,) whether each document meets a condition; a field that is not there has no values."""
    if isinstance(condition, Comparison):
        return _tested(table, condition)
    masks = [mask_of(table, inner) for inner in condition.conditions]
    if condition.operator == NOT:
        return ~masks[0]
    assert condition.operator in (AND, OR)
    is_and = condition.operator == AND
    mask = np.full(table.n_docs, is_and)
    for other in masks:
        mask = mask & other if is_and else mask | other
    return mask


def _tested(table: FieldTable, comparison: Comparison) -> Mask:
    mask = np.zeros(table.n_docs, np.bool_)
    columns = {kind: table.columns.get((comparison.field, kind)) for kind in Kind}
    if comparison.operator == "exists":
        for column in columns.values():
            if column is not None:
                mask[column.docs] = True
        return mask if comparison.is_wanted else ~mask
    for kind, column in columns.items():
        literals = [literal for literal in comparison.literals if kind in literal.kinds]
        if column is None or not literals:
            continue
        mask[column.docs[_matches(column, kind, comparison.operator, literals)]] = True
    return mask


def _matches(column: Column, kind: Kind, operator: str, literals: Sequence[Literal]) -> Mask:
    """(n_values,) whether each value of a column meets a comparison."""
    if column.texts is not None:
        ranges = [
            column.texts.range_of_prefix(str(literal.value))
            if operator == "prefix"
            else column.texts.range_of(str(literal.value))
            for literal in literals
        ]
        if operator == "in":
            return np.isin(column.values, [start for start, stop in ranges if stop > start])
        ((start, stop),) = ranges
        if operator in ("eq", "prefix"):
            return _between(column.values, start, stop)
        # the texts from start to stop are those that equal the literal
        edges = {"gt": (stop, None), "gte": (start, None), "lt": (0, start), "lte": (0, stop)}
        return _between(column.values, *edges[operator])
    numbers = [literal.value for literal in literals]
    assert all(not isinstance(number, str) for number in numbers)
    if operator == "in":
        exact = [_exact(number, kind) for number in numbers]  # type: ignore[arg-type]
        wanted = np.array([number for number in exact if number is not None], column.values.dtype)
        return np.isin(column.values, wanted)
    return _compared(column.values, kind, operator, numbers[0])  # type: ignore[arg-type]


def _between(values: npt.NDArray[np.int32], start: int, stop: int | None) -> Mask:
    if stop is None:
        return values >= start
    return values == start if stop == start + 1 else (values >= start) & (values < stop)


def _exact(number: int | float, kind: Kind) -> int | float | None:
    """The same number in the dtype of a kind; None where it has no such number."""
    if kind is Kind.FLOAT:
        nearest = as_float(number)
        return nearest if nearest == number else None
    if number != math.floor(number) or not -(1 << 63) <= number < 1 << 63:
        return None
    return int(number)


def _compared(
    values: npt.NDArray[np.int64 | np.float64], kind: Kind, operator: str, number: int | float
) -> Mask:
    """Values compared with a number, as Python compares an int with a float: exactly."""
    exact = _exact(number, kind)
    if operator == "eq":
        return np.zeros(len(values), np.bool_) if exact is None else values == exact
    if exact is None:  # it lies between two neighbours: the smallest value above it is the border
        above = _above(number, kind)
        if above is None:
            return np.full(len(values), operator in ("lt", "lte"))
        return values >= above if operator in ("gt", "gte") else values < above
    compare = {
        "gt": np.greater,
        "gte": np.greater_equal,
        "lt": np.less,
        "lte": np.less_equal,
    }[operator]
    mask: Mask = compare(values, exact)
    return mask


def _above(number: int | float, kind: Kind) -> int | float | None:
    """The smallest number of a kind above one that it does not have; None where there is none."""
    if kind is Kind.FLOAT:
        nearest = as_float(number)
        return nearest if nearest > number else math.nextafter(nearest, math.inf)
    above = math.ceil(number)
    if above >= 1 << 63:
        return None
    return max(above, -(1 << 63))
