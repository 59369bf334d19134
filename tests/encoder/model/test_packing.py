from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from colmodern.encoder.model.packing import pack

texts = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=20)


@given(texts)
def test_every_token_lies_once_in_texts_from_long_to_short(drawn: list[tuple[int, int]]) -> None:
    lengths = np.array([length for length, _ in drawn], np.int64)
    attended = np.minimum(lengths, np.array([n for _, n in drawn], np.int64))
    packing = pack(lengths, attended)
    assert sorted(packing.order.tolist()) == list(range(len(drawn)))
    assert packing.n_tokens == lengths.sum()
    found = list(
        zip(packing.texts(), packing.positions(), packing.is_attended().tolist(), strict=True)
    )
    in_order = [text for text in packing.order if lengths[text]]
    assert found == [
        (number, position, position < attended[text])
        for number, text in enumerate(in_order)
        for position in range(lengths[text])
    ]
    assert [lengths[text] for text in packing.order] == sorted(lengths, reverse=True)
    assert packing.n_longer_than(4) == lengths[lengths > 4].sum()


def test_groups_hold_neighbours_of_one_length() -> None:
    packing = pack(np.array([2, 5, 2, 5, 0]), np.array([2, 5, 1, 5, 0]))
    found = [(g.start, g.n_texts, g.length, g.attended, g.stop) for g in packing.groups]
    assert found == [(0, 2, 5, 5, 10), (10, 1, 2, 2, 12), (12, 1, 2, 1, 14)]
