from __future__ import annotations

import logging

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from colmodern.errors import ResourceError
from colmodern.kernels.cuda.memory import in_tiles, naming_memory, share_out
from colmodern.ragged.offsets import offsets_of


@given(n=st.integers(0, 300), tile=st.integers(1, 100), fits=st.integers(1, 100))
def test_tiles_cover_everything_once_however_little_fits(n: int, tile: int, fits: int) -> None:
    logging.disable()
    done: list[int] = []

    def work(start: int, stop: int) -> None:
        if stop - start > fits:
            raise torch.cuda.OutOfMemoryError("injected")
        done.extend(range(start, stop))

    held = in_tiles(n, tile, work)
    logging.disable(logging.NOTSET)
    assert done == list(range(n))
    assert held <= max(tile, 1)


def test_the_smallest_tile_that_does_not_fit_is_an_error_and_others_pass_through() -> None:
    tried: list[int] = []

    def work(start: int, stop: int) -> None:
        tried.append(stop - start)
        raise torch.cuda.OutOfMemoryError("injected")

    with (
        pytest.raises(ResourceError, match=r"no memory left for a few .*injected.*; free some, or"),
        naming_memory("a few", "free some"),
    ):
        in_tiles(50, 20, work, what="tokens", least=3)
    assert tried == [20, 10, 5, 3]

    def broken(start: int, stop: int) -> None:
        raise KeyError("ours")

    with pytest.raises(KeyError, match="ours"):
        in_tiles(5, 4, broken)


@given(lengths=st.lists(st.integers(0, 50), max_size=40), parts=st.integers(1, 5))
def test_shares_are_all_documents_in_order_and_about_equal(lengths: list[int], parts: int) -> None:
    ends = torch.from_numpy(offsets_of(lengths))
    shares = share_out(ends, parts)
    assert len(shares) == parts
    assert [doc for first, last in shares for doc in range(first, last)] == list(
        range(len(lengths))
    )
    for first, last in shares:
        assert int(ends[last] - ends[first]) <= int(ends[-1]) / parts + max(lengths, default=0)
