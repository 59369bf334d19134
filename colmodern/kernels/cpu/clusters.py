"""Centroids that a query is scored with where there are too many: those of the nearest clusters.

Nothing here checks that a code stays inside its array; callers pass what ``index.plaid`` has verified.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import uint32

from colmodern.kernels.cpu.jit import borrowing, compiled
from colmodern.kernels.cpu.probe import CHUNK, nth_largest, score_centroids
from colmodern.kernels.cpu.token_block import prefetch_codes
from colmodern.kernels.types import (
    Bytes,
    CentroidRows,
    Clusters,
    CodecArrays,
    Codes,
    Floats,
    Int16s,
    Int32s,
    Int64s,
    Masks,
    QueryTables,
    SegmentArrays,
)

Known = npt.NDArray[np.uint32]
_LOWEST = np.int16(-32768)


@compiled
def choose_centroids(
    clusters: Clusters | None,
    numbers: Int32s,
    query_bytes: Bytes,
    lane_scales: Floats,
    lanes: Masks,
    n_clusters: int,
) -> tuple[Int32s, Known | None, Int16s]:
    """What QueryTables call probed, known and floors: centroids of clusters near a query token.

    Args:
        clusters: Clusters of the codec.
        numbers: Numbers of all centroids.
        query_bytes: As in QueryTables.
        lane_scales: As in QueryTables.
        lanes: As in QueryTables.
        n_clusters: Clusters of each query token, the farthest of which is its floor; 0 for all.
    """
    n_blocks, n_lanes = lane_scales.shape
    floors = np.full((n_blocks, n_lanes), _LOWEST, np.int16)
    if clusters is None:
        return numbers, None, floors
    n_all = len(clusters.means.scales)
    is_chosen = np.zeros(n_all, np.bool_)
    if n_clusters == 0 or n_clusters >= n_all:
        is_chosen[:] = True
    else:
        scores = np.empty((n_all, n_lanes), np.int16)
        maxima = np.empty((-(-n_all // CHUNK), n_lanes), np.int16)
        for block in range(n_blocks):
            mask = lanes[block]
            bytes_, scales = query_bytes[block], lane_scales[block]
            score_centroids(clusters.means, numbers, bytes_, scales, mask, 0, n_all, scores, maxima)
            nth_largest(scores, n_clusters, floors[block])
            _mark(scores, floors[block], mask, is_chosen)
    probed, known, n = (
        np.empty(len(numbers), np.int32),
        np.zeros(-(-len(numbers) // 32), np.uint32),
        0,
    )
    for cluster in range(n_all):
        if is_chosen[cluster]:
            for at in range(clusters.offsets[cluster], clusters.offsets[cluster + 1]):
                centroid = clusters.members[at]
                probed[n] = centroid
                known[centroid >> 5] |= uint32(1) << uint32(centroid & 31)
                n += 1
    return probed[:n], known, floors


@borrowing
def _mark(
    scores: Int16s, floors: Int16s, mask: np.uint32, is_chosen: npt.NDArray[np.bool_]
) -> None:
    """Mark the clusters that are not below the floor of some lane of a mask."""
    for cluster in range(scores.shape[0]):
        for lane in range(scores.shape[1]):
            reaches = (
                scores[cluster, lane] >= floors[lane] and (mask >> uint32(lane)) & uint32(1) != 0
            )
            is_chosen[cluster] |= reaches


@borrowing
def list_known(codes: Codes, start: int, stop: int, known: Known, listed: Codes) -> int:
    """Write the known ones among the centroids of tokens start to stop; returns how many.

    Args:
        codes: Centroids of all tokens.
        start: The first token.
        stop: The token behind the last.
        known: As in QueryTables.
        listed: uint32, written, with room for all and one more.
    """
    n = 0
    for token in range(start, stop):
        code = uint32(codes[token])
        listed[n] = code
        n += (known[code >> uint32(5)] >> (code & uint32(31))) & uint32(1)
    return n


@compiled
def score_unknown(
    docs: Int64s, segment: SegmentArrays, codec: CodecArrays, query: QueryTables
) -> None:
    """Score the centroids of documents' tokens that have not been scored.

    Args:
        docs: (n,) int64 documents of the segment.
        segment: Holds the codes of tokens.
        codec: Holds the centroids.
        query: Its centroid_scores and known are written.
    """
    _score_unknown(docs, segment, codec, query, query.known)


@compiled
def _score_unknown(
    docs: Int64s,
    segment: SegmentArrays,
    codec: CodecArrays,
    query: QueryTables,
    known: Known | None,
) -> None:
    if known is None:
        return
    codes, doc_offsets, n_tokens, n = segment.codes, segment.doc_offsets, 0, 0
    for doc in docs:
        n_tokens += doc_offsets[doc + 1] - doc_offsets[doc]
    unknown = np.empty(n_tokens + 1, np.int32)
    for i in range(len(docs)):
        prefetch_codes(docs, i, codes, doc_offsets)
        for token in range(doc_offsets[docs[i]], doc_offsets[docs[i] + 1]):
            code = uint32(codes[token])
            word, bit = known[code >> uint32(5)], uint32(1) << (code & uint32(31))
            unknown[n] = code
            n += 1 if word & bit == 0 else 0
            known[code >> uint32(5)] = word | bit
    centroids = CentroidRows(codec.centroids, codec.centroid_scales, codec.centroid_sums)
    scores = query.centroid_scores
    maxima = np.empty((-(-n // CHUNK), scores.shape[2]), np.int16)
    for block in range(len(query.lanes)):
        bytes_, scales, mask = (
            query.query_bytes[block],
            query.lane_scales[block],
            query.lanes[block],
        )
        score_centroids(centroids, unknown, bytes_, scales, mask, 0, n, scores[block], maxima)
