from __future__ import annotations

import numpy as np
import pytest
from kernels.kernel_inputs import (
    DIMS,
    KINDS,
    assert_equal,
    centroid_inputs,
    centroid_rows,
    fast,
    probe_inputs,
    run,
    scores_of,
)

N_CENTROIDS = [1, 3, 63, 64, 65, 500]


@pytest.mark.parametrize("kind", ["random", "ends", "equal"])
@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("n_centroids", N_CENTROIDS)
def test_score_centroids(n_centroids: int, dim: int, kind: str) -> None:
    assert_equal("score_centroids", centroid_inputs(n_centroids, dim, seed=1, kind=kind))


def test_scores_stay_at_the_ends_of_int16() -> None:
    inputs = centroid_inputs(64, 384, seed=2, kind="ends")
    scores = run(fast("score_centroids"), inputs)["scores"]
    assert scores.min() == -32_768
    assert scores.max() == 32_767


def test_halves_are_rounded_to_even() -> None:
    inputs = centroid_inputs(6, 8, seed=1)
    centroids = np.zeros((6, 8), np.int8)
    centroids[:, 0] = [1, 3, 5, -1, -3, -5]
    inputs |= {
        "centroids": centroid_rows(centroids, np.full(6, 0.5, np.float32)),
        "query_bytes": np.full((2, 32, 4), 129, np.uint8),  # 1, after 128 is taken off
        "lane_scales": np.ones(32, np.float32),
    }
    scores = run(fast("score_centroids"), inputs)["scores"]
    assert scores[:, 0].tolist() == [0, 2, 2, 0, -2, -2]


@pytest.mark.parametrize("cut", [64, 128, 448])
def test_scoring_in_two_parts_equals_one(cut: int) -> None:
    inputs = centroid_inputs(500, 48, seed=3)
    whole = run(fast("score_centroids"), inputs)
    first = run(fast("score_centroids"), {**inputs, "stop": cut})
    both = run(fast("score_centroids"), {**inputs, **first, "start": cut})
    for name in ("scores", "maxima"):
        np.testing.assert_array_equal(both[name], whole[name])
    assert_equal("score_centroids", {**inputs, "start": cut})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_centroids", N_CENTROIDS)
def test_find_probes(n_centroids: int, kind: str) -> None:
    for nprobe in {1, 2, 5, 7, 8, n_centroids // 2, n_centroids}:
        if 1 <= nprobe <= n_centroids:
            inputs = probe_inputs(n_centroids, nprobe, 1 + nprobe % 32, nprobe, kind=kind)
            assert_equal("find_probes", inputs)


@pytest.mark.parametrize("n_centroids", [1, 40])
def test_probes_without_a_centroid_are_minus_one(n_centroids: int) -> None:
    inputs = probe_inputs(100, 50, 17, 1)
    inputs["probed"] = inputs["probed"][:n_centroids].copy()
    inputs["maxima"] = inputs["scores"][inputs["probed"]].max(axis=0)[None]
    assert_equal("find_probes", inputs)
    probes = run(fast("find_probes"), inputs)["probes"]
    assert (probes[:, n_centroids:] == -1).all()
    assert (np.sort(probes[:, :n_centroids]) == np.sort(inputs["probed"])).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_columns", [1, 16, 32])
def test_nth_largest(n_columns: int, kind: str) -> None:
    values = scores_of((50, n_columns), kind, np.random.default_rng(1))
    for n in (1, 2, 25, 50):
        inputs = {"values": values, "n": n, "out": np.zeros(n_columns, np.int16)}
        assert_equal("nth_largest", inputs)
