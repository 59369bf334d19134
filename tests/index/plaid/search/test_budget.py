from __future__ import annotations

from typing import Any

import pytest

from colmodern.index.plaid.search.budget import choose_budget


def budget(**changes: Any) -> Any:
    asked = {"n_open": 80, "n_docs": 80, "n_tokens": 400_000, "n_centroids": 4000}
    options = {"nprobe": None, "n_candidates": None, "rescored": False}
    return choose_budget(10, **{**asked, **options, **changes})


@pytest.mark.parametrize(
    ("changes", "decodes_all"),
    [
        ({}, False),  # a few long documents: all are candidates, most of their tokens cannot win
        ({"n_tokens": 8000}, True),
        ({"n_candidates": 80}, True),
        ({"n_docs": 100_000, "n_tokens": 12_000_000}, True),  # a narrow filter
        ({"n_open": 50_000, "n_docs": 100_000, "n_tokens": 12_000_000}, False),
    ],
)
def test_all_tokens_are_decoded_where_that_is_asked_for_or_cheap(
    changes: dict[str, int], decodes_all: bool
) -> None:
    found = budget(**changes)
    assert found.exhaustive == decodes_all
    assert found.n_candidates >= min(80, changes.get("n_open", 80))
    assert (found.n_scored >= changes.get("n_open", 80)) == decodes_all
