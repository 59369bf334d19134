"""Settings of a build: checked, completed, and kept within the memory allowed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

import numpy as np

from colmodern.arguments import checked_count, expect_choice
from colmodern.checks import shown
from colmodern.codecs.centroids import FEW_CENTROIDS, POINTS_PER_CENTROID
from colmodern.codecs.residuals import ResidualKind, default_kind
from colmodern.errors import InputError, ResourceError, StorageError

_FEWEST_SAMPLED = 1 << 16  # unless there are fewer tokens: the codebook wants them
_LARGEST_SAMPLE = 1 << 21  # tokens, for at most FEW_CENTROIDS
_LARGEST_CHUNK = 1 << 18  # tokens compressed at a time
_SMALLEST_CHUNK = 1 << 10  # tokens
_SMALLEST_SAMPLE = 1 << 14  # tokens
MOST_OF_A_DOC = 256  # tokens sampled from a document: they are much alike, other documents differ
_NUMBERS = 0.3  # share of memory for numbers of sampled tokens and vectors of their documents


@dataclass(frozen=True)
class BuildSettings:
    """All that an index depends on besides its input; the manifest records it by these names."""

    nbits: int
    codec: ResidualKind
    n_centroids: int
    seed: int
    n_sampled: int  # tokens that the codec is learnt from, at most
    n_fitted: int  # sampled tokens that residuals are learnt from, at most
    piece_tokens: int  # tokens compressed at a time

    @property
    def n_clustered(self) -> int | None:
        """Sampled tokens that the centroids of one cell are learnt from, at most; None for all."""
        return None if self.n_centroids <= FEW_CENTROIDS else 4 * self.n_fitted


def settle(
    n_tokens: int,
    dim: int,
    *,
    n_docs: int,
    nbits: int,
    codec: ResidualKind | None,
    n_centroids: int | None,
    seed: int,
    max_memory: int,
) -> BuildSettings:
    """Check the settings of a build, and fill in what follows from its input.

    n_tokens, n_docs, dim: size of the embeddings; max_memory: bytes

    Raises InputError for a wrong value, ResourceError for too little memory.
    """
    wrong_nbits = InputError(f"nbits={shown(nbits)}; choose 1, 2, 4 or 8 bits per dimension")
    try:
        nbits = checked_count("nbits", nbits)
    except InputError:
        raise wrong_nbits from None
    if nbits not in (1, 2, 4, 8):
        raise wrong_nbits
    expect_choice("codec", codec, (*get_args(ResidualKind), None))
    if n_centroids is not None:
        n_centroids = checked_count("n_centroids", n_centroids, most=1 << 24)
    seed = checked_count("seed", seed, least=0, most=(1 << 31) - 2)
    if n_tokens == 0:
        raise InputError("embeddings hold no tokens; there is nothing to index")
    n_centroids = n_centroids or automatic_n_centroids(n_tokens)
    # a token takes at most 3, 7 and 4 float32 vectors in the three steps, and 64 bytes of numbers
    vector = dim * 4  # bytes
    docs_per_token = min(1.0, max(n_docs / n_tokens, 1 / MOST_OF_A_DOC))
    n_sampled = _sample_tokens(n_centroids, docs_per_token, vector, max_memory)
    n_fitted = min(1 << 16, int(max_memory * 0.3) // (7 * vector + 64))
    chunk_tokens = _chunk_tokens(dim, max_memory)
    fewest = min(n_tokens, _SMALLEST_SAMPLE)
    if chunk_tokens < _SMALLEST_CHUNK or n_sampled < fewest or n_fitted < min(fewest, 4096):
        needed = max(
            16 * vector * _SMALLEST_CHUNK, 2 * (3 * vector + 64) * fewest, 4096 * 25 * vector
        )
        raise ResourceError(f"max_memory={max_memory} bytes is too little; give at least {needed}")
    return BuildSettings(
        nbits=nbits,
        codec=codec or default_kind(nbits),
        n_centroids=n_centroids,
        seed=seed,
        n_sampled=n_sampled,
        n_fitted=n_fitted,
        piece_tokens=chunk_tokens,
    )


def _sample_tokens(n_centroids: int, docs_per_token: float, vector: int, max_memory: int) -> int:
    """Tokens that the codec is learnt from: as many for each centroid as memory allows.

    A large sample lies in a file, whose pages should fit in memory while cells read it. What stays
    in memory are the numbers of its tokens, three vectors of each document, and one cell's tokens.

    n_centroids: of the codec; docs_per_token: documents for each token; vector: bytes of one in
    float32; max_memory: in bytes
    """
    wanted = max(_FEWEST_SAMPLED, n_centroids * POINTS_PER_CENTROID)
    held = min(wanted, _LARGEST_SAMPLE, int(max_memory * 0.5) // (3 * vector + 64))
    if n_centroids <= FEW_CENTROIDS:
        return held
    numbers = int(max_memory * _NUMBERS / (3 * vector * docs_per_token + 64))
    return max(held, min(wanted, numbers, max_memory // vector))


def settle_for_codec(
    settings: Mapping[str, Any], dim: int, max_memory: int, path: Path
) -> BuildSettings:
    """The settings of a build that takes the codec of another index.

    settings: of that index, as its manifest has them; path: of that index; max_memory: bytes

    Raises StorageError for a manifest that lacks a setting, ResourceError for too little memory.
    """
    chunk_tokens = _chunk_tokens(dim, max_memory)
    if chunk_tokens < _SMALLEST_CHUNK:
        needed = 16 * dim * 4 * _SMALLEST_CHUNK
        raise ResourceError(f"max_memory={max_memory} bytes is too little; give at least {needed}")
    names = [field.name for field in fields(BuildSettings) if field.name != "piece_tokens"]
    if lacking := [name for name in names if name not in settings]:
        raise StorageError(
            f"{path} does not say its {', '.join(lacking)}, so that its codec cannot be taken over; "
            "build it again"
        )
    return BuildSettings(**{name: settings[name] for name in names}, piece_tokens=chunk_tokens)


def _chunk_tokens(dim: int, max_memory: int) -> int:
    """Tokens that are compressed at a time: each takes at most 4 float32 vectors."""
    return min(_LARGEST_CHUNK, int(max_memory * 0.25) // (4 * dim * 4))


def automatic_n_centroids(n_tokens: int) -> int:
    """16 times the root of the corpus's tokens, as in https://arxiv.org/abs/2112.01488.

    Fewer in a small corpus, where centroids would cost more bytes than they save.
    """
    most = max(n_tokens // 80, min(n_tokens // 4, 2048))
    return int(np.clip(16 * np.sqrt(n_tokens), 1, max(1, most)))
