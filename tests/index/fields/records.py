"""Records of documents and filters, at random, and the slow truth about them."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

NAMES = ("year", "lang", "day", "draft", "tags", "author.name")
DAYS = ["2019-02-28", "2020-02-29", "2020-02-29T12:30:00Z", "2020-02-29T14:30:00+02:00"]
WORDS = ["", "a", "ab", "abc", "b", "é", "z\u0301", "\U0001f600", "2019", "2019-02-30"]
TEXTS = [*WORDS, *DAYS]
BIG = 1 << 53

numbers = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([0.5, -0.5, 2.0, BIG, BIG + 1, -BIG - 1, (1 << 63) - 1, 1 << 63, 1e300, 1e19]),
    st.sampled_from([float(BIG), 10**400]),
)
scalars = st.one_of(numbers, st.booleans(), st.sampled_from(TEXTS), st.none())
values = st.one_of(scalars, st.lists(scalars, max_size=3))
records = st.fixed_dictionaries(
    {},
    optional={
        "year": values,
        "lang": st.sampled_from(TEXTS),
        "day": st.one_of(st.sampled_from(DAYS), st.just(datetime.date(2020, 2, 29))),
        "draft": st.booleans(),
        "tags": st.lists(st.sampled_from("abc")),
        "word": st.one_of(st.sampled_from(WORDS), numbers, st.booleans(), st.none()),
        "author": st.one_of(
            st.fixed_dictionaries({}, optional={"name": values}),
            st.lists(st.fixed_dictionaries({"name": values}), max_size=2),
        ),
    },
)
EVERYTHING = {  # so that every filter names a field and a kind that there is
    "year": [1, 0.5, True, "x", "2020-01-01"],
    "lang": [1, 0.5, True, "x", "2020-01-01"],
    "day": [1, 0.5, True, "x", "2020-01-01"],
    "draft": [1, 0.5, True, "x", "2020-01-01"],
    "tags": [1, 0.5, True, "x", "2020-01-01"],
    "author": {"name": [1, 0.5, True, "x", "2020-01-01"]},
    "word": [1, 0.5, True, "x"],
}
finite = numbers.filter(lambda n: n != 10**400)


def conditions(equal: list[str], ordered: list[str]) -> st.SearchStrategy[Any]:
    """Conditions with these texts: those that a value may equal, and those that order values."""
    plain = st.one_of(finite, st.sampled_from(equal))
    orders = st.sampled_from(["gt", "gte", "lt", "lte"])
    return st.one_of(
        plain,
        st.booleans(),
        st.lists(st.one_of(plain, st.booleans()), max_size=3),
        st.dictionaries(
            orders, st.one_of(finite, st.sampled_from(ordered)), min_size=1, max_size=2
        ),
        st.fixed_dictionaries({"eq": plain}),
        st.fixed_dictionaries({"prefix": st.sampled_from(equal)}),
        st.fixed_dictionaries({"exists": st.booleans()}),
    )


filters = st.recursive(
    st.one_of(
        st.dictionaries(st.sampled_from(NAMES), conditions(TEXTS, DAYS), max_size=3),
        st.fixed_dictionaries({"word": conditions(TEXTS, WORDS)}),
    ),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"not": inner}),
        st.fixed_dictionaries({"or": st.lists(inner, max_size=3)}),
        st.fixed_dictionaries({"and": st.lists(inner, max_size=3)}),
    ),
    max_leaves=4,
)


def matches(record: Mapping[str, Any], filter: Mapping[str, Any]) -> bool:
    """Whether a document meets a filter, value by value."""
    return all(_meets(record, name, condition) for name, condition in filter.items())


def _meets(record: Mapping[str, Any], name: str, condition: Any) -> bool:
    if name == "not":
        return not matches(record, condition)
    if name in ("and", "or"):
        return (all if name == "and" else any)([matches(record, inner) for inner in condition])
    if not isinstance(condition, dict):
        condition = {"in" if isinstance(condition, list) else "eq": condition}
    own = values_of(record, name.split("."))
    return all(_holds(own, operator, wanted) for operator, wanted in condition.items())


def _holds(own: list[Any], operator: str, wanted: Any) -> bool:
    if operator == "exists":
        return bool(own) is wanted
    if operator == "in":
        return any(_holds(own, "eq", item) for item in wanted)
    if operator == "prefix":
        return any(isinstance(value, str) and value.startswith(wanted) for value in own)
    return any(_is(value, operator, wanted) for value in own)


def _is(value: Any, operator: str, wanted: Any) -> bool:
    if kind_of(value) != kind_of(wanted):
        return False
    if kind_of(wanted) == "date":
        value, wanted = moment(value), moment(wanted)
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        value = float("inf") if value > 10**300 else float(value)  # as columns keep it
    return {
        "eq": value == wanted,
        "gt": value > wanted,
        "gte": value >= wanted,
        "lt": value < wanted,
        "lte": value <= wanted,
    }[operator]


def kind_of(value: Any) -> str:
    """How a value is compared."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "date" if moment(value) is not None else "text"
    return "number"


def moment(text: str) -> datetime.datetime | None:
    """A day or a time of DAYS."""
    try:
        parsed = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    if len(text) < 10:
        return None
    utc = datetime.timezone.utc
    return parsed.replace(tzinfo=utc) if parsed.tzinfo is None else parsed


def values_of(record: Any, path: list[str]) -> list[Any]:
    """The values at a path of a record, through lists."""
    if isinstance(record, list):
        return [value for item in record for value in values_of(item, path)]
    if not path:
        if isinstance(record, datetime.date):
            return [record.isoformat()]
        return [] if record is None or isinstance(record, dict) else [record]
    return (
        values_of(record[path[0]], path[1:])
        if isinstance(record, dict) and path[0] in record
        else []
    )
