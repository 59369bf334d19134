"""Token embeddings as centroid, residual length and residual direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from colmodern.codecs.centroids import Centroids, train_centroids
from colmodern.codecs.residuals import ResidualKind, half_norms, train_codebook
from colmodern.kernels.encoding import encode_residuals
from colmodern.progress import Progress

Floats = npt.NDArray[np.float32]
TokenIds = npt.NDArray[np.int32]
CodeDtype = np.dtype[np.uint16] | np.dtype[np.uint32]


def code_dtype(n_centroids: int) -> CodeDtype:
    """The smallest dtype that holds every centroid's number."""
    return np.dtype(np.uint16) if n_centroids <= 1 << 16 else np.dtype(np.uint32)


class Encoded(NamedTuple):
    """Compressed tokens.

    codes: (n_tokens,) uint16 or uint32; gains: (n_tokens,) uint8
    residuals: (n_tokens, n_bytes) uint8
    """

    codes: npt.NDArray[np.unsignedinteger]
    gains: npt.NDArray[np.uint8]
    residuals: npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Codec:
    """decoded token = mean + centroid + gain * gain_step * direction.

    mean: (dim,) float32 of the corpus; taking it off changes every score of a query by one number
    codebook: (n_bytes, 256, 8 / nbits) float32, parts of a direction
    gain_step: length of a residual for each step of its gain
    error: mean squared distance of a sampled token from its decoded self
    reach: how far a residual of length 1 moves a similarity to a unit query token, at most, in
        all but one of a thousand sampled pairs
    """

    mean: Floats
    centroids: Centroids
    codebook: Floats
    gain_step: float
    error: float
    reach: float

    @property
    def dim(self) -> int:
        """Width of a token embedding."""
        return len(self.mean)

    @property
    def code_dtype(self) -> CodeDtype:
        """The smallest dtype that names every centroid."""
        return code_dtype(len(self.centroids.rows))

    def encode(self, values: npt.NDArray[np.floating], token_ids: TokenIds | None) -> Encoded:
        """Compress (n_tokens, dim) embeddings; token by token, so chunks do not matter."""
        # the kernels are compiled for rows one after another
        centred = np.ascontiguousarray(values, np.float32) - self.mean
        codes = self.centroids.assign(centred, token_ids)
        gains = np.empty(len(codes), np.uint8)
        residuals = np.empty((len(codes), len(self.codebook)), np.uint8)
        encode_residuals(
            centred,
            codes,
            self.centroids.rows,
            self.centroids.scales,
            self.codebook,
            half_norms(self.codebook),
            np.float32(self.gain_step),
            gains,
            residuals,
        )
        return Encoded(codes.astype(self.code_dtype), gains, residuals)

    def decode(self, encoded: Encoded) -> Floats:
        """(n_tokens, dim) float32 that search scores against."""
        parts = np.arange(len(self.codebook))
        directions = self.codebook[parts, encoded.residuals].reshape(-1, self.dim)
        lengths = encoded.gains.astype(np.float32) * np.float32(self.gain_step)
        decoded = self.centroids.decode(encoded.codes)
        return np.asarray(self.mean + decoded + lengths[:, None] * directions, np.float32)


def train_codec(
    values: Floats,
    token_ids: TokenIds | None,
    *,
    n_centroids: int,
    n_fitted: int = 1 << 16,
    nbits: int,
    kind: ResidualKind,
    seed: int,
    progress: Progress,
) -> Codec:
    """Fit a codec to sampled tokens.

    values: (n_sampled, dim) float32, at least one token, overwritten
    token_ids: (n_sampled,) int32 or None
    n_fitted: tokens, of those, that residuals are learnt from, at most; bounds memory
    """
    mean = values.mean(axis=0, dtype=np.float64).astype(np.float32)
    values -= mean
    centroids = train_centroids(values, token_ids, n_centroids, seed=seed, progress=progress)
    some = _some_rows(len(values), n_fitted, seed)
    values, token_ids = values[some], None if token_ids is None else token_ids[some]
    residuals = values - centroids.decode(centroids.assign(values, token_ids))
    lengths = np.linalg.norm(residuals, axis=1)
    units = residuals / np.maximum(lengths, 1e-12)[:, None]
    codebook = train_codebook(units, nbits, kind, seed=seed)
    gain_step = float(max(1e-12, np.quantile(lengths, 0.9999) * 1.05 / 255))
    reach = float(np.quantile(np.abs(_against_queries(values, units, mean)), 0.999))
    codec = Codec(mean, centroids, codebook, gain_step, 0.0, reach)
    lost = codec.decode(codec.encode(values + mean, token_ids)) - values - mean
    error = float(np.square(lost).sum(axis=1).mean())
    return Codec(mean, centroids, codebook, gain_step, error, reach)


def _some_rows(n: int, most: int, seed: int) -> npt.NDArray[np.int64]:
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed + 1).choice(n, most, replace=False))


def _against_queries(values: Floats, units: Floats, mean: Floats) -> Floats:
    """Products of unit residuals with tokens that stand for a query's."""
    queries = values[:: max(1, len(values) // 256)] + mean
    queries /= np.maximum(np.linalg.norm(queries, axis=1, keepdims=True), 1e-12)
    return np.asarray(units[:: max(1, len(units) // 4096)] @ queries.T, np.float32)
