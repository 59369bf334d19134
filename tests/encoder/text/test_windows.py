from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from colmodern.encoder.text.windows import Window, split_ids


def parts(n: int, head: int, tail: int, length: int, overlap: int) -> tuple[list, list[Window]]:
    ids = list(range(head + n + tail))
    return ids, split_ids(ids, head=head, tail=tail, length=length, overlap=overlap)


sizes = st.tuples(
    st.integers(0, 90), st.integers(0, 3), st.integers(0, 2), st.integers(1, 12)
).flatmap(lambda s: st.tuples(*map(st.just, s[:3]), st.just(sum(s[1:])), st.integers(0, s[3] - 1)))


@given(sizes)
def test_every_token_is_kept_once_and_in_order(size: tuple[int, int, int, int, int]) -> None:
    ids, windows = parts(*size)
    kept = [i for w in windows for i, keep in zip(w.ids, w.is_kept, strict=True) if keep]
    assert kept == ids


@given(sizes)
def test_windows_are_full_whole_and_share_what_was_asked(
    size: tuple[int, int, int, int, int],
) -> None:
    n, head, tail, length, overlap = size
    ids, windows = parts(*size)
    if len(ids) <= length:
        assert [w.ids for w in windows] == [ids]
        return
    bodies = [w.ids[head : length - tail] for w in windows]
    for window, body in zip(windows, bodies, strict=True):
        assert len(window.ids) == length
        assert window.ids[:head] == ids[:head]
        assert window.ids[length - tail :] == ids[len(ids) - tail :]
        assert body == list(range(body[0], body[0] + len(body)))
    for left, right in pairwise(bodies):
        assert len(set(left) & set(right)) >= overlap
    # one window less could not share as much
    fewer, room = len(windows) - 1, length - head - tail
    assert fewer * room - (fewer - 1) * overlap < n


@given(sizes)
def test_a_shared_token_is_kept_where_it_has_more_context(
    size: tuple[int, int, int, int, int],
) -> None:
    _, head, tail, length, _ = size
    _, windows = parts(*size)

    def context(position: int, window: int) -> float:
        left = position - head if window else np.inf
        right = length - tail - 1 - position if window < len(windows) - 1 else np.inf
        return min(left, right)

    best: dict[int, float] = {}
    kept: dict[int, float] = {}
    for i, window in enumerate(windows):
        for position in range(head, len(window.ids) - tail):
            token, here = window.ids[position], context(position, i)
            best[token] = max(best.get(token, -1), here)
            if window.is_kept[position]:
                kept[token] = here
    assert kept == best


def test_windows_of_a_hand_sized_text() -> None:
    _, windows = parts(n=7, head=1, tail=1, length=6, overlap=1)
    assert [w.ids for w in windows] == [[0, 1, 2, 3, 4, 8], [0, 4, 5, 6, 7, 8]]
    assert windows[0].is_kept.tolist() == [True] * 4 + [False] * 2
    assert windows[1].is_kept.tolist() == [False] + [True] * 5
