"""Inputs of the kernels that score some of the centroids alone."""

from __future__ import annotations

import numpy as np
from kernels.kernel_inputs import Inputs, centroid_rows

from colmodern.kernels.cpu.ir.vectors import lanes_of, masks_of
from colmodern.kernels.types import Clusters


def cluster_inputs(
    n_query_tokens: int, n_clusters: int, n_visited: int, seed: int, *, kind: str = "random"
) -> Inputs:
    """choose_centroids, with clusters of 1 to 9 centroids; kind: random or ties."""
    rng = np.random.default_rng(seed)
    sizes, masks, dim = rng.integers(1, 10, n_clusters), masks_of(n_query_tokens), 16
    n_blocks, n_lanes = len(masks), lanes_of(masks)
    means = rng.integers(-127, 128, (n_clusters, dim)).astype(np.int8)
    if kind == "ties":
        means = rng.choice(means[:2], n_clusters)
    rounded = centroid_rows(means, np.full(n_clusters, 0.7, np.float32))
    lane_scales = rng.uniform(0.01, 0.1, (n_blocks, n_lanes)).astype(np.float32)
    lane_scales.reshape(-1)[n_query_tokens:] = 0
    members = rng.permutation(sizes.sum()).astype(np.int32)
    return {
        "clusters": Clusters(rounded, members, np.cumsum([0, *sizes])),
        "numbers": np.arange(len(members), dtype=np.int32),
        "query_bytes": rng.integers(1, 256, (n_blocks, dim // 4, n_lanes, 4)).astype(np.uint8),
        "lane_scales": lane_scales,
        "lanes": masks,
        "n_clusters": n_visited,
    }


def bits_of(is_known: np.ndarray) -> np.ndarray:
    """(n,) bool as the bits of uint32."""
    padded = np.zeros(-(-len(is_known) // 32) * 32, bool)
    padded[: len(is_known)] = is_known
    return np.packbits(padded, bitorder="little").view(np.uint32)


def with_known(inputs: Inputs, seed: int) -> Inputs:
    """Inputs with floors, and with only some of the centroids scored."""
    rng, (n_blocks, n_centroids, n_lanes) = (
        np.random.default_rng(seed),
        inputs["centroid_scores"].shape,
    )
    known = bits_of(rng.random(n_centroids) < rng.choice([0, 0.3, 1]))
    floors = rng.integers(-30_000, 30_000, (n_blocks, n_lanes)).astype(np.int16)
    return {**inputs, "known": known, "floors": floors}
