from __future__ import annotations

import numpy as np
import pytest
from conftest import unit_rows
from hypothesis import given
from hypothesis import strategies as st

from colmodern import TokenEmbeddings
from colmodern.errors import InputError

lengths = st.lists(st.integers(0, 7), max_size=12)


@given(lengths)
def test_texts_come_back_as_they_went_in(sizes: list[int]) -> None:
    whole = unit_rows(sizes, dim=8, seed=1)
    again = TokenEmbeddings.from_list(list(whole), dim=8)
    assert np.array_equal(again.values, whole.values)
    assert again.offsets.tolist() == whole.offsets.tolist()
    assert again.lengths.tolist() == sizes


@given(lengths, st.integers(1, 9))
def test_chunks_cover_every_text_once_and_keep_to_the_limit(sizes: list[int], limit: int) -> None:
    whole = unit_rows(sizes, dim=8, seed=1)
    position = 0
    for first, texts in whole.chunks(limit):
        assert first == position
        assert texts.n_docs >= 1
        assert texts.n_tokens <= limit or texts.n_docs == 1
        for i, text in enumerate(texts):
            assert np.array_equal(text, whole[first + i])
        position += texts.n_docs
    assert position == whole.n_docs


@given(lengths, st.data())
def test_select_copies_the_chosen_texts_with_their_token_ids(sizes: list[int], data) -> None:
    whole = unit_rows(sizes, dim=8, seed=1)
    index = st.integers(0, max(0, len(sizes) - 1))
    chosen = data.draw(st.lists(index, max_size=6 if sizes else 0))
    selected = whole.select(chosen)
    assert selected.n_docs == len(chosen)
    for i, source in enumerate(chosen):
        assert np.array_equal(selected[i], whole[source])
        start, stop = whole.offsets[source], whole.offsets[source + 1]
        ids = selected.token_ids[selected.offsets[i] : selected.offsets[i + 1]]
        assert np.array_equal(ids, whole.token_ids[start:stop])


def test_slices_are_views_with_offsets_from_zero() -> None:
    whole = unit_rows([2, 0, 3, 1], dim=8, seed=1)
    middle = whole[1:3]
    assert middle.offsets.tolist() == [0, 0, 3]
    assert np.shares_memory(middle.values, whole.values)
    assert whole[3:1].n_docs == 0
    assert np.array_equal(whole[-1], whole[3])


@pytest.mark.parametrize(
    ("values", "offsets", "ids", "message"),
    [
        (np.zeros(4, np.float32), [0, 4], None, "values has shape"),
        (np.zeros((4, 2), np.int64), [0, 4], None, "dtype int64"),
        (np.zeros((4, 2), np.float32), [0, 3], None, "offsets must rise to the number of rows, 4"),
        (np.zeros((4, 2), np.float32), [0, 5, 4], None, "offsets must rise"),
        (np.zeros((4, 2), np.float32), [1, 4], None, "begin with 0"),
        (np.zeros((4, 2), np.float32), [0, 4], np.zeros(3, np.int32), "token_ids has 3 entries"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(values, offsets, ids, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TokenEmbeddings(values, np.array(offsets), ids)


def test_arrays_of_different_dim_are_refused() -> None:
    with pytest.raises(InputError, match="one dim"):
        TokenEmbeddings.from_list([np.zeros((2, 4)), np.zeros((2, 5))])
