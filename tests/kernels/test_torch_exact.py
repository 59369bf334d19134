from __future__ import annotations

import numpy as np
import oracles
import pytest
import torch
from conftest import SCORE_TOLERANCE, unit_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from colmodern.kernels import torch_exact
from colmodern.kernels.reference import maxsim

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
        ],
    ),
]
sizes = st.lists(st.sampled_from([0, 1, 2, 31, 33]), max_size=5)


@given(sizes, sizes, st.sampled_from([8, 48, 96]))
@settings(max_examples=30)
def test_reference_equals_the_loops(queries: list[int], documents: list[int], dim: int) -> None:
    query, document = unit_rows(queries, dim, seed=1), unit_rows(documents, dim, seed=2)
    scores = maxsim.maxsim_scores(query.values, query.offsets, document.values, document.offsets)
    assert scores.shape == (len(queries), len(documents))
    for i, q in enumerate(query):
        for j, d in enumerate(document):
            assert scores[i, j] == pytest.approx(
                oracles.maxsim(q.tolist(), d.tolist()), abs=SCORE_TOLERANCE["float32"]
            )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@given(sizes, sizes, st.sampled_from([1, 8, 123]), st.sampled_from([1, 40, 1 << 20]))
@settings(max_examples=60)
def test_exact_equals_the_reference(
    device: str, dtype: str, queries: list[int], documents: list[int], dim: int, limit: int
) -> None:
    query, document = (
        unit_rows(queries, dim, seed=1),
        unit_rows(documents, dim, seed=2, dtype=dtype),
    )
    arguments = (query.values, query.offsets, document.values, document.offsets)
    scores = torch_exact.maxsim_scores(*arguments, device=device, max_similarities=limit)
    assert scores.dtype == np.float32
    # both accumulate in float32, so stored half precision costs no extra error
    np.testing.assert_allclose(
        scores, maxsim.maxsim_scores(*arguments), atol=SCORE_TOLERANCE["float32"]
    )


def test_a_document_that_is_opposite_to_the_query_scores_below_zero() -> None:
    query = np.array([[1.0, 0.0]], np.float32)
    documents = np.array([[-1.0, 0.0], [0.0, 1.0]], np.float32)
    scores = torch_exact.maxsim_scores(query, np.array([0, 1]), documents, np.array([0, 1, 2]))
    assert scores.tolist() == [[-1.0, 0.0]]


def test_memory_mapped_read_only_values_are_taken_without_a_warning(tmp_path) -> None:
    document = unit_rows([3, 4], 8, seed=1)
    np.save(tmp_path / "values.npy", document.values)
    mapped = np.load(tmp_path / "values.npy", mmap_mode="r")
    scores = torch_exact.maxsim_scores(mapped[:3], np.array([0, 3]), mapped, document.offsets)
    assert scores[0, 0] == pytest.approx(3.0, abs=1e-5)
