"""Vectors as a length of one byte and a direction of one byte for every 8 / nbits dimensions.

Both kinds are stored and scored alike: a table of 256 small vectors for each byte.
"pq" learns the vectors together (product quantisation); "residual" learns 2**nbits weights for
each dimension alone (ColBERTv2, https://arxiv.org/abs/2112.01488) and its table holds their
combinations.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from colmodern.kernels.cpu.encoding import encode_by_weights, encode_residuals, sum_by_entry
from colmodern.threads import Threads

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
ResidualKind = Literal["pq", "residual"]

_ITERATIONS = 16
_SORTED = 1 << 20  # values that weights shared by all dimensions are learnt from
_SHARED_BITS = 4  # bits per dimension with which scalar weights are shared
# lengths that are tried when a direction's weights are chosen; a fifth of the error is gone
# (experiments/log/codecs.md)
_TRIED_LENGTHS = np.array([0.76, 0.82, 0.88, 0.94, 1, 1.07, 1.14, 1.22, 1.3], np.float32)


@dataclass(frozen=True, eq=False)
class Quantizer:
    """A vector is gain * gain_step * direction; a direction consists of entries of a codebook.

    Attributes:
        codebook: (n_bytes, 256, width) float32.
        gain_step: Length for each step of a gain.
    """

    codebook: Floats
    gain_step: float

    def encode(self, vectors: Floats) -> tuple[Bytes, Bytes]:
        """Compress (n, dim) vectors, each for itself, to (n,) gains and (n, n_bytes) entries."""
        gains = np.empty(len(vectors), np.uint8)
        entries = np.empty((len(vectors), len(self.codebook)), np.uint8)
        out = np.float32(self.gain_step), gains, entries
        vectors = np.ascontiguousarray(vectors)
        if self.weights is None:
            encode_residuals(vectors, self.codebook, half_norms(self.codebook), *out)
        else:
            encode_by_weights(vectors, *self.weights, *out)
        return gains, entries

    @cached_property
    def weights(self) -> tuple[Floats, Floats, Floats, Floats] | None:
        """What encode_by_weights takes where dimensions share weights, else None.

        (15,) cutoffs, (16,) levels, (dim,) scales and the lengths that are tried.
        """
        if self.shared is None:
            return None
        levels = self.shared[0].astype(np.float32)
        cutoffs, scales = (levels[1:] + levels[:-1]) / 2, np.maximum(self.shared[1], 1e-12)
        return cutoffs.astype(np.float32), levels, scales.astype(np.float32), _TRIED_LENGTHS

    @cached_property
    def shared(self) -> tuple[npt.NDArray[np.int8], Floats] | None:
        """Levels and scales of the codebook, as shared_weights returns them."""
        return shared_weights(self.codebook)

    def decode(self, gains: Bytes, entries: Bytes) -> Floats:
        """(n, dim) float32 vectors of gains and entries."""
        n_bytes, _, width = self.codebook.shape
        directions = self.codebook[np.arange(n_bytes), entries].reshape(-1, n_bytes * width)
        lengths = gains.astype(np.float32) * np.float32(self.gain_step)
        return np.asarray(lengths[:, None] * directions, np.float32)


def train_quantizer(vectors: Floats, nbits: int, kind: ResidualKind, *, seed: int) -> Quantizer:
    """Fit to (n_sampled, dim) float32 vectors; nbits: 1, 2, 4 or 8 for each dimension."""
    lengths = np.linalg.norm(vectors, axis=1)
    units = vectors / np.maximum(lengths, 1e-12)[:, None]
    longest = np.quantile(lengths, 0.9999) if len(lengths) else 0.0
    codebook = train_codebook(units, nbits, kind, seed=seed)
    shortest = 1.0 if shared_weights(codebook) is None else _TRIED_LENGTHS[0]
    return Quantizer(codebook, float(max(1e-12, longest * 1.05 / shortest / 255)))


def default_kind(nbits: int) -> ResidualKind:
    """The better kind at this size (experiments/log/codecs.md); at 4 bits equal, and scored twice as fast."""
    return "residual" if nbits == _SHARED_BITS else "pq"


def train_codebook(units: Floats, nbits: int, kind: ResidualKind, *, seed: int) -> Floats:
    """Learn a (dim * nbits / 8, 256, 8 / nbits) float32 codebook for unit residuals.

    Args:
        units: (n_sampled, dim) float32 residuals of length 1.
        nbits: Bits for each dimension: 1, 2, 4 or 8.
        kind: "pq" or "residual".
        seed: Same seed, same codebook.
    """
    train = _train_products if kind == "pq" else _train_scalars
    return train(np.ascontiguousarray(units), nbits, seed)


def _train_products(units: Floats, nbits: int, seed: int) -> Floats:
    """One k-means of 256 entries for each byte, all at once.

    Not faiss here: for a byte's few dimensions it takes 20 times as long as the kernel that
    encodes with the codebook afterwards anyway.
    """
    dim, n_bytes = units.shape[1], units.shape[1] * nbits // 8
    if len(units) == 0:
        return np.zeros((n_bytes, 256, dim // n_bytes), np.float32)
    rng = np.random.default_rng(seed)
    first = rng.choice(len(units), 256, replace=len(units) < 256)
    entries = units[first].reshape(256, n_bytes, dim // n_bytes)
    codebook = np.ascontiguousarray(entries.transpose(1, 0, 2))
    for _ in range(_ITERATIONS):
        sums, counts = _sums_by_entry(units, codebook)
        means = (sums / np.maximum(counts, 1)[..., None]).astype(np.float32)
        # an entry that nothing is nearest to becomes that of a random token
        others = rng.integers(0, len(units), codebook.shape[:2])
        spare = units.reshape(len(units), n_bytes, -1)[others, np.arange(n_bytes)[:, None]]
        codebook = np.ascontiguousarray(np.where(counts[..., None] > 0, means, spare))
    return codebook


def _sums_by_entry(units: Floats, codebook: Floats) -> tuple[npt.NDArray[np.float64], Ints]:
    """(n_bytes, 256, width) sums and (n_bytes, 256) counts of what is nearest to each entry.

    Threads share the bytes, not the tokens, so that their number changes no sum.
    """
    sums, counts = np.zeros(codebook.shape), np.zeros(codebook.shape[:2], np.int64)
    norms, width = half_norms(codebook), codebook.shape[2]

    def add(first: int, last: int) -> None:
        columns = np.ascontiguousarray(units[:, first * width : last * width])
        bytes_ = slice(first, last)
        sum_by_entry(
            columns, codebook[bytes_], norms[bytes_], 0, len(units), sums[bytes_], counts[bytes_]
        )

    Threads().split(add, len(codebook))
    return sums, counts


def _train_scalars(units: Floats, nbits: int, seed: int) -> Floats:
    """Lloyd-Max weights for each dimension, then all combinations that a byte can name.

    With 4 bits all dimensions share int8 weights, which a search can multiply without decoding,
    and each has a scale of its own.
    """
    units = units if len(units) else np.zeros((1, units.shape[1]), np.float32)
    if nbits == _SHARED_BITS:
        squares = np.einsum("nd,nd->d", units, units) / len(units)
        scales = np.maximum(np.sqrt(squares, dtype=np.float64), 1e-12)
        sample = units[:: max(1, units.size // _SORTED)]
        shared = _lloyd_max(np.sort((sample / scales).ravel()), _quantiles(nbits))
        levels = np.rint(shared * (127 / max(np.abs(shared).max(), 1e-12)))
        weights = _products(levels, scales * (np.abs(shared).max() / 127))
    else:
        columns = np.sort(units, axis=0).T
        weights = np.stack([_lloyd_max(column, _quantiles(nbits)) for column in columns])
    return _combine(weights, nbits)


def shared_weights(codebook: Floats) -> tuple[npt.NDArray[np.int8], Floats] | None:
    """Levels and scales of a codebook of four bits per dimension whose dimensions share weights.

    Returns:
        (16,) int8 levels and (dim,) float32 scales; the products of the two are the codebook's
        values. None for any other codebook.
    """
    if codebook.shape[2] != 8 // _SHARED_BITS:
        return None
    codes = np.arange(16)
    low, high = codebook[:, codes, 0], codebook[:, codes << _SHARED_BITS, 1]
    weights = np.stack([low, high], axis=1).reshape(-1, 16)  # (dim, 16)
    most = np.abs(weights).max(axis=1)
    levels = np.rint(weights[most.argmax()] * (127 / max(float(most.max()), 1e-12)))
    rebuilt = _combine(_products(levels, most / 127), _SHARED_BITS)
    if not np.allclose(rebuilt, codebook, rtol=1e-5, atol=1e-12):
        return None
    return levels.astype(np.int8), np.asarray(most / 127, np.float32)


def _products(levels: npt.NDArray[np.floating], scales: npt.NDArray[np.floating]) -> Floats:
    return np.asarray(scales[:, None] * levels, np.float32)


def _combine(weights: npt.NDArray[np.floating], nbits: int) -> Floats:
    """(n_bytes, 256, 8 / nbits) from (dim, 2**nbits): the lowest bits name the first dimension."""
    n_weights, width = 1 << nbits, 8 // nbits
    entries = np.arange(256)[:, None] >> (nbits * np.arange(width)) & (n_weights - 1)
    by_byte = weights.reshape(-1, width, n_weights)
    table = np.stack([by_byte[:, j, :][:, entries[:, j]] for j in range(width)], axis=-1)
    return np.ascontiguousarray(table, np.float32)


def _quantiles(nbits: int) -> npt.NDArray[np.float64]:
    return (np.arange(1 << nbits) + 0.5) / (1 << nbits)


def _lloyd_max(ordered: Floats, quantiles: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Weights that lose least on sorted values, after https://doi.org/10.1109/TIT.1982.1056489."""
    weights = np.quantile(ordered, quantiles)
    sums = np.concatenate([[0.0], np.cumsum(ordered, dtype=np.float64)])
    for _ in range(_ITERATIONS):
        cutoffs = (weights[1:] + weights[:-1]) / 2
        edges = np.concatenate([[0], np.searchsorted(ordered, cutoffs), [len(ordered)]])
        counts = np.diff(edges)
        means = np.diff(sums[edges]) / np.maximum(counts, 1)
        weights = np.where(counts > 0, means, weights)
    return np.asarray(weights, np.float64)


def half_norms(codebook: Floats) -> Floats:
    """(n_bytes, 256) half the squared length of each entry."""
    return np.asarray(np.square(codebook).sum(axis=2) / 2, np.float32)
