from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from colmodern.checks import MAX_GRADE, as_grade, as_score, id_fault, parse_grade, shown, text_fault


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
