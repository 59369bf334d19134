"""Filters as data: checked, and turned into a tree of conditions.

    {"year": {"gte": 2020}, "lang": "en", "or": [{"topic": ["law", "tax"]}, {"draft": False}]}

All entries of a mapping must hold. An entry is the name of a field with a condition, or "and", "or" or
"not" with other filters. A condition is a value (equal to it), a list (one of it), or a mapping from
operators to values. A document with several values in a field meets a condition if one of them does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from colmodern.checks import shown
from colmodern.errors import InputError
from colmodern.index.fields.values import MOST_CHARACTERS, Kind, microseconds, scalar

AND, OR, NOT = "and", "or", "not"
_ORDER = ("gt", "gte", "lt", "lte")
OPERATORS = ("eq", "in", *_ORDER, "exists", "prefix")
_MOST_LEVELS = 32
_SHOWN = 20  # fields in a message
_VALUES = "compare with a number, a date, True, False or text"
_DATES = (
    "write a date as 2024-05-01 or 2024-05-01T08:00:00Z, or use prefix for the beginning of one"
)

Schema = Mapping[str, Iterable[Kind]]  # the fields that documents have


class Literal(NamedTuple):
    """A value in a filter.

    Attributes:
        kinds: Kinds of the columns that it is compared with.
        value: Its value as these columns hold it.
        written: Its value as the filter has it.
    """

    kinds: tuple[Kind, ...]
    value: int | float | str
    written: bool | int | float | str

    @property
    def shown(self) -> str:
        """The value for messages; made only for them, as a filter may have very many values."""
        return str(self.written) if self.kinds == (Kind.DATE,) else shown(self.written)


@dataclass(frozen=True)
class Comparison:
    """A condition on one field; literals: one for each value of "in", else a single one or none."""

    field: str
    operator: str
    literals: tuple[Literal, ...]
    is_wanted: bool = True  # whether "exists" asks for a value


@dataclass(frozen=True)
class Combination:
    """Conditions joined by "and", "or" or "not"."""

    operator: str
    conditions: tuple[Condition, ...]


Condition = Comparison | Combination


def parse_filter(filter: Mapping[Any, object], name: str = "filter") -> Condition:
    """The conditions of a filter, which can be compared and hashed.

    Args:
        filter: The filter as data.
        name: Its name in messages.

    Raises:
        InputError: It is not a filter; the message names the entry.
    """
    return _all_of(filter, name, 1)


def _all_of(filter: object, where: str, level: int) -> Condition:
    if not isinstance(filter, Mapping):
        raise InputError(
            f"{where} is {shown(filter)}; pass a mapping such as "
            '{"year": {"gte": 2020}, "lang": "en"}'
        )
    if level > _MOST_LEVELS:
        raise InputError(f"{where} is nested more than {_MOST_LEVELS} levels deep; simplify it")
    conditions: list[Condition] = []
    for name, value in filter.items():
        if not isinstance(name, str):
            raise InputError(f"{where} has the key {shown(name)}; names of fields are text")
        inside = f"{where}[{name!r}]"
        if name == NOT:
            conditions.append(Combination(NOT, (_all_of(value, inside, level + 1),)))
        elif name in (AND, OR):
            conditions.append(_joined(name, value, inside, level))
        else:
            conditions += _tested(name, value, inside)
    return conditions[0] if len(conditions) == 1 else Combination(AND, tuple(conditions))


def _joined(operator: str, filters: object, where: str, level: int) -> Condition:
    if not isinstance(filters, list | tuple):
        raise InputError(f"{where} is {shown(filters)}; pass a list of filters")
    conditions = (
        _all_of(filter, f"{where}[{number}]", level + 1) for number, filter in enumerate(filters)
    )
    return Combination(operator, tuple(conditions))


def _tested(field: str, condition: object, where: str) -> Iterator[Comparison]:
    if not isinstance(condition, Mapping):
        is_list = isinstance(condition, list | tuple | set | frozenset)
        condition = {"in" if is_list else "eq": condition}
    if not condition:
        raise InputError(f"{where} has no operator; use one of {', '.join(OPERATORS)}")
    for operator, value in condition.items():
        if operator not in OPERATORS:
            raise InputError(
                f"{where} has the operator {shown(operator)}; use one of {', '.join(OPERATORS)}"
            )
        yield _comparison(field, operator, value, f"{where}[{operator!r}]")


def _comparison(field: str, operator: str, value: object, where: str) -> Comparison:
    if operator == "exists":
        if not isinstance(value, bool):
            raise InputError(f"{where} is {shown(value)}; pass True or False")
        return Comparison(field, operator, (), is_wanted=value)
    if operator == "in":
        if not isinstance(value, list | tuple | set | frozenset):
            raise InputError(f"{where} is {shown(value)}; pass a list of values")
        literals = tuple(_literal(item, f"{where}[{i}]") for i, item in enumerate(value))
        return Comparison(field, operator, tuple(sorted(set(literals), key=_order)))
    literal = _literal(value, where)
    if operator == "prefix":
        plain = scalar(value, where)
        if not isinstance(plain, str):
            raise InputError(f"{where} is {shown(value)}; pass the beginning of a text")
        return Comparison(field, operator, (Literal((Kind.TEXT,), plain, plain),))
    if operator in _ORDER and literal.kinds == (Kind.BOOLEAN,):
        raise InputError(f"{where} is {shown(value)}, which has no order; use eq")
    return Comparison(field, operator, (literal,))


def _order(literal: Literal) -> tuple[str, int | float | str, bool | int | float | str]:
    """What literals are sorted by; those of one kind can be compared."""
    return literal.kinds[0].value, literal.value, literal.written


def _literal(value: object, where: str) -> Literal:
    plain = scalar(value, where, _VALUES)
    if plain is None:
        raise InputError(f'{where} is {shown(value)}; {_VALUES}, or use {{"exists": False}}')
    if isinstance(plain, bool):
        return Literal((Kind.BOOLEAN,), int(plain), plain)
    if isinstance(plain, str):
        if len(plain) > MOST_CHARACTERS:
            raise InputError(
                f"{where} has {len(plain):,} characters; an index compares at most "
                f"{MOST_CHARACTERS:,}, so use prefix with fewer"
            )
        moment = microseconds(plain)
        if moment is None:
            return Literal((Kind.TEXT,), plain, plain)
        return Literal((Kind.DATE,), moment, plain)
    if isinstance(plain, float) and math.isinf(plain):
        raise InputError(f"{where} is {shown(value)}; {_VALUES}")
    return Literal((Kind.INTEGER, Kind.FLOAT), plain, plain)


def expect_fields(condition: Condition, schema: Schema, name: str = "filter") -> None:
    """Raise InputError where a condition names a field or a kind of value that there is not.

    Args:
        condition: The condition.
        schema: The fields that there are.
        name: Name of the filter in messages.
    """
    for comparison in _comparisons(condition):
        kinds = set(field_kinds(comparison.field, schema, name))
        # no text that is not a date equals one
        may_differ = Kind.TEXT in kinds and comparison.operator in ("eq", "in")
        orders_dates = Kind.DATE in kinds and comparison.operator in _ORDER
        for literal in comparison.literals:
            if orders_dates and literal.kinds == (Kind.TEXT,):
                raise InputError(
                    f"{name} compares the field {shown(comparison.field)}, which has dates, by "
                    f"{comparison.operator} with the text {literal.shown}; {_DATES}"
                )
            if kinds & set(literal.kinds) or (may_differ and Kind.DATE in literal.kinds):
                continue
            raise InputError(
                f"{name} compares the field {shown(comparison.field)} ({words_of(kinds)}) with the "
                f"{words_of(literal.kinds)} {literal.shown}; compare it with a {words_of(kinds)}"
            )


def field_kinds(field: str, schema: Schema, name: str) -> Iterable[Kind]:
    """The kinds of a field's values; raises InputError, with all fields, where there is none."""
    if field in schema:
        return schema[field]
    if not schema:
        raise InputError(
            f"{name} names the field {shown(field)}, and the documents have no fields; add them "
            "with fields, or build the index with fields"
        )
    names = [f"{other} ({words_of(schema[other])})" for other in sorted(schema)[:_SHOWN]]
    more = f" and {len(schema) - _SHOWN:,} more" if len(schema) > _SHOWN else ""
    raise InputError(
        f"{name} names the field {shown(field)}, which no document has; the fields are "
        f"{', '.join(names)}{more}"
    )


