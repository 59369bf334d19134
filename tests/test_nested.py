from __future__ import annotations

from colmodern.evaluation.recipe import flat
from colmodern.nested import flatten

SETTINGS = {"a": {"b": {"c": 1}, "d": [2, 3]}, "e": {}, "f": None, "g": ()}


def test_settings_are_named_by_their_path() -> None:
    flat = flatten(SETTINGS)
    assert flat == {"a.b.c": 1, "a.d": [2, 3], "e": {}, "f": None, "g": ()}
    assert list(flat) == ["a.b.c", "a.d", "e", "f", "g"]


def test_as_text_what_holds_nothing_is_left_out() -> None:
    assert flat(SETTINGS) == {"a.b.c": "1", "a.d": "2 3", "f": "none", "g": "none"}
