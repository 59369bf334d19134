from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from colmodern.checks import (
    MAX_GRADE,
    as_grade,
    as_score,
    id_fault,
    parse_grade,
    shown,
    text_fault,
    visible,
)
from colmodern.errors import InputError


@pytest.mark.parametrize("value", ["a", "d\u00a01", "d\u30001", "\u2028", "ü", "a\x1fb", "😀"])
def test_an_id_may_hold_what_separates_no_columns(value: str) -> None:
    assert id_fault(value) is None
    assert f"x {value} y".encode().split() == [b"x", value.encode(), b"y"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "is empty"),
        (" ", "white space"),
        ("a\tb", "white space"),
        ("a\nb", "white space"),
        ("a\0b", "NUL"),
        ("a\ud800", "surrogate"),
        (7, "of type int"),
        (None, "of type NoneType"),
    ],
)
def test_what_can_be_no_id_says_why(value: object, words: str) -> None:
    assert words in str(id_fault(value))


def test_halves_of_surrogate_pairs_are_no_text() -> None:
    assert text_fault("\0 and 😀") is None
    assert "character 2" in str(text_fault("ab\udfff"))


@pytest.mark.parametrize(
    ("text", "grade"), [("1.0", 1), ("+1", 1), ("-2", -2), (" 3 ", 3), ("4.", 4)]
)
def test_whole_numbers_are_grades(text: str, grade: int) -> None:
    assert parse_grade(text) == grade


@pytest.mark.parametrize(
    "text", ["", "0.5", "1_0", "١", "nan", "1e3", "1000001", "9" * 19, "9" * 5000, "0x1"]
)
def test_other_texts_are_no_grades(text: str) -> None:
    with pytest.raises(ValueError, match=r"whole number|beyond"):
        parse_grade(text)


@pytest.mark.parametrize("text", ["1000001", "-" + "9" * 20, "9" * 5000, "9" * 20 + ".0"])
def test_a_large_whole_number_is_beyond_the_highest_grade(text: str) -> None:
    with pytest.raises(ValueError, match=r"^is beyond 1,000,000, the highest grade"):
        parse_grade(text)


def test_numbers_of_any_library_are_grades_when_they_are_whole() -> None:
    values = [1, True, 1.0, np.int8(1), np.uint64(1), np.float32(1), np.bool_(True), Fraction(1)]
    assert [(as_grade(value), type(as_grade(value))) for value in values] == [(1, int)] * len(
        values
    )
    for value in (0.5, math.nan, math.inf, "1", None, [1], np.array([1]), 1j, MAX_GRADE + 1):
        with pytest.raises(ValueError, match=r"whole number|beyond"):
            as_grade(value)


def test_scores_are_finite_or_minus_infinity() -> None:
    assert [as_score(value) for value in (1, np.float32(0.5), -math.inf)] == [1.0, 0.5, -math.inf]
    for value in (math.nan, math.inf, "1", None, [1], 10**400, b"1", object()):
        with pytest.raises(ValueError, match=r"number|ranked|beyond"):
            as_score(value)


def test_a_shown_value_is_short_and_printable() -> None:
    assert shown("\x1b[2J\ud800") == r"'\x1b[2J\ud800'"
    assert len(shown("x" * 10_000)) < 120
    assert "int" in shown(10**5000)


def test_lines_and_tabs_stay_in_messages_and_not_in_cells() -> None:
    assert visible("a\tb\nc\x1b", lines=True) == "a\tb\nc\\x1b"
    assert visible("a\tb\nc\ud800") == r"a\tb\nc\ud800"
    assert visible("Ελ 日本 é [red]") == "Ελ 日本 é [red]"


def test_a_value_of_any_class_is_shown_in_one_short_line() -> None:
    class Hostile:
        def __repr__(self) -> str:
            raise RuntimeError("no repr")

    nested: list[object] = []
    nested.append(nested)
    for value in (Hostile(), [Hostile()], nested, np.ones((50, 50)), ["x" * 9999] * 9999, 10**5000):
        text = shown(value)
        assert len(text) <= 101
        assert text.isprintable()
    assert shown("a  b") == "'a  b'"


def test_the_text_of_an_error_moves_no_terminal() -> None:
    assert str(InputError("no folder \x1b[31m\u202e\nand no name")) == (
        "no folder \\x1b[31m\\u202e\nand no name"
    )
