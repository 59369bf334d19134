"""Nearest centroids on a GPU, the same ones as the CPU kernel finds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from colmodern.kernels.cuda.exact import quantize_tokens
from colmodern.kernels.cuda.launches import launch_of
from colmodern.kernels.cuda.memory import to_device
from colmodern.kernels.cuda.runtime import power_of_two
from colmodern.kernels.types import Int32s, TokenGroups


class DeviceCentroids(NamedTuple):
    """Centroids on a GPU: CentroidArrays without the sums.

    Attributes:
        values: (n_centroids, dim) int8.
        scales: (n_centroids,) float32.
        half_norms: (n_centroids,) float32.
    """

    values: torch.Tensor
    scales: torch.Tensor
    half_norms: torch.Tensor


def assign_centroids(
    values: torch.Tensor, groups: TokenGroups, centroids: DeviceCentroids, codes: torch.Tensor
) -> None:
    """Find the nearest centroid of every token, among those of its group.

    Groups are on the host. Nothing here waits for the GPU.

    values: (n_tokens, dim) floats; codes: (n_tokens,) int64, written
    """
    from colmodern.kernels.cuda.programs.assign import assign_tiles

    if len(values) == 0:
        return
    device = centroids.values.device
    launch = launch_of("assign_tiles", device)
    bytes_, scales = quantize_tokens(values)
    tiles = _tiles(groups, launch.n_tokens)
    assign_tiles[(len(tiles),)](
        bytes_,
        scales,
        to_device(groups.order.astype(np.int32), device),
        to_device(tiles, device),
        *centroids,
        codes,
        DIM=values.shape[1],
        WIDTH=power_of_two(values.shape[1], least=32),
        TOKENS=launch.n_tokens,
        BLOCK=launch.block,
        enable_fp_fusion=False,  # each step rounded, as on the CPU
        **launch.options,
    )


def _tiles(groups: TokenGroups, n_tokens: int) -> Int32s:
    """(n_tiles, 4) int32, as assign_tiles takes them: each at most so many tokens of a group."""
    sizes = np.diff(groups.offsets)
    counts = -(-sizes // n_tokens)
    group = np.repeat(np.arange(len(sizes)), counts)
    number = np.arange(len(group)) - np.repeat(np.cumsum(counts) - counts, counts)
    begin = groups.offsets[:-1][group] + number * n_tokens
    stop = np.minimum(begin + n_tokens, groups.offsets[1:][group])
    tiles = np.stack([begin, stop, groups.firsts[group], groups.lasts[group]], axis=1)
    # the longest first: the others fill the GPU while they run
    return np.ascontiguousarray(
        tiles[np.argsort(tiles[:, 2] - tiles[:, 3], kind="stable")], np.int32
    )
