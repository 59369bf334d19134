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


def test_only_an_index_of_many_centroids_counts_postings_and_visits_clusters() -> None:
    sizes = {"n_open": 500_000, "n_docs": 500_000, "n_tokens": 16_000_000}
    few = budget(**sizes, n_centroids=1 << 16)
    many = budget(**sizes, n_centroids=(1 << 16) + 1)
    assert few.n_postings == few.n_shared == 0 < many.n_shared < many.n_postings
    assert few.nprobe == many.nprobe == 32
    assert many.n_candidates < few.n_candidates
    asked = budget(**sizes, n_centroids=1 << 17, nprobe=32)
    assert asked.n_postings == asked.n_shared == 0
    assert few.n_clusters == asked.n_clusters == 0 < many.n_clusters


def test_a_filter_lets_lists_be_read_until_as_many_of_its_documents_were_seen() -> None:
    sizes = {"n_docs": 1_000_000, "n_tokens": 80_000_000, "n_centroids": 143_000}
    whole, tenth = budget(**sizes, n_open=1_000_000), budget(**sizes, n_open=100_000)
    assert whole.n_postings == 16_000
    assert tenth.n_postings == 160_000
    assert tenth.n_shared == 10 * whole.n_shared


def test_a_selective_filter_probes_more_unless_the_caller_says() -> None:
    sizes = {"n_docs": 100_000, "n_tokens": 5_000_000, "n_centroids": 36_000}
    shares = {
        share: budget(**sizes, n_open=round(share * 100_000)) for share in (0.02, 0.1, 0.5, 1)
    }
    assert [found.nprobe for found in shares.values()] == [64, 64, 32, 32]
    assert len({found.n_candidates for found in shares.values()}) == 1
    assert budget(**sizes, n_open=2000, nprobe=8).nprobe == 8


def test_candidates_never_become_fewer_as_an_index_grows() -> None:
    before = 0
    for n_docs in (200_000, 1_000_000, 10_000_000, 100_000_000):
        sizes = {"n_open": n_docs, "n_docs": n_docs, "n_tokens": 80 * n_docs}
        found = budget(**sizes, n_centroids=1 << 18)
        assert found.n_candidates > before
        assert found.n_gathered > found.n_candidates
        before = found.n_candidates


def test_a_large_index_gives_rescoring_more_candidates() -> None:
    sizes = {"n_open": 1_000_000, "n_docs": 1_000_000, "n_tokens": 80_000_000}
    plain = budget(**sizes, n_centroids=1 << 17)
    rescored = budget(**sizes, n_centroids=1 << 17, rescored=True)
    assert plain.n_candidates < rescored.n_candidates < rescored.n_gathered
    assert plain.n_scored < rescored.n_scored
    assert rescored.n_gathered - 2 * rescored.n_candidates > 2 * (
        plain.n_gathered - 2 * plain.n_candidates
    )
