"""Queries as the kernels take them: padded to lanes, and long ones cut into blocks of lanes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from colmodern.kernels.cuda.runtime import power_of_two
from colmodern.kernels.types import Int64s, Values

FEWEST_LANES = 16  # the matrix unit takes no fewer columns
MOST_LANES = 64  # limit of a block's lanes; longer queries are several blocks
MOST_FLOAT32_LANES = 32  # the same for float32 products: with more, registers spill


def pad_queries(values: Values, offsets: Int64s) -> np.ndarray:
    """(n_queries, n_lanes, dim) float32, rows of zeros behind a query's tokens.

    A row of zeros is similar to nothing: it adds 0 to every score. n_lanes is 16, 32, 64, or a
    multiple of 64: what the longest query needs.
    """
    lengths = np.diff(offsets)
    shape = (len(lengths), lanes_for(int(lengths.max(initial=0))), values.shape[1])
    padded = np.zeros(shape, np.float32)
    lanes = np.arange(len(values)) - np.repeat(offsets[:-1], lengths)
    padded[np.repeat(np.arange(len(lengths)), lengths), lanes] = values
    return padded


def lanes_for(n_tokens: int) -> int:
    """Lanes that hold a query of so many tokens."""
    if n_tokens <= MOST_LANES:
        return power_of_two(n_tokens, least=FEWEST_LANES)
    return -(-n_tokens // MOST_LANES) * MOST_LANES


class Blocks(NamedTuple):
    """Blocks of queries, which a kernel scores like queries; a query's score is their sum."""

    n: int
    lanes: int  # lanes of each block
    each: int  # blocks of a query

    def tile(self, n_tokens: int) -> int:
        """Blocks of a program that takes at most so many query tokens; a power of two."""
        return min(max(1, n_tokens // self.lanes), power_of_two(self.n))

    def spread(self, constants: torch.Tensor) -> torch.Tensor:
        """(n,) of (n_queries,) numbers that are to be added once to a query."""
        if self.each == 1:
            return constants
        spread = torch.zeros((len(constants), self.each), device=constants.device)
        spread[:, 0] = constants
        return spread.reshape(-1)

    def join(self, scores: torch.Tensor) -> torch.Tensor:
        """(n_queries, n_docs) sums over each query's blocks of (n, n_docs) scores."""
        if self.each == 1:
            return scores
        return scores.reshape(-1, self.each, scores.shape[1]).sum(dim=1)


def blocks_of(n_queries: int, n_lanes: int, most: int = MOST_LANES) -> Blocks:
    """How queries of so many lanes are cut; their values are only seen in another shape."""
    lanes = min(n_lanes, most)
    return Blocks(n_queries * (n_lanes // lanes), lanes, n_lanes // lanes)
