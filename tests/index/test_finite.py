"""NaN, infinity and overflow never become a score: the document or the query is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import unit_rows

from colmodern import ExactIndex, TokenEmbeddings
from colmodern.errors import InputError
from colmodern.ragged.finite import first_unusable_row, is_finite
from colmodern.ragged.store import EmbeddingStore, ShardWriter

LENGTHS = [4, 1, 0, 9, 2]
NAMES = ["e", "d", "c", "b", "a"]
BAD = [np.nan, np.inf, -np.inf]


def with_value(value: float, row: int, dtype: str = "float32") -> TokenEmbeddings:
    """Documents of which one has a value that came after they were checked."""
    texts = unit_rows(LENGTHS, 24, seed=1, dtype=dtype)
    texts.values[row, 7] = value
    return texts


def write(folder: Path, texts: TokenEmbeddings) -> EmbeddingStore:
    writer = ShardWriter(folder, fingerprint="x", dtype="float32")
    writer.add(texts[:2], NAMES[:2])
    writer.add(texts[2:], NAMES[2:])
    writer.finish()
    return EmbeddingStore(folder)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4", "longdouble"])
@pytest.mark.parametrize("value", BAD)
def test_one_value_anywhere_is_seen(dtype: str, value: float) -> None:
    values = np.zeros((70_000, 8), dtype)
    assert is_finite(values)
    for row in (0, 65_535, 65_536, 69_999):
        values[row, 3] = value
        assert not is_finite(values)
        assert first_unusable_row(values) == row
        values[row] = 0


def test_large_values_are_fine_until_their_products_overflow() -> None:
    assert is_finite(np.full((3, 8), 65_504, np.float16))
    assert is_finite(np.full((10_000, 128), 1e14, np.float32))
    assert not is_finite(np.full((1, 8), 2e15, np.float32))
    assert not is_finite(np.full((1, 8), 1e300))
    assert is_finite(np.empty((0, 8), np.float32))
    assert is_finite(np.empty((4, 0), np.float32))


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("value", BAD)
def test_a_document_in_memory_is_refused_by_name(precision, dtype: str, value: float) -> None:
    texts = with_value(value, 6, dtype)  # of document 3
    with pytest.raises(
        InputError, match=r"document 3 \(counted from 0\), doc_id='b', have values that are not"
    ):
        ExactIndex(texts, NAMES, precision=precision)


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("value", BAD)
def test_a_document_of_a_store_is_refused_when_it_is_read(
    tmp_path: Path, precision, value: float
) -> None:
    write(tmp_path, with_value(value, 6))  # with checksums of what it is
    index = ExactIndex.load(tmp_path, precision=precision)
    query = np.zeros((1, 24), np.float32)
    query[0, 5] = 1  # times a zero, infinity is not infinite
    for _ in range(2):  # also when it is asked again
        for k in (1, 5):
            with pytest.raises(InputError, match=r"document 3 .*doc_id='b'.* not finite"):
                index.search(query, k)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_change_under_an_index_do_not_become_scores(value: float) -> None:
    texts = unit_rows(LENGTHS, 24, seed=1)
    index = ExactIndex(texts, NAMES)
    texts.values[6] = value
    with pytest.raises(
        InputError, match=r"score of queries\[0\] with document 'b' is not a finite"
    ):
        index.search(np.ones((2, 24), np.float32), 1)


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("value", [*BAD, 1e300, 1e20])
def test_a_query_is_refused_by_position(precision, value: float) -> None:
    index = ExactIndex(unit_rows(LENGTHS, 24, seed=1), NAMES, precision=precision)
    query = np.ones((3, 24))
    query[2, 4] = value
    with pytest.raises(InputError, match=r"query has values .* in row 2; encode it again"):
        index.search(query)
    queries = unit_rows([1, 0, 3], 24, seed=2)
    with np.errstate(over="ignore"):
        queries.values[3, 4] = value
    with pytest.raises(InputError, match=r"queries\[2\] has values .* in row 2; encode it again"):
        index.search_batch(queries)


def test_texts_without_tokens_and_zeros_stay_legal() -> None:
    index = ExactIndex(TokenEmbeddings(np.zeros((3, 24), np.float32), np.array([0, 0, 3])))
    assert index.search(np.zeros((0, 24), np.float32)) == [("0", 0.0), ("1", 0.0)]
    assert index.search(np.zeros((2, 24), np.float32)) == [("0", 0.0), ("1", 0.0)]
