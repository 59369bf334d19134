from __future__ import annotations

import numpy as np
import pytest
from conftest import SCORE_TOLERANCE
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels.kernel_inputs import (
    DIMS,
    KINDS,
    LENGTHS,
    Inputs,
    assert_equal,
    doc_vector_inputs,
    fast,
    float_inputs,
    run,
    slow,
    with_near,
)

KERNELS = ["score_decoded", "score_stored"]


def tolerance(n_query_tokens: int) -> float:
    """The stated one is for scores of 64 query tokens."""
    return SCORE_TOLERANCE["float32"] * max(1, n_query_tokens / 64)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_query_tokens", [1, 16, 17, 32, 33, 64, 100])
def test_scores_for_any_query_length(n_query_tokens: int, kind: str, name: str) -> None:
    inputs = float_inputs(n_query_tokens, 48, 4, 65, n_query_tokens, kind=kind)
    assert_equal(name, inputs, atol=tolerance(n_query_tokens))


@pytest.mark.parametrize(("dtype", "is_half"), [("uint16", True), ("uint32", False)])
@pytest.mark.parametrize("dim", DIMS)
def test_scores_for_any_width(dim: int, dtype: str, is_half: bool) -> None:
    for nbits in (1, 2, 4, 8):
        inputs = float_inputs(33, dim, nbits, 65, dim, dtype=dtype, is_half=is_half)
        for name in KERNELS:
            assert_equal(name, inputs, atol=tolerance(33))


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("n_query_tokens", [10, 33])
@pytest.mark.parametrize("dim", [8, 96, 384])
def test_scores_with_shared_weights(dim: int, n_query_tokens: int, name: str) -> None:
    inputs = float_inputs(n_query_tokens, dim, 4, 65, dim, is_shared=True)
    assert_equal(name, inputs, atol=tolerance(33))


@pytest.mark.parametrize("margin", [0, 1, 500, 32_767])
@pytest.mark.parametrize("slack", [0, 3000, 32_767])
def test_scores_for_any_margin_and_slack(slack: int, margin: int) -> None:
    for kind in ("random", "ends"):
        inputs = float_inputs(33, 64, 4, 20, slack, kind=kind, slack=slack, margin=margin)
        for name in KERNELS:
            assert_equal(name, inputs, atol=tolerance(33))


def look_at_everything(**options: int) -> Inputs:
    """No token is passed over: equal integers, and slack and margin without end."""
    inputs = float_inputs(33, 96, 4, 65, seed=3, kind="equal", slack=32_767, margin=32_767)
    inputs["residual_query"].tables[:] = 0
    return with_near({**inputs, **options})


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_stored_embeddings_of_all_tokens_give_exact_maxsim(dtype: type) -> None:
    inputs = look_at_everything(is_half=dtype is np.float16)
    values = inputs["values"].astype(dtype)
    offsets = inputs["doc_offsets"]
    starts = offsets[inputs["docs"]] * values.strides[0]
    inputs["addresses"] = (values.ctypes.data + starts).astype(np.uint64)
    queries = inputs["padded"][:33, :96]
    expected = [
        (values[offsets[doc] : offsets[doc + 1]].astype(np.float32) @ queries.T).max(axis=0).sum()
        if LENGTHS[doc]
        else 0.0
        for doc in inputs["docs"]
    ]
    scores = run(fast("score_stored"), inputs)["out"]
    np.testing.assert_allclose(scores, expected, 0, tolerance(33))


@pytest.mark.parametrize("n_bytes", [2, 12, 32, 96])
@pytest.mark.parametrize("n_docs", [0, 1, 100])
def test_add_doc_vectors(n_docs: int, n_bytes: int) -> None:
    inputs = doc_vector_inputs(n_docs, n_bytes, n_bytes)
    rng = np.random.default_rng(n_bytes)
    inputs |= {
        "doc_offsets": np.cumsum([0, *rng.integers(0, 3, n_docs)]),  # a third is without tokens
        "doc_products": rng.normal(size=(n_bytes, 256)).astype(np.float32),
        "doc_gain_step": 0.01,
        "constant": -2.0,
        "out": rng.normal(size=len(inputs["docs"])).astype(np.float32),
    }
    expected = run(slow("add_doc_vectors"), inputs)["out"]
    scores = run(fast("add_doc_vectors"), inputs)["out"]
    np.testing.assert_allclose(scores, expected, 1e-5, 1e-5)


@pytest.mark.parametrize("name", KERNELS)
def test_no_documents_and_documents_without_tokens(name: str) -> None:
    inputs = float_inputs(33, 48, 4, 65, 1)
    empty_docs = np.flatnonzero(np.array(LENGTHS) == 0)
    for docs in (np.empty(0, np.int64), empty_docs):
        of_docs = with_near({**inputs, "docs": docs})
        of_docs["addresses"] = np.zeros(len(docs), np.uint64)
        assert run(fast(name), of_docs)["out"].tolist() == [0.0] * len(docs)


def test_tokens_that_only_score_slack_lets_through_count() -> None:
    inputs = float_inputs(33, 48, 4, 65, 1, slack=0)
    without = {**inputs, "score_slack": inputs["refine_slack"]}
    for name in KERNELS:
        fewer, all_ = (run(fast(name), each)["out"] for each in (without, inputs))
        assert np.all(all_ >= fewer - tolerance(33))
        assert np.any(all_ > fewer + tolerance(33))


@given(seed=st.integers(0, 1 << 20), data=st.data())
@settings(max_examples=15)
def test_a_score_does_not_depend_on_the_documents_beside_it(seed: int, data: st.DataObject) -> None:
    inputs = float_inputs(33, 48, 4, 20, seed)
    drawn = data.draw(st.lists(st.integers(0, len(inputs["docs"]) - 1), max_size=40))
    positions = np.array(drawn, np.int64)
    for name in KERNELS:
        whole = run(fast(name), inputs)["out"]
        subset = {key: inputs[key][positions] for key in ("docs", "addresses", "out")}
        subset["near"] = inputs["near"].select(positions)
        out = run(fast(name), {**inputs, **subset})["out"]
        np.testing.assert_array_equal(out, whole[positions])
