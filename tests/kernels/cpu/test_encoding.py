from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels.encoding_inputs import (
    assign_inputs,
    posting_inputs,
    residual_inputs,
    step_inputs,
    weight_inputs,
)
from kernels.kernel_inputs import (
    DIMS,
    LENGTHS,
    assert_equal,
    fast,
    run,
)

seeds = st.integers(0, 1 << 20)


@pytest.mark.parametrize("kind", ["random", "equal", "ends"])
@pytest.mark.parametrize("n_centroids", [1, 3, 63, 64, 65, 500])
@pytest.mark.parametrize("dim", DIMS)
def test_assign_centroids(dim: int, n_centroids: int, kind: str) -> None:
    sizes = [5, 1, 31, 32, 33, 0, 100]
    assert_equal("assign_centroids", assign_inputs(sizes, n_centroids, dim, dim, kind=kind))


@pytest.mark.parametrize("kind", ["random", "zero", "ties", "ends"])
@pytest.mark.parametrize("nbits", [1, 2, 4, 8])
@pytest.mark.parametrize("dim", DIMS)
def test_encode_residuals(dim: int, nbits: int, kind: str) -> None:
    assert_equal(
        "encode_residuals", residual_inputs(33 if dim < 100 else 2, dim, nbits, 1, kind=kind)
    )


@pytest.mark.parametrize("n_tokens", [0, 1, 2, 31, 32, 64, 300])
def test_encode_residuals_of_any_number_of_tokens(n_tokens: int) -> None:
    assert_equal("encode_residuals", residual_inputs(n_tokens, 48, 2, n_tokens))


@pytest.mark.parametrize("kind", ["random", "zero", "ends", "one length"])
@pytest.mark.parametrize("dim", DIMS)
def test_encode_by_weights(dim: int, kind: str) -> None:
    assert_equal("encode_by_weights", weight_inputs(33, dim, dim, kind=kind))


@pytest.mark.parametrize("n_tokens", [0, 1, 31, 32, 64, 100])
def test_encode_by_weights_of_any_number_of_tokens(n_tokens: int) -> None:
    assert_equal("encode_by_weights", weight_inputs(n_tokens, 48, n_tokens))


def test_a_gain_stays_within_a_byte() -> None:
    gains = run(fast("encode_residuals"), residual_inputs(40, 96, 4, 1, kind="ends"))["gains"]
    assert gains.max() == 255


@given(seed=seeds, cut=st.integers(0, 70))
@settings(max_examples=20)
def test_pieces_of_a_corpus_are_encoded_as_the_whole(seed: int, cut: int) -> None:
    whole = residual_inputs(70, 48, 4, seed)
    by_token = ("values", "gains", "residuals")
    parts = [
        run(fast("encode_residuals"), {**whole, **{name: whole[name][part] for name in by_token}})
        for part in (slice(0, cut), slice(cut, 70))
    ]
    for name, expected in run(fast("encode_residuals"), whole).items():
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), expected)


@given(seed=seeds)
@settings(max_examples=20)
def test_tokens_in_any_order_get_the_same_centroids(seed: int) -> None:
    inputs = assign_inputs([40, 33, 70], 30, 48, seed)
    groups = inputs["groups"]
    order = groups.order.copy()
    for start, stop in pairwise(groups.offsets):
        np.random.default_rng(seed).shuffle(order[start:stop])
    shuffled = {**inputs, "groups": groups._replace(order=order)}
    again = run(fast("assign_centroids"), shuffled)["codes"]
    np.testing.assert_array_equal(again, run(fast("assign_centroids"), inputs)["codes"])


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "int64"])
@pytest.mark.parametrize("n_centroids", [1, 3, 64, 500])
def test_postings(n_centroids: int, dtype: str) -> None:
    for first_doc in (0, 2, len(LENGTHS)):
        inputs = posting_inputs(LENGTHS, n_centroids, first_doc, 1, dtype=dtype)
        assert_equal("count_postings", inputs)
        assert_equal("fill_postings", inputs)


def test_the_last_document_that_uint16_can_name_is_posted() -> None:
    inputs = posting_inputs([1] * ((1 << 16) + 3), 1, 3, seed=1)
    docs = run(fast("fill_postings"), inputs)["docs"]
    np.testing.assert_array_equal(docs, np.arange(1 << 16))


def test_a_gain_between_two_steps_becomes_the_even_one() -> None:
    inputs = residual_inputs(1, 8, 1, seed=1)
    inputs["codebook"][:], inputs["half_norms"][:] = 0, 0
    inputs["codebook"][0, 3, 0], inputs["half_norms"][0, 3] = 1, 0.5
    inputs["values"][:] = [[0.5, 0, 0, 0, 0, 0, 0, 0]]
    found = run(fast("encode_residuals"), {**inputs, "gain_step": np.float32(1)})
    assert found["residuals"].tolist() == [[3]]
    assert found["gains"].tolist() == [0]


@pytest.mark.parametrize("lengths", [[], [0], [1], [0, 300, 2, 0, 33]])
@pytest.mark.parametrize("dim", DIMS)
def test_mean_by_document(dim: int, lengths: list[int]) -> None:
    inputs = {
        "values": np.random.default_rng(dim).normal(size=(sum(lengths), dim)).astype(np.float32),
        "doc_offsets": np.cumsum([0, *lengths]),
        "means": np.full((len(lengths), dim), 9, np.float32),
    }
    assert_equal("mean_by_document", inputs, atol=1e-6)


@pytest.mark.parametrize("nbits", [1, 2, 4, 8])
@pytest.mark.parametrize("n_tokens", [1, 32, 100])
def test_sum_by_entry(n_tokens: int, nbits: int) -> None:
    assert_equal("sum_by_entry", step_inputs(n_tokens, 48, nbits, n_tokens))
