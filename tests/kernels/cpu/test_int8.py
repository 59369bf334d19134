from __future__ import annotations

import numpy as np
import pytest

from colmodern.kernels.cpu.int8 import Int8Documents, query_to_bytes
from colmodern.kernels.reference import maxsim

LENGTHS = [5, 0, 1, 33, 4, 122, 0]


def unit_rows(n: int, dim: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("dim", [8, 48, 64, 96, 128, 384])
@pytest.mark.parametrize("n_query_tokens", [1, 16, 17, 32, 33, 100])
def test_int8_documents_score_as_float32_ones_but_for_rounding(
    n_query_tokens: int, dim: int
) -> None:
    offsets = np.concatenate([[0], np.cumsum(LENGTHS)])
    values, query = unit_rows(int(offsets[-1]), dim, 0), unit_rows(n_query_tokens, dim, 1)
    found = Int8Documents(values, offsets).maxsim(query)
    exact = maxsim.maxsim_scores(query, np.array([0, n_query_tokens]), values, offsets)[0]
    np.testing.assert_allclose(found, exact, atol=0.006 * n_query_tokens)
    assert found[1] == found[6] == 0.0


def test_int8_scores_are_those_of_the_rounded_vectors() -> None:
    values, query = unit_rows(50, 64, 2), unit_rows(20, 64, 3)
    documents = Int8Documents(values, np.array([0, 20, 50]))
    query_bytes, scales = query_to_bytes(query)
    lanes = query_bytes[0].transpose(1, 0, 2).reshape(32, 64).astype(np.float64) - 128
    rounded_query = (lanes * scales[0][:, None])[:20]
    rounded = documents.rounded * documents.scales[:, None].astype(np.float64)
    similarities = rounded_query @ rounded.T
    expected = [similarities[:, :20].max(axis=1).sum(), similarities[:, 20:].max(axis=1).sum()]
    np.testing.assert_allclose(documents.maxsim(query), expected, rtol=1e-5)


def test_all_negative_similarities_are_not_raised_to_zero() -> None:
    values = np.tile(np.eye(1, 8, dtype=np.float32), (3, 1))
    assert Int8Documents(values, np.array([0, 3])).maxsim(-values[:1]) == pytest.approx([-1.0])
