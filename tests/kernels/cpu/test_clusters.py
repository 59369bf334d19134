from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels.cluster_inputs import bits_of, cluster_inputs, with_known
from kernels.kernel_inputs import (
    assert_equal,
    centroid_rows,
    fast,
    gather_inputs,
    run,
    token_inputs,
)
from kernels.records import EMPTY_CODEC, EMPTY_QUERY, EMPTY_SEGMENT

from colmodern.kernels.cpu.probe import score_centroids

seeds = st.integers(0, 1 << 20)
N_QUERY_TOKENS = [1, 16, 17, 40]


@pytest.mark.parametrize("kind", ["random", "ties"])
@pytest.mark.parametrize("n_query_tokens", N_QUERY_TOKENS)
def test_choose_centroids(n_query_tokens: int, kind: str) -> None:
    for n_clusters, n_visited in [(1, 1), (2, 1), (70, 3), (70, 69), (70, 70), (70, 0), (70, 200)]:
        inputs = cluster_inputs(n_query_tokens, n_clusters, n_visited, n_clusters, kind=kind)
        assert_equal("choose_centroids", inputs)


def test_without_clusters_all_centroids_are_probed() -> None:
    inputs = {**cluster_inputs(5, 9, 2, 1), "clusters": None}
    chosen = run(fast("choose_centroids"), inputs)
    np.testing.assert_array_equal(chosen["probed"], inputs["numbers"])
    assert chosen["known"] is None
    assert (chosen["floors"] == -32_768).all()


@given(seed=seeds, n_query_tokens=st.sampled_from(N_QUERY_TOKENS), n_visited=st.integers(1, 30))
@settings(max_examples=20)
def test_every_query_token_sees_the_centroids_of_its_nearest_clusters(
    seed: int, n_query_tokens: int, n_visited: int
) -> None:
    inputs = cluster_inputs(n_query_tokens, 30, n_visited, seed)
    chosen = run(fast("choose_centroids"), inputs)
    clusters, probed = inputs["clusters"], set(chosen["probed"].tolist())
    assert len(probed) == len(chosen["probed"])
    means = clusters.means.values.astype(int)
    n_lanes = inputs["lane_scales"].shape[1]
    for token in range(n_query_tokens):
        lane = inputs["query_bytes"][token // n_lanes, :, token % n_lanes].reshape(-1).astype(int)
        for cluster in np.argsort(-(means @ (lane - 128)), kind="stable")[:n_visited]:
            of_cluster = clusters.members[clusters.offsets[cluster] : clusters.offsets[cluster + 1]]
            assert probed.issuperset(of_cluster.tolist())
    bits = bits_of(np.isin(np.arange(len(clusters.members)), chosen["probed"]))
    np.testing.assert_array_equal(chosen["known"], bits)


@given(seed=seeds, n_query_tokens=st.sampled_from(N_QUERY_TOKENS))
@settings(max_examples=20)
def test_centroids_that_are_not_known_count_as_the_floor(seed: int, n_query_tokens: int) -> None:
    tokens = token_inputs(n_query_tokens, 16, 2, 70, seed, dtype="uint32")
    assert_equal("score_by_centroids", with_known(tokens, seed))
    gathered = gather_inputs(n_query_tokens, 60, 70, 8, seed, kind="random")
    assert_equal("impute_missing", with_known(gathered, seed))


@given(seed=seeds, n_query_tokens=st.sampled_from(N_QUERY_TOKENS))
@settings(max_examples=20)
def test_score_unknown(seed: int, n_query_tokens: int) -> None:
    rng, dim, n_centroids = np.random.default_rng(seed), 16, 70
    inputs = with_known(
        token_inputs(n_query_tokens, dim, 2, n_centroids, seed, dtype="uint32"), seed
    )
    chosen = cluster_inputs(n_query_tokens, 2, 1, seed)
    centroids = centroid_rows(
        rng.integers(-127, 128, (n_centroids, dim)).astype(np.int8),
        rng.uniform(0.5, 1, n_centroids).astype(np.float32),
    )
    segment = EMPTY_SEGMENT._replace(codes=inputs["codes"], doc_offsets=inputs["doc_offsets"])
    codec = EMPTY_CODEC._replace(
        centroids=centroids.values,
        centroid_scales=centroids.scales,
        centroid_sums=centroids.sums,
    )
    query = EMPTY_QUERY._replace(
        query_bytes=chosen["query_bytes"],
        lane_scales=chosen["lane_scales"],
        lanes=chosen["lanes"],
        **{name: inputs[name] for name in ("known", "floors", "centroid_scores")},
    )
    arguments = {"docs": inputs["docs"], "segment": segment, "codec": codec, "query": query}
    assert_equal("score_unknown", arguments)
    scored = run(fast("score_unknown"), arguments)
    whole, numbers = inputs["centroid_scores"].copy(), np.arange(n_centroids, dtype=np.int32)
    for block, mask in enumerate(chosen["lanes"]):
        lanes = chosen["query_bytes"][block], chosen["lane_scales"][block]
        maxima = np.empty((2, whole.shape[2]), np.int16)
        score_centroids(centroids, numbers, *lanes, mask, 0, n_centroids, whole[block], maxima)
    of_docs = [
        inputs["codes"][a:b]
        for a, b in zip(
            inputs["doc_offsets"][inputs["docs"]],
            inputs["doc_offsets"][inputs["docs"] + 1],
            strict=True,
        )
    ]
    needed = np.isin(numbers, np.concatenate(of_docs))
    was_known = np.unpackbits(inputs["known"].view(np.uint8), bitorder="little")[:n_centroids] == 1
    new = needed & ~was_known
    np.testing.assert_array_equal(scored["centroid_scores"][:, new], whole[:, new])
    np.testing.assert_array_equal(
        scored["centroid_scores"][:, ~new], inputs["centroid_scores"][:, ~new]
    )
    np.testing.assert_array_equal(scored["known"], bits_of(was_known | needed))


def test_without_clusters_nothing_is_left_to_score() -> None:
    inputs = token_inputs(3, 16, 2, 9, 1)
    segment = EMPTY_SEGMENT._replace(codes=inputs["codes"], doc_offsets=inputs["doc_offsets"])
    query = EMPTY_QUERY._replace(centroid_scores=inputs["centroid_scores"])
    arguments = {"docs": inputs["docs"], "segment": segment, "codec": EMPTY_CODEC, "query": query}
    scored = run(fast("score_unknown"), arguments)
    np.testing.assert_array_equal(scored["centroid_scores"], inputs["centroid_scores"])
