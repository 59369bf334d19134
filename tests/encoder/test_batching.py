from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from colmodern.encoder.batching import run_in_budget, token_batches
from colmodern.errors import ResourceError

lengths = st.lists(st.integers(0, 50), max_size=40)


@given(lengths, st.integers(1, 120))
def test_batches_hold_every_text_once_within_the_budget(sizes: list[int], budget: int) -> None:
    sizes_array = np.array(sizes, dtype=np.int64)
    batches = list(token_batches(sizes_array, budget))
    assert sorted(i for batch in batches for i in batch) == list(range(len(sizes)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(sizes_array[batch]) <= budget
    longest = [max(sizes_array[batch]) for batch in batches]
    assert longest == sorted(longest, reverse=True)


@given(lengths, st.integers(1, 120))
def test_packed_batches_are_filled_with_the_texts_own_tokens(sizes: list[int], budget: int) -> None:
    sizes_array = np.array(sizes, dtype=np.int64)
    batches = list(token_batches(sizes_array, budget, is_packed=True))
    assert sorted(i for batch in batches for i in batch) == list(range(len(sizes)))
    for batch in batches:
        assert len(batch) == 1 or sizes_array[batch].sum() <= budget
    for batch, following in itertools.pairwise(batches):
        assert sizes_array[batch].sum() + sizes_array[following[0]] > budget


@given(lengths, st.integers(50, 120))
def test_every_text_is_run_once_when_memory_is_short(sizes: list[int], budget: int) -> None:
    sizes_array, done = np.array(sizes, dtype=np.int64), []

    def run(batch: np.ndarray) -> None:
        if len(batch) * max(sizes_array[batch]) > 60:
            raise MemoryError
        done.extend(batch.tolist())

    left = run_in_budget(sizes_array, budget * 10, run)
    assert sorted(done) == list(range(len(sizes)))
    assert left <= budget * 10


def test_one_text_that_does_not_fit_ends_the_work() -> None:
    def run(batch: np.ndarray) -> None:
        raise MemoryError

    with pytest.raises(ResourceError, match="a text of 9 tokens"):
        run_in_budget(np.array([3, 9]), 100, run)
