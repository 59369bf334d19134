"""What is worked out once a query: its similarity to all centroids and to all codebook entries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from colmodern.codecs.codec import Codec
from colmodern.index.plaid.threads import Threads
from colmodern.kernels.cpu import CHUNK, score_centroids
from colmodern.kernels.int8 import query_to_bytes
from colmodern.kernels.residual_query import (
    ResidualQuery,
    TableQuery,
    fill_doc_tables,
    fill_tables,
    weight_query,
)
from colmodern.kernels.vectors import lanes_of, masks_of

Floats = npt.NDArray[np.float32]
Masks = npt.NDArray[np.unsignedinteger]

_HEADROOM = 1.25  # of int16, for a centroid's similarity plus a residual's
_LARGEST_SUM = 32_767
_WIDE = 1.0  # reaches: rarely does the best token by centroid lose one while another gains one
_TIGHT = 0.5  # of the codec's reach: enough to choose the last candidates
_ROUNDING_SIGMAS = 3.0  # integer scores are trusted up to this many deviations of their rounding
_LOSS_SIGMAS = 4.0  # the same for what compression lost, when embeddings are at hand


class SearchCodec:
    """A codec with what every search needs of it, made once when an index is opened."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.sums = codec.centroids.sums
        norms = np.sqrt(2 * codec.centroids.half_norms)
        self.longest = float(norms.max(initial=0.0))

        self.gains = np.arange(256, dtype=np.float64) * codec.residuals.gain_step
        self.steps_of_gains = np.arange(256, dtype=np.float32)
        self.shared = codec.residuals.shared
        n_bytes = len(codec.residuals.codebook)
        # of a table entry, with which a sum over all bytes fits int16, and then the bits left over
        self.largest_entry = min(127, _LARGEST_SUM // n_bytes)
        self.shift = int(np.log2(_LARGEST_SUM / (self.largest_entry * n_bytes)))


@dataclass(frozen=True, eq=False)
class QueryTables:
    """One query, as the kernels of kernels/cpu.py take it.

    unit: similarity of one step of the integer scores
    constant: what the corpus mean adds to every document's score
    padded: (n_blocks * n_lanes, dim up to a multiple of 32) float32, zeros in the rest
    centroid_scores: (n_blocks, n_centroids, n_lanes) int16; maxima: (n_blocks, n_chunks, n_lanes)
    lanes: (n_blocks,) uint16 or uint32 masks; n_lanes is 16 for at most 16 tokens, else 32
    doc_products: (n_doc_bytes, 256) float32, of the query's summed tokens with the parts of document
        vectors: what all tokens of a document share adds its product with that sum to the score
    doc_table: (n_doc_bytes, 256) int16 and doc_factors: (256,) float32, by gain: the same, in units
    residual_query: the form of the query that the codec's residuals are scored with
    slack: (256,) int16, what a residual of each gain may add before its token is passed over when
        the last candidates are chosen, and more_slack, the same for their final scores
    rounding, loss: int16 steps that scores may be wrong by
    """

    n_tokens: int
    unit: float
    constant: float
    padded: Floats
    centroid_scores: npt.NDArray[np.int16]
    maxima: npt.NDArray[np.int16]
    lanes: Masks
    doc_products: Floats
    doc_table: npt.NDArray[np.int16]
    doc_factors: Floats
    residual_query: ResidualQuery
    slack: npt.NDArray[np.int16]
    more_slack: npt.NDArray[np.int16]
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
    longest = float(np.linalg.norm(query, axis=1).max())
    make = _table_query if search.shared is None else _weight_query
    unit, residual_query, residual_error = make(
        by_lane, masks, search, max(longest * search.longest * _HEADROOM / _LARGEST_SUM, 1e-12)
    )
    query_bytes, scales = query_to_bytes(query)
    scores, maxima, query_error = _score_centroids(
        masks, n, query_bytes, scales, search, unit, threads
    )
    rounding = _ROUNDING_SIGMAS * (residual_error + query_error) / unit + 3
    lost = _LOSS_SIGMAS * longest * np.sqrt(codec.error / dim) / unit
    reach = search.gains * (codec.reach * longest / unit)
    summed = query.sum(axis=0, dtype=np.float64)
    documents = codec.documents
    doc_products = np.empty(documents.codebook.shape[:2], np.float32)
    doc_table = np.empty(doc_products.shape, np.int16)
    step = fill_doc_tables(documents.codebook, summed.astype(np.float32), doc_products, doc_table)
    return QueryTables(
        n_tokens=n,
        unit=unit,
        constant=float(summed @ codec.mean),
        doc_products=doc_products,
        doc_table=doc_table,
        doc_factors=search.steps_of_gains * np.float32(documents.gain_step * step / unit),
        padded=padded,
        centroid_scores=scores,
        maxima=maxima,
        lanes=masks,
        residual_query=residual_query,
        slack=_steps(reach * _TIGHT),
        more_slack=_steps(reach * _WIDE),
        rounding=_step(rounding),
        loss=_step(rounding + lost),
    )


def _table_query(
    by_lane: Floats, masks: Masks, search: SearchCodec, unit: float
) -> tuple[float, ResidualQuery, float]:
    """A coarser unit where residuals need it, the query's tables, and their rounding's deviation.

    by_lane: (n_blocks, n_lanes, dim)
    """
    codebook = search.codec.residuals.codebook
    dim_major = np.ascontiguousarray(by_lane.transpose(0, 2, 1))
    tables = np.empty((len(masks), len(codebook), 256, by_lane.shape[1]), np.int8)
    largest = max(
        float(fill_tables(codebook, lanes, masks[0], np.float32(0), tables[0]).max())
        for lanes in dim_major
    )
    entry_unit = max(largest, 1e-12) / search.largest_entry
    from_sums = search.gains * entry_unit * 2.0 ** (16 - search.shift)
    unit = max(unit, from_sums[-1] / _LARGEST_SUM)
    for block, lanes in enumerate(dim_major):
        fill_tables(codebook, lanes, masks[0], np.float32(1 / entry_unit), tables[block])
    made = TableQuery(tables, _steps(from_sums / unit), np.int16(search.shift))
    return unit, made, 0.29 * entry_unit * np.sqrt(len(codebook)) * float(search.gains[-1])


def _weight_query(
    by_lane: Floats, masks: Masks, search: SearchCodec, unit: float
) -> tuple[float, ResidualQuery, float]:
    """The same for residuals whose dimensions share weights."""
    longest = float(np.linalg.norm(by_lane, axis=2).max())
    unit = max(unit, search.gains[-1] * longest * _HEADROOM / _LARGEST_SUM)
    levels, scales = search.shared or (
        np.zeros(16, np.int8),
        np.zeros(by_lane.shape[2], np.float32),
    )
    made, error = weight_query(by_lane, levels, scales, search.gains, unit)
    return unit, made, error


def _score_centroids(
    masks: Masks,
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
