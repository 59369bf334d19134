"""Arguments by the names that they had: taken for one more version, and never beside the new one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from index.plaid.corpora import corpus, names

from colmodern import EmbeddingStore, ExactIndex, PlaidIndex
from colmodern.errors import InputError

DOCUMENTS = corpus([3, 2, 4])
QUERY = corpus([4], seed=1)[0]
RENAMED = {
    "PlaidIndex.build": {"max_ram": ("max_memory", "1G")},
    "PlaidIndex.load": {"device_memory": ("device_max_memory", "1G")},
    "PlaidIndex.filter": {"chosen": ("allowed", ["d1"])},
    "ExactIndex": {
        "memory_budget": ("max_memory", "1G"),
        "device_memory": ("device_max_memory", "1G"),
    },
    "ExactIndex.load": {
        "memory_budget": ("max_memory", "1G"),
        "device_memory": ("device_max_memory", "1G"),
    },
}
CASES = [(call, old) for call, renamed in RENAMED.items() for old in renamed]


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Callable[..., Any]]:
    """What has renamed arguments, by name; each call gives something to search, or a filter."""
    folder = tmp_path_factory.mktemp("renamed")
    store = EmbeddingStore.write(folder / "store", DOCUMENTS, names(3)).folder
    plaid = PlaidIndex.build(DOCUMENTS, folder / "index", names(3))
    return {
        "PlaidIndex.build": lambda **options: PlaidIndex.build(
            DOCUMENTS, folder / "new", names(3), overwrite=True, **options
        ),
        "PlaidIndex.load": lambda **options: PlaidIndex.load(folder / "index", **options),
        "PlaidIndex.filter": lambda **options: plaid.search(QUERY, filter=plaid.filter(**options)),
        "ExactIndex": lambda **options: ExactIndex(DOCUMENTS, names(3), **options),
        "ExactIndex.load": lambda **options: ExactIndex.load(store, **options),
    }


@pytest.mark.parametrize(("name", "old"), CASES)
def test_an_old_keyword_does_what_the_new_one_does(
    calls: dict[str, Callable[..., Any]], name: str, old: str
) -> None:
    new, value = RENAMED[name][old]
    with pytest.warns(DeprecationWarning, match=rf"\b{old} is now called {new}; the old name"):
        by_old = calls[name](**{old: value})
    by_new = calls[name](**{new: value})
    if not isinstance(by_old, list):
        by_old, by_new = by_old.search(QUERY), by_new.search(QUERY)
    assert by_old == by_new != []


@pytest.mark.parametrize(("name", "old"), CASES)
def test_an_old_keyword_beside_the_new_one_is_refused(
    calls: dict[str, Callable[..., Any]], name: str, old: str
) -> None:
    new, value = RENAMED[name][old]
    with pytest.raises(InputError, match=f"{old} is the old name of {new}; pass {new} alone"):
        calls[name](**{old: value, new: value})
