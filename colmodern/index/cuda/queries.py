"""Copying queries to a GPU in tiles of one width, and their results back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from colmodern.index.cuda.memory import in_tiles, naming_memory
from colmodern.kernels.cuda.lanes import lanes_for, pad_queries
from colmodern.ragged.embeddings import offsets_of

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Group = tuple[Rows, Floats]  # places of queries, and the queries in as many lanes as they need
Found = tuple[Rows, Floats]  # documents in no order, and their scores
Started = list[tuple[Rows, torch.Tensor]]  # places of queries, and what a GPU finds for them


def by_lanes(queries: Sequence[npt.NDArray[np.floating]]) -> list[Group]:
    """Queries grouped by their lanes: one long query does not widen the others."""
    lanes = np.array([lanes_for(len(query)) for query in queries], np.int64)
    groups = []
    for width in np.unique(lanes):
        places = np.flatnonzero(lanes == width)
        some = [queries[place] for place in places.tolist()]
        padded = pad_queries(np.concatenate(some), offsets_of([len(query) for query in some]))
        groups.append((places, padded))
    return groups


def start_tiles(
    groups: Sequence[Group],
    tile_of: Callable[[int], int],
    find: Callable[[torch.Tensor], torch.Tensor],
) -> Started:
    """Call ``find`` with tiles of queries, without waiting for the GPU.

    tile_of: lanes -> queries at a time; find: (n, n_lanes, dim) float32 on the host -> on the GPU

    Raises ResourceError when even one query at a time is too much.
    """
    started: Started = []
    for places, padded in groups:

        def part(first: int, last: int, places: Rows = places, padded: Floats = padded) -> None:
            started.append((places[first:last], find(torch.from_numpy(padded[first:last]))))

        with naming_memory("one query at a time", "free some"):
            in_tiles(len(places), tile_of(padded.shape[1]), part)
    return started


def collect(started: Started, n_queries: int, first: int) -> list[Found]:
    """Wait for a GPU: rows, counted from ``first``, and scores of each query.

    started: with (n, 2, n_found) int32 tensors, rows and the bits of float32 scores
    """
    found: list[Found] = [(np.empty(0, np.int64), np.empty(0, np.float32))] * n_queries
    for places, packed in started:
        rows, scores = packed.cpu().numpy().transpose(1, 0, 2)
        for i, place in enumerate(places):
            own = np.ascontiguousarray(scores[i]).view(np.float32)
            found[place] = rows[i].astype(np.int64) + first, own
    return found
