"""Nearest centroids on a GPU, the same ones as the CPU kernel finds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from colmodern.kernels.cuda.exact import quantize_tokens
from colmodern.kernels.cuda.launches import launch_of
from colmodern.kernels.cuda.runtime import power_of_two
from colmodern.kernels.reference import Array


def assign_centroids(
    values: Array,
    order: Array,
    group_offsets: Array,
    firsts: Array,
    lasts: Array,
    centroids: torch.Tensor,
    centroid_sums: object,
    centroid_scales: torch.Tensor,
    half_norms: torch.Tensor,
    codes: Array,
) -> None:
    """The nearest centroid of every token, among those that its group may have.

    Arguments as kernels/encoding.py describes them: those of tokens on the host, those of centroids on
    the GPU; centroid_sums is not needed. The codes are written on the host when it has waited.
    """
    from colmodern.kernels.cuda.programs.assign import assign_tiles

    if len(values) == 0:
        return
    device = centroids.device
    launch = launch_of("assign_tiles", device)
    given = torch.from_numpy(np.ascontiguousarray(values)).to(device)
    bytes_, scales = quantize_tokens(given)
    tiles = _tiles(group_offsets, firsts, lasts, launch.rows)
    found = torch.empty(len(values), dtype=torch.int32, device=device)
    assign_tiles[(len(tiles),)](
        bytes_,
        scales,
        torch.from_numpy(order.astype(np.int32)).to(device),
        torch.from_numpy(tiles).to(device),
        centroids,
        centroid_scales,
        half_norms,
        found,
        DIM=values.shape[1],
        WIDTH=power_of_two(values.shape[1], least=32),
        TOKENS=launch.rows,
        BLOCK=launch.block,
        enable_fp_fusion=False,  # each step rounded, as on the CPU
        **launch.options,
    )
    codes[:] = found.cpu().numpy()


def _tiles(group_offsets: Array, firsts: Array, lasts: Array, rows: int) -> npt.NDArray[np.int32]:
    """(n_tiles, 4) int32, as assign_tiles takes them: each a part of one group's tokens."""
    sizes = np.diff(group_offsets)
    counts = -(-sizes // rows)
    group = np.repeat(np.arange(len(sizes)), counts)
    part = np.arange(len(group)) - np.repeat(np.cumsum(counts) - counts, counts)
    begin = group_offsets[:-1][group] + part * rows
    stop = np.minimum(begin + rows, group_offsets[1:][group])
    tiles = np.stack([begin, stop, firsts[group], lasts[group]], axis=1)
    # the longest first: the others fill the GPU while they run
    return np.ascontiguousarray(
        tiles[np.argsort(tiles[:, 2] - tiles[:, 3], kind="stable")], np.int32
    )
