"""Copying queries to a GPU in tiles of one width, and their results back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from colmodern.kernels.cuda.lanes import lanes_for
from colmodern.kernels.cuda.memory import in_tiles, naming_memory

Floats = npt.NDArray[np.float32]
Positions = npt.NDArray[np.int64]
Group = tuple[Positions, Floats]  # positions of queries, and the queries in the lanes they need
Matches = tuple[Positions, Floats]  # documents in no order, and their scores
# positions of queries, and (n, rows, n_found) int32 results on a GPU that may still be at work
StartedTiles = list[tuple[Positions, torch.Tensor]]


def by_lanes(queries: Sequence[npt.NDArray[np.floating]]) -> list[Group]:
    """Queries grouped by their lanes: one long query does not widen the others."""
    members: dict[int, list[int]] = {}
    for position, query in enumerate(queries):
        members.setdefault(lanes_for(len(query)), []).append(position)
    groups = []
    for n_lanes, positions in sorted(members.items()):
        padded = np.zeros((len(positions), n_lanes, queries[positions[0]].shape[1]), np.float32)
        for row, position in zip(padded, positions, strict=True):
            row[: len(queries[position])] = queries[position]
        groups.append((np.array(positions, np.int64), padded))
    return groups


def start_tiles(
    groups: Sequence[Group],
    tile_of: Callable[[int], int],
    find: Callable[[torch.Tensor], torch.Tensor],
) -> StartedTiles:
    """Call ``find`` with tiles of queries, without waiting for the GPU.

    tile_of: lanes -> queries at a time; find: (n, n_lanes, dim) float32 on the host -> on the GPU

    Raises ResourceError when even one query at a time is too much.
    """
    started: StartedTiles = []
    for positions, padded in groups:

        def start_tile(
            first: int, last: int, positions: Positions = positions, padded: Floats = padded
        ) -> None:
            started.append((positions[first:last], find(torch.from_numpy(padded[first:last]))))

        n, most = len(positions), tile_of(padded.shape[1])
        each = -(
            -n // -(-n // most)
        )  # as few tiles, and about as large, so that one graph fits all
        with naming_memory("one query at a time", "free some"):
            in_tiles(n, each, start_tile)
    return started


def collect(started: StartedTiles, n_queries: int, first: int) -> list[Matches]:
    """Wait for a GPU: matches of each query; documents are counted from ``first``.

    started: with (n, 2, n_found) int32 tensors: documents and the bits of their float32 scores
    """
    matches: list[Matches] = [(np.empty(0, np.int64), np.empty(0, np.float32))] * n_queries
    for positions, packed in started:
        docs, scores = packed.cpu().numpy().transpose(1, 0, 2)
        for i, position in enumerate(positions):
            query_scores = np.ascontiguousarray(scores[i]).view(np.float32)
            matches[position] = docs[i].astype(np.int64) + first, query_scores
    return matches
