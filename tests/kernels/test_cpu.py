from __future__ import annotations

from itertools import pairwise
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
    centroid_inputs,
    collect_inputs,
    doc_vector_inputs,
    fast,
    gather_inputs,
    parameters,
    probe_inputs,
    run,
    slow,
    table_inputs,
    token_inputs,
    with_docs,
)

from colmodern.kernels.residual_query import make_weight_query
from colmodern.kernels.vectors import lanes_of, masks_of

N_CENTROIDS = [1, 3, 63, 64, 65, 500]
N_QUERY_TOKENS = [1, 16, 17, 32, 33, 64, 100]
seeds = st.integers(0, 1 << 20)


@pytest.mark.parametrize("kind", ["random", "ends", "equal"])
@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("n_centroids", N_CENTROIDS)
def test_score_centroids(n_centroids: int, dim: int, kind: str) -> None:
    assert_equal("score_centroids", centroid_inputs(n_centroids, dim, seed=1, kind=kind))


def test_scores_stay_at_the_ends_of_int16() -> None:
    inputs = centroid_inputs(64, 384, seed=2, kind="ends")
    scores = run(fast("score_centroids"), inputs)["centroid_scores"]
    assert scores.min() == -32_768
    assert scores.max() == 32_767


def test_halves_are_rounded_to_even() -> None:
    inputs = centroid_inputs(6, 8, seed=1)
    centroids = np.zeros((6, 8), np.int8)
    centroids[:, 0] = [1, 3, 5, -1, -3, -5]
    query_bytes = np.full((2, 32, 4), 129, np.uint8)  # 1, after 128 is taken off
    inputs |= {
        "centroids": centroids,
        "centroid_sums": 128 * centroids.sum(axis=1, dtype=np.int32),
        "centroid_scales": np.full(6, 0.5, np.float32),
        "query_bytes": query_bytes[None],
        "lane_scales": np.ones((1, 32), np.float32),
    }
    scores = run(fast("score_centroids"), inputs)["centroid_scores"]
    assert scores[0, :, 0].tolist() == [0, 2, 2, 0, -2, -2]


@pytest.mark.parametrize("cut", [64, 128, 448])
def test_scoring_in_two_parts_equals_one(cut: int) -> None:
    inputs = centroid_inputs(500, 48, seed=3)
    whole = run(fast("score_centroids"), inputs)
    first = run(fast("score_centroids"), {**inputs, "stop": cut})
    both = run(fast("score_centroids"), {**inputs, "query": first["query"], "start": cut})
    for name in ("centroid_scores", "maxima"):
        np.testing.assert_array_equal(both[name], whole[name])
    assert_equal("score_centroids", {**inputs, "start": cut})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_centroids", N_CENTROIDS)
