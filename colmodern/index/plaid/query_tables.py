"""What is worked out once a query: its similarity to all centroids and to all codebook entries."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from colmodern.codecs.codec import Codec
from colmodern.index.plaid.threads import Threads
from colmodern.kernels.cpu import CHUNK, fill_tables, score_centroids
from colmodern.kernels.int8 import query_to_bytes
from colmodern.kernels.vectors import lanes_of, masks_of

Floats = npt.NDArray[np.float32]

_HEADROOM = 1.25  # of int16, for a centroid's similarity plus a residual's
_LARGEST_SUM = 32_767
_WIDE = 2.0  # reaches: the best token by centroid may lose one, and another one may gain one
_TIGHT = 0.5  # of the codec's reach: enough to choose the last candidates
_ROUNDING_SIGMAS = 6.0  # integer scores are trusted up to this many deviations of their rounding
_LOSS_SIGMAS = 4.0  # the same for what compression lost, when embeddings are at hand


class SearchCodec:
    """A codec with what every search needs of it, made once when an index is opened."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.sums = codec.centroids.sums
        norms = np.sqrt(2 * codec.centroids.half_norms)
        self.longest = float(norms.max(initial=0.0))

    @cached_property
    def shift(self) -> int:
        """Bits that a sum of table entries can be shifted left by within int16."""
        return int(np.log2(_LARGEST_SUM / (self.largest_entry * len(self.codec.codebook))))

    @cached_property
    def largest_entry(self) -> int:
        """Magnitude of a table entry with which a sum over all bytes still fits int16."""
        return min(127, _LARGEST_SUM // len(self.codec.codebook))


@dataclass(frozen=True, eq=False)
class QueryTables:
    """One query, as the kernels of kernels/cpu.py take it.

    unit: similarity of one step of the integer scores
    constant: what the corpus mean adds to every document's score
    padded: (n_blocks * n_lanes, dim up to a multiple of 32) float32, zeros in the rest
    centroid_scores: (n_blocks, n_centroids, n_lanes) int16; maxima: (n_blocks, n_chunks, n_lanes)
    tables: (n_blocks, n_bytes, 256, n_lanes) int8
    lanes: (n_blocks,) uint16 or uint32 masks; n_lanes is 16 for at most 16 tokens, else 32
    factors: (256,) int16; slack: (256,) int16, what a residual of each gain may add before its
        token is passed over, and tight_slack, the same for choosing the last candidates
    rounding, loss: int16 steps that scores may be wrong by
    """

    n_tokens: int
    unit: float
    constant: float
    padded: Floats
    centroid_scores: npt.NDArray[np.int16]
    maxima: npt.NDArray[np.int16]
    tables: npt.NDArray[np.int8]
    lanes: npt.NDArray[np.unsignedinteger]
    factors: npt.NDArray[np.int16]
    slack: npt.NDArray[np.int16]
    tight_slack: npt.NDArray[np.int16]
    shift: int
    rounding: int
    loss: int

    @property
    def empty(self) -> int:
        """Integer score of a document without tokens, whose MaxSim is 0."""
        # within int32, also for centroids of length 0
        return round(min(max(-self.constant / self.unit, -(1 << 30)), 1 << 30))


def make_tables(query: Floats, search: SearchCodec, threads: Threads) -> QueryTables:
    """Prepare a (n_query_tokens, dim) float32 query, at least one token."""
    codec = search.codec
    n, dim = query.shape
    masks = masks_of(n)
    n_lanes = lanes_of(masks)
    padded = np.zeros((len(masks) * n_lanes, -(-dim // 32) * 32), np.float32)
    padded[:n, :dim] = query
    by_lane = padded[:, :dim].reshape(len(masks), n_lanes, dim)
    lane_major = np.ascontiguousarray(by_lane.transpose(0, 2, 1))  # (n_blocks, dim, n_lanes)
    tables = np.empty((len(masks), len(codec.codebook), 256, n_lanes), np.int8)
    largest = max(
        float(fill_tables(codec.codebook, lanes, masks[0], np.float32(0), tables[0]).max())
        for lanes in lane_major
    )
    entry_unit = max(largest, 1e-12) / search.largest_entry
    longest = float(np.linalg.norm(query, axis=1).max())
    shift, gains = search.shift, np.arange(256) * codec.gain_step
    unit = max(
        longest * search.longest * _HEADROOM / _LARGEST_SUM,
        gains[-1] * entry_unit * 2.0 ** (16 - shift) / _LARGEST_SUM,
        1e-12,
    )
    query_bytes, scales = query_to_bytes(query)
    scores, maxima, query_error = _score_centroids(
        masks, n, query_bytes, scales, search, unit, threads
    )
    for block, lanes in enumerate(lane_major):
        fill_tables(codec.codebook, lanes, masks[0], np.float32(1 / entry_unit), tables[block])
    entry_error = 0.29 * entry_unit * np.sqrt(len(codec.codebook)) * gains[-1]
    rounding = _ROUNDING_SIGMAS * (entry_error + query_error) / unit + 3
    lost = _LOSS_SIGMAS * longest * np.sqrt(codec.error / dim) / unit
    reach = gains * codec.reach * longest / unit
    return QueryTables(
        n_tokens=n,
        unit=unit,
        constant=float(query.sum(axis=0, dtype=np.float64) @ codec.mean),
        padded=padded,
        centroid_scores=scores,
        maxima=maxima,
        tables=tables,
        lanes=masks,
        factors=_steps(gains * entry_unit / unit * 2.0 ** (16 - shift)),
        slack=_steps(reach * _WIDE),
        tight_slack=_steps(reach * _TIGHT),
        shift=shift,
        rounding=_step(rounding),
        loss=_step(rounding + lost),
    )


def _score_centroids(
    masks: npt.NDArray[np.unsignedinteger],
    n_tokens: int,
    query_bytes: npt.NDArray[np.uint8],
    scales: Floats,
    search: SearchCodec,
    unit: float,
    threads: Threads,
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int16], float]:
    """Scores and chunk maxima of all centroids, and the deviation that quantising the query makes."""
    centroids = search.codec.centroids
    lane_scales = scales / np.float32(unit)
    lane_scales.reshape(-1)[n_tokens:] = 0
    n = len(centroids.rows)
    n_chunks = -(-n // CHUNK)
    scores = np.empty((len(masks), n, lanes_of(masks)), np.int16)
    maxima = np.empty((len(masks), n_chunks, lanes_of(masks)), np.int16)

    def score(start: int, stop: int) -> None:
        for block, mask in enumerate(masks):
            score_centroids(
                centroids.rows,
                search.sums,
                centroids.scales,
                query_bytes[block],
                lane_scales[block],
                mask,
                start * CHUNK,
                min(stop * CHUNK, n),
                scores[block],
                maxima[block],
            )

    threads.split(score, n_chunks, least=64)
    return scores, maxima, 0.29 * float(scales.max()) * search.longest


def _steps(values: npt.NDArray[np.floating]) -> npt.NDArray[np.int16]:
    return np.asarray(np.clip(np.rint(values), 0, _LARGEST_SUM), np.int16)


def _step(value: float) -> int:
    return int(min(max(np.ceil(value), 0), _LARGEST_SUM))
