"""Names say what they hold: words that fit everything are rare, and a class is what it is."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
MOST = 0.005  # share of the bound names that may be words of experiments/structure/words.py


@pytest.fixture(scope="module", autouse=True)
def _counting_scripts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "experiments" / "structure")
        yield


@pytest.fixture(scope="module")
def words() -> ModuleType:
    return import_module("words")


@pytest.fixture(scope="module")
def modules() -> list[Any]:
    return import_module("source").read_modules(ROOT)


def test_few_names_are_words_that_fit_everything(words: ModuleType, modules: list[Any]) -> None:
    n_names, counts = words.count_words(modules)
    assert counts.total() / n_names <= MOST, counts.most_common(20)


def test_classes_are_called_by_what_they_are(words: ModuleType, modules: list[Any]) -> None:
    assert not words.participle_classes(modules)


def test_the_only_card_is_the_model_card(words: ModuleType, modules: list[Any]) -> None:
    assert not words.card_lines(modules)


def test_comments_begin_with_what_they_are_about(words: ModuleType, modules: list[Any]) -> None:
    assert not words.hanging_comments(modules)


def test_every_kind_of_binding_is_counted(words: ModuleType) -> None:
    text = """
# of nothing
class Kept:
    def found(self, place, *given, some=None):
        rows, (part, kind) = place
        self.told = [one for one in rows]
        try:
            with open(part) as _chosen:
                return _chosen.rows
        except OSError as about:
            wildcard = "discarded"
            raise ValueError("no room on the card")
"""
    module = import_module("source").Module(Path("colmodern/example.py"), text)
    _, counts = words.count_words([module])
    bound = {word for _, word in counts}
    assert bound == {"found", "place", "given", "some", "rows", "part"} | {
        *("told", "one", "chosen", "about")
    }
    assert counts["colmodern/example.py", "rows"] == 1  # a use of a name binds nothing
    assert words.participle_classes([module]) == ["Kept"]
    [line] = words.card_lines([module])
    assert "no room on the card" in line
    [line] = words.hanging_comments([module])
    assert "of nothing" in line