def test_find_probes(n_centroids: int, kind: str) -> None:
    for nprobe in {1, 2, 5, 7, 8, n_centroids // 2, n_centroids}:
        if 1 <= nprobe <= n_centroids:
            inputs = probe_inputs(n_centroids, nprobe, 1 + nprobe % 32, nprobe, kind=kind)
            assert_equal("find_probes", inputs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_query_tokens", N_QUERY_TOKENS)
def test_gather_and_collect(n_query_tokens: int, kind: str) -> None:
    for n_docs, n_centroids, nprobe in [(1, 1, 1), (1, 65, 8), (7, 3, 3), (500, 64, 9)]:
        inputs = gather_inputs(n_query_tokens, n_docs, n_centroids, nprobe, 1, kind=kind)
        assert_equal("gather", inputs)
        assert_equal("collect", collect_inputs(inputs))


def test_the_last_row_that_uint16_can_name_is_gathered() -> None:
    inputs = gather_inputs(2, 1 << 16, 3, 3, 1, kind="random")
    inputs["list_docs"] = np.array([0, 65_534, 65_535], np.uint16)
    inputs["list_offsets"] = np.array([0, 1, 2, 3], np.uint32)
    inputs["state"] = np.zeros(1 << 16, np.int64)
    assert_equal("gather", inputs)
    collected = run(fast("collect"), collect_inputs(inputs))
    assert collected["docs"].tolist() == [0, 65_534, 65_535]


def test_lists_that_lead_out_of_arrays_write_and_read_nothing_there() -> None:
    memory = np.zeros(70_000, np.int64)
    docs = np.array([99, 100, 65535, 7], np.uint16)
    fast("gather")(
        probes=np.zeros((1, 1), np.int32),
        scores=np.ones((1, 1, 16), np.int16),
        list_offsets=np.array([0, 1 << 31], np.uint32),
        list_docs=docs[:3],
        state=memory[:100],
    )
    assert np.flatnonzero(memory).tolist() == [99]


@given(seed=seeds, n_query_tokens=st.integers(1, 40), data=st.data())
@settings(max_examples=25)
def test_a_list_in_any_order_gathers_the_same(
    seed: int, n_query_tokens: int, data: st.DataObject
) -> None:
    inputs = gather_inputs(n_query_tokens, 30, 6, 4, seed, kind="ties")
    rng = np.random.default_rng(data.draw(seeds))
    shuffled, offsets = inputs["list_docs"].copy(), inputs["list_offsets"]
    for start, stop in pairwise(offsets):
        rng.shuffle(shuffled[start:stop])
    again = run(fast("gather"), {**inputs, "list_docs": shuffled})
    np.testing.assert_array_equal(again["state"], run(fast("gather"), inputs)["state"])


@given(seed=seeds)
@settings(max_examples=15)
def test_a_document_that_a_list_names_twice_counts_once(seed: int) -> None:
    inputs = gather_inputs(5, 30, 6, 4, seed, kind="random")
    twice = {
        "list_docs": np.repeat(inputs["list_docs"], 2),
        "list_offsets": inputs["list_offsets"] * np.uint32(2),
    }
    again = run(fast("gather"), {**inputs, **twice})
    np.testing.assert_array_equal(again["state"], run(fast("gather"), inputs)["state"])


int32 = st.integers(-(1 << 31), (1 << 31) - 1)


@given(
    st.one_of(
        st.lists(int32, max_size=60),
        st.lists(st.integers(-3, 3), max_size=60),
        st.lists(st.sampled_from([-(1 << 31), (1 << 31) - 1]), max_size=9),
    ),
    st.integers(1, 61),
)
@settings(max_examples=200)
def test_keep_best_is_every_position_at_or_above_the_nth_largest(scores: list[int], n: int) -> None:
    found = run(fast("keep_best"), {"scores": np.array(scores, np.int32), "n": n})["returned"]
    least = sorted(scores, reverse=True)[n - 1] if n <= len(scores) else -(1 << 31)
    assert found.tolist() == [i for i, score in enumerate(scores) if score >= least]


@pytest.mark.parametrize("n", [1, 10, 1024, 4999, 5000])
@pytest.mark.parametrize("spread", [1, 40, 100_000, 1 << 31])
def test_keep_best_of_many(n: int, spread: int) -> None:
    scores = np.random.default_rng(n).integers(-spread, spread, 5000).astype(np.int32)
    assert_equal("keep_best", {"scores": scores, "n": n})


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


@pytest.mark.parametrize("n_query_tokens", [3, 32])
@pytest.mark.parametrize("is_filled", [False, True])
@pytest.mark.parametrize("nbits", [1, 2, 4, 8])
@pytest.mark.parametrize("dim", DIMS)
def test_fill_tables(dim: int, nbits: int, is_filled: bool, n_query_tokens: int) -> None:
    inputs = table_inputs(dim, nbits, dim, is_filled=is_filled, n_query_tokens=n_query_tokens)
    assert_equal("fill_tables", inputs)


@pytest.mark.parametrize("scale", [0, 1])
@pytest.mark.parametrize("width", [1, 4, 8])
def test_fill_doc_tables(width: int, scale: int) -> None:
    rng, n_bytes = np.random.default_rng(width), 12
    inputs = {
        "codebook": rng.normal(size=(n_bytes, 256, width)).astype(np.float32) * scale,
        "summed": rng.normal(size=n_bytes * width).astype(np.float32),
        "products": np.full((n_bytes, 256), 9, np.float32),
        "table": np.full((n_bytes, 256), 9, np.int16),
    }
    expected, found = run(slow("fill_doc_tables"), inputs), run(fast("fill_doc_tables"), inputs)
    np.testing.assert_allclose(found["products"], expected["products"], 1e-5, 1e-5)
    np.testing.assert_allclose(found["table"], expected["table"], atol=1)
    assert found["returned"] == pytest.approx(float(expected["returned"]))
    step = np.float32(found["returned"])
    np.testing.assert_allclose(found["table"] * step, found["products"], atol=0.51 * step)


@pytest.mark.parametrize("n_query_tokens", [3, 40])
@pytest.mark.parametrize("dim", DIMS)
def test_weight_query_is_the_query_rounded(dim: int, n_query_tokens: int) -> None:
    rng, masks = np.random.default_rng(dim), masks_of(n_query_tokens)
    by_lane = rng.normal(size=(len(masks), lanes_of(masks), dim)).astype(np.float32)
    levels = np.arange(-128, 128, 16).astype(np.int8)
    scales = rng.uniform(0.5, 1, dim).astype(np.float32)
    padded = by_lane.reshape(-1, dim)
    query, step = make_weight_query(padded, lanes_of(masks), levels, scales, 0.4)
    np.testing.assert_allclose(query.factors, np.arange(256) * 0.4 * step, 1e-5)
    # of each eight dimensions first 0, 2, 4, 6
    order = np.arange(dim).reshape(-1, 4, 2).transpose(0, 2, 1).ravel()
    rows = query.dims.transpose(0, 2, 1, 3).reshape(len(masks), -1, dim)
    np.testing.assert_allclose(rows * step, (by_lane * scales)[..., order], atol=0.51 * step)
    np.testing.assert_array_equal(query.starts, -128 * rows.sum(axis=2, dtype=np.int64))
    np.testing.assert_array_equal(query.weights, levels.astype(int) + 128)
    assert np.abs(rows).max() == 127


def test_an_argument_of_every_kernel_has_its_inputs() -> None:
    inputs = token_inputs(1, 8, 4, 3, seed=1)
    for name in ("score_by_centroids", "score_compressed", "score_decoded", "score_stored"):
        assert set(parameters(fast(name))) <= {*inputs, "segment", "query", "codec", "stored"}, name


@pytest.mark.parametrize("kind", ["random", "ends"])
@pytest.mark.parametrize("n_bytes", [2, 12, 32, 96])
@pytest.mark.parametrize("n_docs", [0, 1, 100])
def test_score_doc_vectors(n_docs: int, n_bytes: int, kind: str) -> None:
    assert_equal("score_doc_vectors", doc_vector_inputs(n_docs, n_bytes, n_bytes, kind=kind))
