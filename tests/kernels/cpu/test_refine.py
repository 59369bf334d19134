from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels.kernel_inputs import (
    DIMS,
    KINDS,
    LENGTHS,
    assert_equal,
    fast,
    parameters,
    run,
    token_inputs,
    with_docs,
)

N_QUERY_TOKENS = [1, 16, 17, 32, 33, 64, 100]
seeds = st.integers(0, 1 << 20)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_query_tokens", N_QUERY_TOKENS)
def test_token_scores_for_any_query_length(n_query_tokens: int, kind: str) -> None:
    inputs = token_inputs(n_query_tokens, 48, 4, 65, seed=n_query_tokens, kind=kind)
    assert_equal("score_by_centroids", inputs)
    assert_equal("score_compressed", inputs)


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
@pytest.mark.parametrize("nbits", [1, 2, 4, 8])
@pytest.mark.parametrize("dim", DIMS)
def test_token_scores_for_any_width(dim: int, nbits: int, dtype: str) -> None:
    for kind, n_centroids in (("random", 500), ("ends", 3)):
        inputs = token_inputs(33, dim, nbits, n_centroids, seed=dim, kind=kind, dtype=dtype)
        assert_equal("score_by_centroids", inputs)
        assert_equal("score_compressed", inputs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_query_tokens", [1, 16, 17, 33])
@pytest.mark.parametrize("dim", DIMS)
def test_token_scores_with_shared_weights(dim: int, n_query_tokens: int, kind: str) -> None:
    inputs = token_inputs(n_query_tokens, dim, 4, 65, seed=dim, kind=kind, is_shared=True)
    assert_equal("score_compressed", inputs)


def test_no_documents_and_documents_without_tokens() -> None:
    inputs = token_inputs(33, 48, 4, 65, seed=1)
    empty_docs = np.flatnonzero(np.array(LENGTHS) == 0)
    for docs in (np.empty(0, np.int64), empty_docs):
        of_docs = with_docs(inputs, docs)
        for name in ("score_by_centroids", "score_compressed"):
            assert run(fast(name), of_docs)["out"].tolist() == [inputs["empty"]] * len(docs)


def decode_everything(inputs: dict[str, Any]) -> np.ndarray:
    """Scores by loops over all tokens, whatever slack says; an oracle without the reference."""
    out = []
    for doc in inputs["docs"]:
        start, stop = inputs["doc_offsets"][doc : doc + 2]
        total = 0
        query = inputs["residual_query"]
        for scores, table in zip(inputs["centroid_scores"], query.tables, strict=True):
            best = [-32_768] * scores.shape[1]
            for token in range(start, stop):
                entries = table[np.arange(table.shape[0]), inputs["residuals"][token]]
                sums = entries.astype(int).sum(axis=0) << int(query.shift)
                factor = int(query.factors[inputs["gains"][token]])
                for lane in range(scores.shape[1]):
                    score = int(scores[inputs["codes"][token], lane]) + (sums[lane] * factor >> 16)
                    best[lane] = max(best[lane], min(max(score, -32_768), 32_767))
            total += sum(best)
        out.append(total if stop > start else inputs["empty"])
    return np.array(out)


@given(seed=seeds, kind=st.sampled_from(KINDS), n_query_tokens=st.sampled_from([1, 32, 33]))
@settings(max_examples=8)
def test_slack_without_end_decodes_everything(seed: int, kind: str, n_query_tokens: int) -> None:
    inputs = token_inputs(n_query_tokens, 8, 4, 20, seed, kind=kind, slack=32_767)
    inputs["lanes"][:] = np.iinfo(inputs["lanes"].dtype).max
    inputs = with_docs(inputs, np.arange(1, len(LENGTHS)))
    scores = run(fast("score_compressed"), inputs)["out"]
    np.testing.assert_array_equal(scores, decode_everything(inputs))


@given(seed=seeds, kind=st.sampled_from(KINDS), slack=st.integers(0, 32_767))
@settings(max_examples=40)
def test_skipping_tokens_never_gives_more(seed: int, kind: str, slack: int) -> None:
    inputs = token_inputs(33, 8, 4, 20, seed, kind=kind, slack=slack)
    everything = {**inputs, "refine_slack": np.full(256, 32_767, np.int16)}
    some, full = (run(fast("score_compressed"), x)["out"] for x in (inputs, everything))
    assert np.all(some <= full)


@given(seed=seeds, data=st.data())
@settings(max_examples=15)
def test_a_score_does_not_depend_on_the_documents_beside_it(seed: int, data: st.DataObject) -> None:
    inputs = token_inputs(33, 8, 4, 20, seed)
    docs = np.array(data.draw(st.lists(st.integers(0, len(LENGTHS) - 1), max_size=40)), np.int64)
    for name in ("score_by_centroids", "score_compressed"):
        alone = [
            run(fast(name), with_docs(inputs, np.array([doc])))["out"][0]
            for doc in range(len(LENGTHS))
        ]
        together = run(fast(name), with_docs(inputs, docs))
        assert together["out"].tolist() == [alone[doc] for doc in docs]


def test_an_argument_of_every_kernel_has_its_inputs() -> None:
    inputs = token_inputs(1, 8, 4, 3, seed=1)
    for name in ("score_by_centroids", "score_compressed", "score_decoded", "score_stored"):
        assert set(parameters(fast(name))) <= {*inputs, "segment", "query", "codec", "stored"}, name


@given(seed=seeds, kind=st.sampled_from(["random", "ties", "equal"]))
@settings(max_examples=20)
def test_slack_that_no_residual_exceeds_twice_over_loses_nothing(seed: int, kind: str) -> None:
    inputs = token_inputs(32, 8, 4, 20, seed, kind=kind)
    # the best centroid's token may lose as much as another gains
    slack = np.minimum(2 * inputs["residual_query"].factors.astype(int) + 2, 32_767)
    inputs["refine_slack"] = np.full(256, slack.max(), np.int16)
    everything = {**inputs, "refine_slack": np.full(256, 32_767, np.int16)}
    some, full = (run(fast("score_compressed"), x)["out"] for x in (inputs, everything))
    np.testing.assert_array_equal(some, full)
