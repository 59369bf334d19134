from __future__ import annotations

import math
import tracemalloc
from pathlib import Path

import checkpoints
import numpy as np
import oracles
import pytest
from conftest import unit_rows

from colmodern import Encoder
from colmodern.encoder.pooling import pool_tokens
from colmodern.ragged.embeddings import TokenEmbeddings

LENGTHS = [0, 1, 2, 3, 57, 1, 130]


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("protected", [0, 1, 2])
def test_pooling_equals_the_slow_truth(factor: int, protected: int) -> None:
    embeddings = unit_rows(LENGTHS, dim=19, seed=factor)
    pooled = pool_tokens(embeddings, factor, protected=protected)
    assert pooled.values.dtype == np.float32
    for i, document in enumerate(embeddings):
        ids = embeddings.token_ids[embeddings.offsets[i] : embeddings.offsets[i + 1]]
        rows, row_ids = oracles.pool(document, ids, factor, protected)
        np.testing.assert_allclose(pooled[i], rows, atol=1e-5)
        assert pooled.token_ids[pooled.offsets[i] : pooled.offsets[i + 1]].tolist() == row_ids


@pytest.mark.parametrize("factor", [10**38, 1e308])
def test_a_huge_factor_keeps_a_row_of_each_document(factor: float) -> None:
    embeddings = unit_rows(LENGTHS, dim=8, seed=0)
    pooled = pool_tokens(embeddings, factor, protected=0)
    assert pooled.lengths.tolist() == [min(1, length) for length in LENGTHS]


def test_a_factor_of_one_changes_nothing() -> None:
    embeddings = unit_rows(LENGTHS, dim=8, seed=0)
    pooled = pool_tokens(embeddings, 1, protected=1)
    assert np.array_equal(pooled.offsets, embeddings.offsets)
    assert np.array_equal(pooled.token_ids, embeddings.token_ids)
    np.testing.assert_allclose(pooled.values, embeddings.values, atol=1e-6)


def test_protected_rows_are_kept_as_they_are() -> None:
    embeddings = unit_rows(LENGTHS, dim=8, seed=1)
    pooled = pool_tokens(embeddings, 4, protected=2)
    for before, after in zip(embeddings, pooled, strict=True):
        assert np.array_equal(before[:2], after[:2])


def test_neighbours_in_a_batch_do_not_matter() -> None:
    embeddings = unit_rows(LENGTHS, dim=16, seed=2, dtype="float16")
    pooled = pool_tokens(embeddings, 3, protected=1)
    for i in range(embeddings.n_docs):
        alone = pool_tokens(embeddings[i : i + 1], 3, protected=1)
        assert np.array_equal(alone.values, pooled[i])


def test_embeddings_without_ids_stay_so() -> None:
    values = unit_rows([9], dim=4, seed=0)
    bare = TokenEmbeddings(values.values, values.offsets)
    assert pool_tokens(bare, 2, protected=1).token_ids is None


def test_rows_that_cancel_out_leave_a_unit_row() -> None:
    opposite = TokenEmbeddings.from_list([np.array([[1, 0], [-1, 0]], np.float32)])
    assert pool_tokens(opposite, 2, protected=0).values.tolist() == [[1, 0]]


def test_a_long_document_needs_no_matrix_of_its_pairs() -> None:
    embeddings = unit_rows([3000], dim=8, seed=0)
    pool_tokens(embeddings, 2, protected=1)  # compiles
    tracemalloc.start()
    try:
        pool_tokens(embeddings, 2, protected=1)
        assert tracemalloc.get_traced_memory()[1] < 3000 * 3000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("factor", [1.5, 1.65, 2.5])
def test_a_factor_between_whole_numbers_keeps_that_share(factor: float) -> None:
    lengths = [1, 2, 3, 40, 101]
    pooled = pool_tokens(unit_rows(lengths, dim=8, seed=0), factor, protected=1)
    kept = [1 + (max(1, math.floor((n - 1) / factor)) if n > 1 else 0) for n in lengths]
    assert pooled.lengths.tolist() == kept


def test_a_whole_factor_is_the_same_however_it_is_written(pylate_bert: Path) -> None:
    whole, written = (Encoder.from_pretrained(pylate_bert, pool_factor=f) for f in (2, 2.0))
    assert written.settings == whole.settings
    assert repr(written.settings.pool_factor) == "2"  # as fingerprints see it


def test_an_encoder_pools_documents_only(pylate_bert: Path) -> None:
    plain = Encoder.from_pretrained(pylate_bert)
    pooling = Encoder.from_pretrained(pylate_bert, pool_factor=3, protected_tokens=2)
    whole = plain.encode_documents(checkpoints.DOCUMENTS)
    expected = pool_tokens(whole, 3, protected=2)
    found = pooling.encode_documents(checkpoints.DOCUMENTS)
    assert np.array_equal(found.values, expected.values)
    assert found.n_tokens < whole.n_tokens
    queries = pooling.encode_queries(checkpoints.QUERIES)
    assert np.array_equal(queries.values, plain.encode_queries(checkpoints.QUERIES).values)
