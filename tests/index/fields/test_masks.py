"""Masks of whole columns against a plain evaluation of each record."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from index.fields.records import EVERYTHING, filters, matches, records

from colmodern.errors import InputError
from colmodern.index.fields.conditions import expect_fields, fitted, parse_filter
from colmodern.index.fields.files import from_bytes, to_bytes
from colmodern.index.fields.masks import mask_of
from colmodern.index.fields.table import FieldTable, joined
from colmodern.index.fields.values import Kind, microseconds


def mask(documents: list[Any], filter: Any) -> list[bool]:
    table = FieldTable.from_records(documents)
    condition = parse_filter(filter)
    expect_fields(condition, table.schema)
    return mask_of(table, condition).tolist()


@given(documents=st.lists(records, max_size=8), filter=filters)
@settings(max_examples=400, deadline=None)
def test_a_filter_is_what_a_loop_over_the_records_says(
    documents: list[dict[str, Any]], filter: dict[str, Any]
) -> None:
    documents = [EVERYTHING, *documents]
    assert mask(documents, filter) == [matches(document, filter) for document in documents]


@given(documents=st.lists(records, min_size=1, max_size=8), filter=filters, data=st.data())
@settings(max_examples=150, deadline=None)
def test_selecting_joining_and_storing_keep_every_value(
    documents: list[dict[str, Any]], filter: dict[str, Any], data: st.DataObject
) -> None:
    table = FieldTable.from_records(documents)
    picked = data.draw(st.lists(st.integers(0, len(documents) - 1), max_size=8))
    both = joined([from_bytes(to_bytes(table.select(np.array(picked, np.int64)))), table])
    everything = [*(documents[number] for number in picked), *documents]
    condition = parse_filter(filter)
    assert mask_of(both, condition).tolist() == [matches(one, filter) for one in everything]
    rebuilt = to_bytes(FieldTable.from_records(everything))
    assert np.array_equal(to_bytes(both), rebuilt)  # nothing is left of what was not selected


@given(documents=st.lists(records, max_size=4), filter=filters)
@settings(max_examples=200, deadline=None)
def test_a_filter_fitted_to_fewer_fields_holds_for_the_same_documents(
    documents: list[dict[str, Any]], filter: dict[str, Any]
) -> None:
    fewer = FieldTable.from_records(documents)
    condition = parse_filter(filter)
    assert mask(documents, fitted(condition, fewer.schema)) == mask_of(fewer, condition).tolist()


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ({}, [0, 1, 2, 3]),
        ({"year": 2020}, [0]),
        ({"year": {"gte": 2020}}, [0, 1]),
        ({"year": {"gt": 2019, "lt": 2021}}, [0]),
        ({"year": [1999, 2021]}, [1, 2]),
        ({"lang": "en"}, [0, 2]),
        ({"lang": {"prefix": "e"}}, [0, 2]),
        ({"lang": {"exists": False}}, [3]),
        ({"day": {"gte": "2024-05-01"}}, [1]),
        ({"day": {"prefix": "2024-04"}}, [0]),
        ({"day": "2024-04-30T00:00:00Z"}, [0]),
        ({"tags": "law"}, [0, 1]),
        ({"tags": ["tax", "sea"]}, [1, 2]),
        ({"draft": True}, [2]),
        ({"author.name": "Ann"}, [0, 1]),
        ({"not": {"lang": "en"}}, [1, 3]),
        ({"or": [{"year": 1999}, {"draft": False}]}, [0, 2]),
        ({"or": []}, []),
        ({"and": []}, [0, 1, 2, 3]),
        ({"year": {"in": []}}, []),
        ({"year": {"gte": 2020}, "or": [{"lang": "de"}, {"tags": "law"}]}, [0, 1]),
        ({"lang": "2024-05-01"}, []),
        ({"day": "May 2024"}, []),
    ],
)
def test_hand_made_documents(filter: dict[str, Any], expected: list[int]) -> None:
    documents = [
        {"year": 2020, "lang": "en", "day": "2024-04-30", "tags": ["law"], "draft": False,
         "author": {"name": "Ann"}},
        {"year": 2021.0, "lang": "de", "day": "2024-05-01T08:00:00+02:00", "tags": ["law", "tax"],
         "author": [{"name": "Bo"}, {"name": "Ann"}]},
        {"year": 1999, "lang": "en", "tags": ["sea"], "draft": True},
        {"year": None, "lang": None, "tags": []},
    ]  # fmt: skip
    assert np.flatnonzero(mask(documents, filter)).tolist() == expected


@pytest.mark.parametrize(
    ("filter", "message"),
    [
        (
            {"yaer": 1},
            r"names the field 'yaer', which no document has; the fields are .*year \(num",
        ),
        (
            {"year": "2020"},
            r"compares the field 'year' \(number\) with the text '2020'; compare .* n",
        ),
        (
            {"lang": 3},
            r"compares the field 'lang' \(text\) with the number 3; compare it with a text",
        ),
        ({"lang": {"gte": "2024-05-01"}}, r"'lang' \(text\) with the date 2024-05-01"),
        (
            {"day": {"gte": "May 2024"}},
            r"'day', which has dates, by gte with the text 'May 2024'; write a date as 2024-05-01 or",
        ),
        ({"not": {"day": {"lt": "2024-5-1"}}}, "'day', which has dates, by lt with the text"),
        ({"draft": 1}, r"'draft' \(boolean\) with the number 1"),
        ({"year": {"is": 3}}, r"filter\['year'\] has the operator 'is'; use one of eq, in, gt"),
        ({"year": {}}, r"filter\['year'\] has no operator"),
        ({"year": {"gt": True}}, "True, which has no order; use eq"),
        ({"year": None}, r"filter\['year'\]\['eq'\] is None; .*exists"),
        ({"year": float("nan")}, "is nan; compare with"),
        ({"year": float("inf")}, "is inf; compare with"),
        ({"year": {"in": 3}}, "is 3; pass a list of values"),
        ({"lang": {"prefix": 3}}, "is 3; pass the beginning of a text"),
        ({"lang": {"exists": 1}}, "is 1; pass True or False"),
        ({"lang": "x" * 1025}, "has 1,025 characters; an index compares at most 1,024"),
        ({"lang": b"en"}, r"b'en'; compare with"),
        ({"or": {"year": 1}}, r"filter\['or'\] is .*; pass a list of filters"),
        ({"or": [1]}, r"filter\['or'\]\[0\] is 1; pass a mapping"),
        ({"not": [{"year": 1}]}, r"filter\['not'\] is .*; pass a mapping"),
        ({3: 4}, "has the key 3; names of fields are text"),
    ],
)
def test_what_is_no_filter_says_why(filter: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        mask([{"year": 2020, "lang": "en", "draft": True, "day": ["2024-05-01", "?"]}], filter)


def test_a_filter_of_too_many_levels_is_refused() -> None:
    filter: dict[str, Any] = {}
    for _ in range(5000):
        filter = {"not": filter}
    with pytest.raises(InputError, match="nested more than 32 levels deep"):
        parse_filter(filter)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (3, r"fields\[1\] is 3; pass a mapping"),
        ({1: 2}, r"fields\[1\] has the key 1; names of fields are text"),
        ({"a": b"x"}, r"the field 'a' of fields\[1\] is b'x'; pass numbers, dates"),
        ({"a": "\ud800"}, "half a surrogate pair"),
        ({"a": [{"\ud800": 1}]}, "names of fields are text"),
    ],
)
def test_what_is_no_field_says_why(record: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        FieldTable.from_records([{}, record])


def test_long_texts_are_compared_by_what_filters_may_have() -> None:
    long = "y" * 5000
    documents = [{"a": long}, {"a": "y" * 1024}, {"a": "y" * 1023}, {"a": "z"}]
    limit = "y" * 1024
    assert mask(documents, {"a": limit}) == [False, True, False, False]
    assert mask(documents, {"a": {"gt": limit}}) == [True, False, False, True]
    assert mask(documents, {"a": {"prefix": limit}}) == [True, True, False, False]
    assert len(to_bytes(FieldTable.from_records(documents[:1]))) < 1500


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01", 0),
        ("1970-01-02T00:00", 86_400),
        ("1970-01-01 00:00:01.5Z", 1.5),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-01T00:00:00-0130", 5400),
        ("1969-12-31T23:59:59.999999", -1e-6),
        ("0001-01-01", -62_135_596_800),
        ("2023-02-29", None),
        ("1970-1-1", None),
        ("1970-01-01T25:00", None),
        ("٢٠٢٤-٠١-٠١", None),
        ("1970-01-01\n", None),
        ("1970", None),
    ],
)
def test_dates_are_moments(text: str, seconds: float | None) -> None:
    assert microseconds(text) == (None if seconds is None else round(seconds * 1e6))


@given(st.floats(0, 1, exclude_max=True), st.integers(1, 255))
@settings(max_examples=300, deadline=None)
def test_damaged_bytes_are_refused_or_stay_inside(where: float, flip: int) -> None:
    stored = to_bytes(FieldTable.from_records([EVERYTHING, {"tags": ["b", "a"]}, {}])).copy()
    stored[int(where * len(stored))] ^= flip
    try:
        table = from_bytes(stored)
    except ValueError:
        return
    for column in table.columns.values():
        for doc in range(min(table.n_docs, 3)):
            column.of(doc)


def test_a_filter_of_many_values_is_parsed_without_messages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []

    def counted(value: object) -> str:
        calls.append(value)
        return repr(value)

    monkeypatch.setattr("colmodern.index.fields.conditions.shown", counted)
    values = [f"text {i}" for i in range(100_000)]
    condition = parse_filter({"a": values, "b": {"in": [2, 1.5, True, "2024-01-01"]}})
    assert hash(condition) == hash(
        parse_filter({"a": values[::-1], "b": [True, "2024-01-01", 1.5, 2]})
    )
    assert condition == parse_filter({"a": values[::-1], "b": [True, "2024-01-01", 1.5, 2]})
    assert not calls
    with pytest.raises(InputError, match="with the text 'text 0'"):
        expect_fields(condition, {"a": [Kind.INTEGER], "b": [Kind.TEXT]})
    assert calls == ["a", "text 0"]
