"""What an index is built with: checked, completed, and kept within the memory allowed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np

from colmodern.arguments import checked_count, expect_choice
from colmodern.codecs.centroids import POINTS_PER_CENTROID
from colmodern.codecs.residuals import ResidualKind, default_kind
from colmodern.errors import InputError, ResourceError

_FEWEST_SAMPLED = 1 << 16  # unless there are fewer tokens: the codebook wants them
_LARGEST_SAMPLE = 1 << 21
_LARGEST_PIECE = 1 << 18  # tokens compressed at a time
_SMALLEST_PIECE = 1 << 10
_SMALLEST_SAMPLE = 1 << 14


@dataclass(frozen=True)
class BuildSettings:
    """All that an index depends on, beside its input."""

    nbits: int
    codec: ResidualKind
    n_centroids: int
    seed: int
    n_sampled: int  # tokens that the codec is learnt from, at most
    n_fitted: int  # of those, that residuals are learnt from, at most
    piece_tokens: int  # compressed at a time


def settle(
    n_tokens: int,
    dim: int,
    *,
    nbits: int,
    codec: ResidualKind | None,
    n_centroids: int | None,
    seed: int,
    max_ram: int,
) -> BuildSettings:
    """Check the settings of a build, and fill in what follows from its input.

    n_tokens, dim: of the embeddings; max_ram: bytes

    Raises InputError for a wrong value, ResourceError for too little memory.
    """
    nbits = checked_count("nbits", nbits, most=8)
    if nbits not in (1, 2, 4, 8):
        raise InputError(f"nbits={nbits}; choose 1, 2, 4 or 8 bits a dimension")
    expect_choice("codec", codec, (*get_args(ResidualKind), None))
    if n_centroids is not None:
        n_centroids = checked_count("n_centroids", n_centroids, most=1 << 24)
    seed = checked_count("seed", seed, least=0, most=(1 << 31) - 2)
    if n_tokens == 0:
        raise InputError("embeddings hold no tokens; there is nothing to index")
    chosen = n_centroids or automatic_n_centroids(n_tokens)
    wanted = min(_LARGEST_SAMPLE, max(_FEWEST_SAMPLED, chosen * POINTS_PER_CENTROID))
    # how many float32 rows, and 8-byte numbers beside, one token takes at the most in each stage
    row = dim * 4
    n_sampled = min(wanted, int(max_ram * 0.5) // (3 * row + 64))
    n_fitted = min(1 << 16, int(max_ram * 0.3) // (7 * row + 64))
    piece = min(_LARGEST_PIECE, int(max_ram * 0.25) // (4 * row))
    fewest = min(n_tokens, _SMALLEST_SAMPLE)
    if piece < _SMALLEST_PIECE or n_sampled < fewest or n_fitted < min(fewest, 4096):
        needed = max(16 * row * _SMALLEST_PIECE, 2 * (3 * row + 64) * fewest, 4096 * 25 * row)
        raise ResourceError(f"max_ram={max_ram} bytes is too little; give at least {needed}")
    return BuildSettings(
        nbits, codec or default_kind(nbits), chosen, seed, n_sampled, n_fitted, piece
    )


def automatic_n_centroids(n_tokens: int) -> int:
    """16 times the root of the corpus's tokens, as in https://arxiv.org/abs/2112.01488.

    Fewer in a small corpus, where centroids would cost more bytes than they save.
    """
    most = max(n_tokens // 80, min(n_tokens // 4, 2048))
    return int(np.clip(16 * np.sqrt(n_tokens), 1, max(1, most)))
