from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from colmodern.index.plaid.write.tiers import FANOUT, SMALL, class_of, first_merged


def add(sizes: list[int], new: int) -> int:
    """Add to a list of segments as an index does; returns what was copied."""
    first = first_merged(sizes, new)
    copied = sum(sizes[first:])
    sizes[first:] = [copied + new]
    return copied


def expect_few(sizes: list[int]) -> None:
    classes = [class_of(size) for size in sizes]
    assert classes == sorted(classes, reverse=True)
    assert classes.count(0) <= 1
    assert all(classes.count(number) < FANOUT for number in classes if number)


@given(st.lists(st.integers(1, 40 * SMALL), max_size=60))
def test_whatever_is_added_few_segments_are_left(added: list[int]) -> None:
    sizes: list[int] = []
    for new in added:
        add(sizes, new)
        expect_few(sizes)
    assert sum(sizes) == sum(added)


@pytest.mark.parametrize("new", [7, 500, SMALL, 3 * SMALL])
def test_each_document_is_copied_a_bounded_number_of_times(new: int) -> None:
    sizes: list[int] = []
    copied = sum(add(sizes, new) for _ in range(5000))
    in_class_0 = 5000 * SMALL / 2 if new < SMALL else 0
    n_classes = class_of(sum(sizes)) + 1
    assert copied - in_class_0 <= n_classes * sum(sizes)
    assert len(sizes) <= 1 + n_classes * (FANOUT - 1)


@given(st.lists(st.integers(1, 40 * SMALL), min_size=1, max_size=300))
def test_segments_that_were_added_without_merging_become_few(sizes: list[int]) -> None:
    for _ in range(200):
        add(sizes, 10)
    assert len(sizes) <= 64 + 1


def test_a_large_segment_is_not_copied_for_small_ones() -> None:
    sizes = [1000 * SMALL]
    rng = np.random.default_rng(0)
    for new in rng.integers(1, 1000, 2000).tolist():
        add(sizes, new)
        assert sizes[0] == 1000 * SMALL
