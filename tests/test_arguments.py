"""The same rules for what callers pass, at every border."""

from __future__ import annotations

import inspect
import pathlib
import warnings
from collections import UserList
from typing import Any

import numpy as np
import pytest

from colmodern.arguments import (
    checked_count,
    checked_path,
    expect_choice,
    expect_flags,
    listed,
    renamed_keywords,
)
from colmodern.errors import InputError


class Hostile:
    """What raises an error of its own wherever it is looked at."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __iter__(self) -> Any:
        raise RuntimeError("no iter")

    def __index__(self) -> int:
        raise RuntimeError("no index")

    def __fspath__(self) -> str:
        raise TypeError("no path")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (None, "path is a NoneType; pass"),
        (3, "path is a int"),
        (b"folder", "path is a bytes"),
        (["folder"], "path is a list"),
        (Hostile(), "path is a Hostile"),
        ("", "path='' is empty"),
        ("a\0b", r"path='a\\x00b' is not a path: it has a NUL"),
        ("\ud800", "half a surrogate pair"),
        ("folder/" + "x" * 300, "is too long for a file's name"),
    ],
)
def test_what_is_no_path_is_refused(path: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        checked_path("path", path)
    assert checked_path("path", np.str_("a")) == pathlib.Path("a")


@pytest.mark.parametrize(
    "value", [None, 2.0, "3", True, np.bool_(True), [1], np.ones(1, int), 0, 9]
)
def test_a_count_is_a_whole_number_within_its_limits(value: Any) -> None:
    with pytest.raises(InputError, match=r"n=.*; pass a whole number, from 1 to 8"):
        checked_count("n", value, most=8)
    assert type(checked_count("n", np.uint8(3), most=8)) is int


def test_a_foreign_class_that_raises_is_named_by_its_type() -> None:
    for check in (checked_count, listed):
        with pytest.raises(InputError, match="Hostile"):
            check("n", Hostile(), "pass a list") if check is listed else checked_count(
                "n", Hostile()
            )


@pytest.mark.parametrize("value", [1, 0, None, "yes", "False", np.array([True]), Hostile()])
def test_flags_and_choices_are_never_guessed(value: Any) -> None:
    with pytest.raises(InputError, match=r"durable=.*; pass True or False"):
        expect_flags(durable=value)
    with pytest.raises(InputError, match=r"verify=.*; choose one of 'lazy', 'full'"):
        expect_choice("verify", value, ("lazy", "full"))
    expect_flags(durable=np.bool_(True))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ("ab", "ids='ab' is one string; pass a list"),
        (b"ab", "ids=b'ab' is bytes"),
        ({"a": 1}, "ids is a dict, whose keys would be taken"),
        ({"a"}, "ids is a set, which has no order"),
        (5, "ids=5; pass a list"),
        (np.array("a"), "pass a list"),
    ],
)
def test_what_is_no_list_is_refused(values: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        listed("ids", values, "pass a list")


def test_lists_of_any_library_are_taken() -> None:
    for values in (["a"], ("a",), np.array(["a"]), UserList(["a"]), iter("a"), {"a": 1}.keys()):
        assert listed("ids", values, "pass a list") == ["a"]
    assert listed("ids", {"a"}, "pass a list", is_ordered=False) == ["a"]


def test_an_error_of_a_callers_generator_is_the_callers() -> None:
    with pytest.raises(ZeroDivisionError):
        listed("ids", (1 // i for i in [0]), "pass a list")


@renamed_keywords(chosen="allowed", old="new")
def _filtered(allowed: int, *, new: int = 0) -> tuple[int, int]:
    """The two of them."""
    return allowed, new


def test_an_old_keyword_is_taken_with_a_warning_that_names_the_new_one() -> None:
    with pytest.warns(DeprecationWarning, match="_filtered: chosen is now called allowed") as notes:
        assert _filtered(chosen=1) == (1, 0)  # type: ignore[call-arg]
    assert notes[0].filename == __file__  # the caller's line
    with pytest.warns(DeprecationWarning, match="is now called") as notes:
        assert _filtered(chosen=1, old=2) == (1, 2)  # type: ignore[call-arg]
    assert len(notes) == 2


def test_new_keywords_are_taken_without_a_word() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert _filtered(1, new=2) == _filtered(allowed=1, new=2) == (1, 2)


def test_an_old_keyword_beside_its_new_name_is_refused() -> None:
    for call in (
        lambda: _filtered(1, chosen=1),  # type: ignore[call-arg]
        lambda: _filtered(allowed=1, chosen=1),  # type: ignore[call-arg]
    ):
        with pytest.raises(InputError, match="chosen is the old name of allowed; pass allowed"):
            call()


def test_a_function_with_renamed_keywords_keeps_its_signature() -> None:
    assert list(inspect.signature(_filtered).parameters) == ["allowed", "new"]
    assert (_filtered.__name__, _filtered.__doc__) == ("_filtered", "The two of them.")
    with pytest.raises(
        TypeError, match=r"^_filtered\(\) has no argument 'newest'; did you mean 'new'\?"
    ):
        _filtered(1, newest=2)  # type: ignore[call-arg]
