"""Copying queries to a GPU in tiles of one width, and their results back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from colmodern.kernels.cuda.lanes import lanes_for, pad_queries
from colmodern.kernels.cuda.memory import in_tiles, naming_memory
from colmodern.ragged.offsets import offsets_of

Floats = npt.NDArray[np.float32]
Positions = npt.NDArray[np.int64]
Group = tuple[Positions, Floats]  # positions of queries, and the queries in the lanes they need
Matches = tuple[Positions, Floats]  # documents in no order, and their scores
# positions of queries, and (n, 2, n_found) int32 results on a GPU that may still be at work
StartedTiles = list[tuple[Positions, torch.Tensor]]


def by_lanes(queries: Sequence[npt.NDArray[np.floating]]) -> list[Group]:
    """Queries grouped by their lanes: one long query does not widen the others."""
    lanes = np.array([lanes_for(len(query)) for query in queries], np.int64)
    groups = []
    for width in np.unique(lanes):
        positions = np.flatnonzero(lanes == width)
        members = [queries[position] for position in positions.tolist()]
        padded = pad_queries(np.concatenate(members), offsets_of([len(query) for query in members]))
        groups.append((positions, padded))
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

        with naming_memory("one query at a time", "free some"):
            in_tiles(len(positions), tile_of(padded.shape[1]), start_tile)
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
