"""Gather: documents in probed lists, and the choice of the best.

Nothing here checks that an offset stays inside its array: such a test alone makes ``gather`` take half
as long again. Callers pass what ``index.plaid`` has verified. ``gather``, which writes where a list
says, stays inside ``state`` and ``list_docs`` whatever a list holds.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import int64

from colmodern.kernels.cpu.jit import borrowing, compiled
from colmodern.kernels.types import Int16s, Int32s, Int64s

BLOCK_DOCS = 1 << 16  # documents that a uint16 can number
_FEWEST_LISTS = 2  # lists that every query token opens, however long they are


@borrowing
def limit_probes(probes: Int32s, list_sizes: Int64s, n_postings: int) -> None:
    """Drop the probes of a query token after lists with ``n_postings`` postings in all.

    Args:
        probes: (n_query_tokens, nprobe) int32, as find_probes writes them; -1 is written for each probe
            that is dropped. The best two of a query token stay.
        list_sizes: (n_centroids,) int64, postings of each list.
        n_postings: Postings after which a query token opens no further list.
    """
    for token in range(probes.shape[0]):
        n_before = int64(0)
        for j in range(probes.shape[1]):
            size = list_sizes[probes[token, j]]
            if j >= _FEWEST_LISTS and n_before >= n_postings:
                probes[token, j] = -1
            n_before += size


@compiled
def gather(
    probes: Int32s,
    scores: Int16s,
    list_offsets: npt.NDArray[np.uint32],
    list_docs: npt.NDArray[np.uint16],
    state: Int64s,
) -> None:
    """Add up, for every document in a probed list, its best probed centroid of each query token.

    A query token without a probed centroid in a document counts as its last probed one. Postings of
    a document beyond ``state`` change no other document.

    Args:
        probes: (n_query_tokens, nprobe) int32; behind the first, -1 where there is no further one.
        scores: (n_blocks, n_centroids, n_lanes) int16 centroid scores.
        list_offsets: (n_centroids + 1,) uint32 of one block of documents.
        list_docs: (n_postings,) uint16 of the same block.
        state: (n_docs,) int64, written: the sum times 65536 plus the number, from 1, of the last
            query token with a posting. 0 beforehand, or 65535 for a document to be passed over. With
            at least BLOCK_DOCS entries it is used as it is, a smaller one is copied twice.
    """
    if len(state) >= BLOCK_DOCS:
        _add_lists(probes, scores, list_offsets, list_docs, state)
        return
    padded = np.empty(BLOCK_DOCS, np.int64)
    for doc in range(len(state)):
        padded[doc] = state[doc]
    _add_lists(probes, scores, list_offsets, list_docs, padded)
    for doc in range(len(state)):
        state[doc] = padded[doc]


@borrowing
def _add_lists(
    probes: Int32s,
    scores: Int16s,
    list_offsets: npt.NDArray[np.uint32],
    list_docs: npt.NDArray[np.uint16],
    state: Int64s,
) -> None:
    """Gather into a state with an entry for every uint16, so that no list can lead out of it."""
    n_lanes, n_postings = scores.shape[2], np.uint32(len(list_docs))
    for token in range(probes.shape[0]):
        block, lane, turn = token // n_lanes, token % n_lanes, int64(token + 1)
        n_probes = probes.shape[1]
        while n_probes > 1 and probes[token, n_probes - 1] < 0:
            n_probes -= 1
        floor = int64(scores[block, probes[token, n_probes - 1], lane])
        for j in range(n_probes):
            centroid = probes[token, j]
            gained = ((int64(scores[block, centroid, lane]) - floor) << 16) + turn
            for at in range(list_offsets[centroid], min(list_offsets[centroid + 1], n_postings)):
                doc = list_docs[at]
                before = state[doc]
                last = before & 65535
                # without a branch: half of all postings were seen before
                state[doc] = before - last + gained if last < turn else before


@borrowing
def collect(state: Int64s, docs: Int64s, sums: Int32s) -> int:
    """Write the documents that gather reached, ascending, and their sums; returns how many.

    Args:
        state: As gather wrote it.
        docs: (n_docs,) int64, written.
        sums: (n_docs,) int32, written.
    """
    n = 0
    for doc in range(len(state)):
        turn = state[doc] & 65535
        docs[n], sums[n] = doc, np.int32(state[doc] >> 16)
        n += 1 if 0 < turn < 65535 else 0
    return n


@compiled
def keep_best(scores: Int32s, n: int) -> Int64s:
    """Positions, ascending, of the best ``n`` of (n_docs,) int32 scores, with ties of the last.

    Exact: all positions whose score is at least the n-th largest.
    """
    low, high = (int64(1) << 40), -(int64(1) << 40)
    for score in scores:
        low, high = min(low, int64(score)), max(high, int64(score))
    wanted = n
    # narrow the range of the n-th largest, 1,024 steps a time
    while low < high and n < len(scores):
        width = (high - low) // 1024 + 1
        counts = np.zeros(1024, np.int64)
        for score in scores:
            if low <= score <= high:
                counts[(score - low) // width] += 1
        step = 1023
        while counts[step] < wanted:
            wanted -= counts[step]
            step -= 1
        low, high = low + step * width, min(high, low + (step + 1) * width - 1)
    positions = np.empty(len(scores), np.int64)
    n_kept = 0
    for i in range(len(scores)):
        positions[n_kept] = i
        n_kept += 1 if scores[i] >= low else 0
    return positions[:n_kept]
