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


def test_what_is_printed_is_a_line() -> None:
    assert repr(unit_rows([2, 1], dim=8, seed=1)) == (
        "TokenEmbeddings(n_docs=2, n_tokens=3, dim=8, dtype=float32)"
    )


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
        (np.zeros((4, 2), np.int64), [0, 4], None, r"dtype int64; .*astype\('float32'\)"),
        (np.zeros((4, 2), bool), [0, 4], None, "dtype bool"),
        (np.zeros((4, 2), complex), [0, 4], None, "dtype complex128"),
        (np.full((4, 2), None), [0, 4], None, "dtype object"),
        ([[1.0, 2.0], [3.0]], [0, 2], None, "values is list, which cannot be read as one array"),
        ("text", [0, 4], None, "values has shape"),
        (np.zeros((4, 2), np.float32), [0, 1.5, 4], None, "whole numbers"),
        (np.zeros((4, 2), np.float32), [[0, 4]], None, "whole numbers"),
        (np.zeros((4, 2), np.float32), [0, 2**63, 4], None, "whole numbers|must rise"),
        (np.zeros((4, 2), np.float32), None, None, "whole numbers"),
        (np.zeros((4, 2), np.float32), [0, 4], np.zeros(4), "token_ids has dtype float64"),
        (np.zeros((4, 2), np.float32), [0, 4], [0, 1, 2, 2**40], "token_ids has 1099511627776"),
        (np.zeros((4, 2), np.float32), [0, 4], "abcd", "token_ids has 0 entries"),
        (np.zeros((4, 2), np.float32), [0, 3], None, "offsets must rise to the number of rows, 4"),
        (np.zeros((4, 2), np.float32), [0, 5, 4], None, "offsets must rise"),
        (np.zeros((4, 2), np.float32), [1, 4], None, "begin with 0"),
        (np.zeros((4, 2), np.float32), [0, 4], np.zeros(3, np.int32), "token_ids has 3 entries"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(values, offsets, ids, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TokenEmbeddings(values, offsets, ids)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_refused_with_its_text(dtype: type, number: float) -> None:
    values = np.ones((6, 8), dtype)
    values[4, 7] = number
    with pytest.raises(InputError, match=r"text 2 \(counted from 0\).* row 1 of it"):
        TokenEmbeddings(values, [0, 3, 3, 6])
    with pytest.raises(InputError, match="text 1 "):
        TokenEmbeddings.from_list([values[:3], values[3:]])


def test_values_that_float32_does_not_hold_are_refused_and_large_ones_are_not() -> None:
    with pytest.raises(InputError, match="not finite"):
        TokenEmbeddings(np.full((2, 8), 1e300), [0, 2])
    with pytest.raises(InputError, match=r"values beyond 1e\+15, whose products overflow"):
        TokenEmbeddings(np.full((2, 8), 3e38, np.float32), [0, 2])
    large = np.full((2, 8), 1e15, np.float32)
    assert TokenEmbeddings(large, [0, 2]).n_tokens == 2


def test_a_fingerprint_that_is_no_text_is_refused() -> None:
    with pytest.raises(InputError, match=r"fingerprint=.* has half a surrogate pair"):
        TokenEmbeddings(np.ones((1, 8)), np.array([0, 1]), None, "\ud800")


def test_views_are_not_read_again() -> None:
    whole = unit_rows([2, 3], dim=8, seed=1)
    whole.values[0, 0] = np.nan  # a check would refuse these
    parts = [whole[:1], whole.select([0]), next(whole.chunks(2))[1]]
    assert [part.n_tokens for part in parts] == [2, 2, 2]


def test_other_floats_and_lists_become_float32() -> None:
    rows = [[1.0, 0.0], [0.0, 1.0]]
    for values in (rows, np.array(rows), np.array(rows, ">f4"), np.array(rows, np.longdouble)):
        embeddings = TokenEmbeddings(values, [0, 2], [5, 6])
        assert embeddings.values.dtype == np.float32
        assert embeddings.values.tolist() == rows
        assert embeddings.token_ids.dtype == np.int32
    assert TokenEmbeddings(np.array(rows, ">f2"), [0, 2]).values.dtype == np.float16


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_tensors_are_taken_with_what_they_hold(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    rows = torch.tensor([[0.5, -2.0], [1.0, 3.0]], dtype=getattr(torch, dtype), requires_grad=True)
    joined = TokenEmbeddings.from_list([rows, rows[:1]])
    assert joined.values.tolist() == [[0.5, -2.0], [1.0, 3.0], [0.5, -2.0]]
    assert joined.values.dtype == (np.float16 if dtype == "float16" else np.float32)
    whole = TokenEmbeddings(rows, torch.tensor([0, 1, 2]), torch.tensor([7, 8]))
    assert (whole.lengths.tolist(), whole.token_ids.tolist()) == ([1, 1], [7, 8])
    assert whole.select(torch.tensor([False, True])).values.tolist() == [[1.0, 3.0]]
    batch = TokenEmbeddings.from_list(torch.stack([rows, rows]))
    assert batch.lengths.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([np.zeros((2, 4)), [], np.zeros((2, 5))], r"texts\[2\] has dim=5, texts\[0\] has dim=4"),
        (np.zeros((3, 4)), r"texts is one array of shape \(3, 4\); pass a list"),
        ([np.zeros(4)], r"texts\[0\] has shape \(4,\)"),
        ([np.zeros((2, 4), int)], r"texts\[0\] has dtype int64"),
        ({"a": np.zeros((2, 4))}, "texts is a dict"),
        ("text", "texts is a str"),
        (None, "texts is a NoneType"),
        (["text"], r"texts\[0\] has shape"),
    ],
)
def test_a_text_that_does_not_fit_is_named(texts, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TokenEmbeddings.from_list(texts)


def test_a_text_of_an_empty_list_has_no_tokens() -> None:
    joined = TokenEmbeddings.from_list([[], np.ones((2, 4), np.float32), []])
    assert joined.lengths.tolist() == [0, 2, 0]
    assert TokenEmbeddings.from_list([[], []], dim=4).values.shape == (0, 4)


@given(lengths, st.data())
def test_a_mask_selects_the_texts_that_it_marks(sizes: list[int], data) -> None:
    whole = unit_rows(sizes, dim=8, seed=1)
    mask = data.draw(st.lists(st.booleans(), min_size=len(sizes), max_size=len(sizes)))
    wanted = whole.select([i for i, is_marked in enumerate(mask) if is_marked])
    selected = whole.select(mask)
    assert selected.offsets.tolist() == wanted.offsets.tolist()
    assert np.array_equal(selected.values, wanted.values)


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([True, False], "mask of 2 entries for 3 texts"),
        ([1, True], "bools among numbers"),
        ([0, 3], r"indices\[1\]=3 is out of range for 3 texts"),
        ([-4], r"indices\[0\]=-4 is out of range"),
        (np.array([2**64 - 1], np.uint64), "is out of range"),
        ([0.0, 1.0], "dtype float64"),
        ([[0]], r"shape \(1, 1\)"),
        (1, r"shape \(\)"),
        (["a"], "dtype <U1"),
        ({0, 1}, "indices is a set"),
        ("01", "indices is a str"),
        (None, r"shape \(\)"),
        (slice(0, 2), r"shape \(\)"),
    ],
)
def test_what_selects_no_texts_is_refused(indices, message: str) -> None:
    with pytest.raises(InputError, match=message):
        unit_rows([1, 0, 2], dim=8, seed=1).select(indices)