def _comparisons(condition: Condition) -> Iterator[Comparison]:
    if isinstance(condition, Comparison):
        yield condition
        return
    for inner in condition.conditions:
        yield from _comparisons(inner)


def words_of(kinds: Iterable[Kind]) -> str:
    """Kinds as users read them, such as "date or text"."""
    return " or ".join(sorted({kind.word for kind in kinds}))


def kinds_of(words: str) -> tuple[Kind, ...]:
    """The kinds that ``words_of`` gives as these words."""
    return tuple(kind for kind in Kind if kind.word in words.split(" or "))


def fitted(condition: Condition, schema: Schema) -> dict[str, Any]:
    """The filter of a condition without the fields and kinds that a schema lacks.

    It holds for the same documents of the schema, and ``expect_fields`` finds no fault with it.

    Args:
        condition: A condition without faults for a larger schema.
        schema: The fields that the documents have.
    """
    if isinstance(condition, Combination):
        inner = [fitted(each, schema) for each in condition.conditions]
        return {condition.operator: inner[0] if condition.operator == NOT else inner}
    kinds = set(schema.get(condition.field, ()))
    if condition.operator == "exists":
        is_wanted = condition.is_wanted
        if not kinds:
            return {OR: []} if is_wanted else {AND: []}
        return {condition.field: {"exists": is_wanted}}
    values = [literal.written for literal in condition.literals if kinds & set(literal.kinds)]
    if condition.operator == "in":
        return {condition.field: {"in": values}} if kinds else {OR: []}
    return {condition.field: {condition.operator: values[0]}} if values else {OR: []}
