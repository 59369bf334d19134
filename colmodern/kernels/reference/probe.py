"""Scores of a query with centroids, and the best of them, in plain NumPy.

The modules of ``cpu`` describe arguments and shapes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from colmodern.kernels.reference.arithmetic import LOWEST, is_filled, to_int16
from colmodern.kernels.types import (
    Bytes,
    CentroidRows,
    Clusters,
    CodecArrays,
    Floats,
    Int16s,
    Int32s,
    Int64s,
    Mask,
    Masks,
    QueryTables,
    SegmentArrays,
)


def choose_centroids(
    clusters: Clusters | None,
    numbers: Int32s,
    query_bytes: Bytes,
    lane_scales: Floats,
    lanes: Masks,
    n_clusters: int,
) -> tuple[Int32s, npt.NDArray[np.uint32] | None, Int16s]:
    """The centroids of clusters at or above the n-th best of some query token, its floor; their bits."""
    floors = np.full(lane_scales.shape, LOWEST, np.int16)
    if clusters is None:
        return numbers, None, floors
    n_all, n_lanes = len(clusters.means.scales), lane_scales.shape[1]
    is_chosen = np.full(n_all, not 0 < n_clusters < n_all)
    for block, mask in enumerate(lanes if 0 < n_clusters < n_all else []):
        scores, maxima = np.empty((n_all, n_lanes), np.int16), np.empty((n_all, n_lanes), np.int16)
        block_bytes, scales = query_bytes[block], lane_scales[block]
        score_centroids(
            clusters.means, numbers, block_bytes, scales, mask, 0, n_all, scores, maxima
        )
        nth_largest(scores, n_clusters, floors[block])
        is_chosen |= ((scores >= floors[block]) & is_filled(mask, n_lanes)).any(axis=1)
    probed = clusters.members[np.repeat(is_chosen, np.diff(clusters.offsets))]
    known = np.zeros(-(-len(numbers) // 32), np.uint32)
    np.bitwise_or.at(known, probed >> 5, np.uint32(1) << (probed & 31).astype(np.uint32))
    return probed, known, floors


def score_centroids(
    centroids: CentroidRows,
    numbers: Int32s,
    query_bytes: Bytes,
    lane_scales: Floats,
    mask: Mask,
    start: int,
    stop: int,
    scores: Int16s,
    maxima: Int16s,
) -> None:
    """Similarity of some centroids to a block's lanes, and its maximum by 64 of them."""
    chosen = numbers[start:stop]
    lanes = query_bytes.transpose(1, 0, 2).reshape(len(lane_scales), -1).astype(np.int64)
    products = centroids.values[chosen].astype(np.int64) @ lanes.T
    totals = (products - centroids.sums[chosen, None]).astype(np.float32)
    units = totals * centroids.scales[chosen, None] * lane_scales  # rounded after each product
    scores[chosen] = to_int16(np.rint(units))
    for first in range(start, stop, 64):
        maxima[first // 64] = scores[numbers[first : min(first + 64, stop)]].max(axis=0)


def nth_largest(values: Int16s, n: int, out: Int16s) -> None:
    """The n-th largest of each column."""
    out[:] = np.sort(values, axis=0)[-n]


def find_probes(scores: Int16s, maxima: Int16s, probed: Int32s, mask: Mask, probes: Int32s) -> None:
    """The best of the probed centroids of each lane, best first; of equal ones the smallest first."""
    probes[:] = -1
    for lane in range(int(mask).bit_count()):
        order = sorted(probed.tolist(), key=lambda c: (-int(scores[c, lane]), c))
        best = order[: probes.shape[1]]
        probes[lane, : len(best)] = best


def is_known(query: QueryTables, codes: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
    """(n,) whether each centroid has been scored."""
    if query.known is None:
        return np.ones(len(codes), bool)
    numbers = codes.astype(np.uint32)
    return np.asarray(query.known[numbers >> 5] >> (numbers & 31) & 1, bool)


def score_unknown(
    docs: Int64s, segment: SegmentArrays, codec: CodecArrays, query: QueryTables
) -> None:
    """Score the centroids of documents' tokens that have not been scored."""
    if query.known is None:
        return
    centroids = CentroidRows(codec.centroids, codec.centroid_scales, codec.centroid_sums)
    for doc in docs:
        codes = np.unique(segment.codes[slice(*segment.doc_offsets[doc : doc + 2])])
        unknown = codes[~is_known(query, codes)].astype(np.int32)
        np.bitwise_or.at(
            query.known, unknown >> 5, np.uint32(1) << (unknown & 31).astype(np.uint32)
        )
        for block, mask in enumerate(query.lanes):
            scores = query.centroid_scores[block]
            score_centroids(
                centroids,
                unknown,
                query.query_bytes[block],
                query.lane_scales[block],
                mask,
                0,
                len(unknown),
                scores,
                np.empty((len(unknown), scores.shape[1]), np.int16),
            )