def test_a_negative_index_counts_from_the_end() -> None:
    whole = unit_rows([1, 0, 2], dim=8, seed=1)
    assert whole.select([-1, 0]).lengths.tolist() == [2, 1]
    assert whole[np.int64(-1)].shape == (2, 8)


@pytest.mark.parametrize("key", [5, -4, 1.0, True, None, "a", [0], np.array([0, 1]), (0, 1)])
def test_a_key_that_is_no_text_is_refused(key) -> None:
    with pytest.raises(InputError, match=r"select|out of range for 3"):
        unit_rows([1, 0, 2], dim=8, seed=1)[key]


def test_a_slice_of_other_than_numbers_is_refused() -> None:
    with pytest.raises(InputError, match="not a slice of texts"):
        unit_rows([1], dim=8, seed=1)["a":]  # type: ignore[misc]


def test_the_fingerprint_stays_with_every_part() -> None:
    rows = unit_rows([1, 0, 2], dim=8, seed=1)
    whole = TokenEmbeddings(rows.values, rows.offsets, rows.token_ids, "ab")
    parts = [whole[1:], whole.select([2]), next(whole.chunks(1))[1]]
    assert [part.fingerprint for part in parts] == ["ab"] * 3
    with pytest.raises(InputError, match="fingerprint=3"):
        TokenEmbeddings(rows.values, rows.offsets, None, 3)  # type: ignore[arg-type]
