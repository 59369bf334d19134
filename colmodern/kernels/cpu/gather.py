"""Gather: documents in probed lists, and the choice of the best.

Nothing here checks that an offset stays inside its array: such a test alone makes ``gather`` take half
as long again. Callers pass what ``index.plaid`` has verified. ``gather``, which writes where a list
says, stays inside ``state`` and ``list_docs`` whatever a list holds.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import int64, uint16, uint32, uint64

from colmodern.kernels.cpu.clusters import list_known
from colmodern.kernels.cpu.ir import simd
from colmodern.kernels.cpu.ir.vectors import FEW_LANES
from colmodern.kernels.cpu.jit import borrowing, compiled
from colmodern.kernels.cpu.token_block import best_scores
from colmodern.kernels.types import (
    Address,
    Codes,
    Int16s,
    Int32s,
    Int64s,
    Mask,
    QueryTables,
    SampledDocs,
    StateForm,
)

BLOCK_DOCS = 1 << 16  # documents that a uint16 can number
_FEWEST_LISTS = 2  # lists that every query token opens, however long they are
_STATE_BITS = 31  # an int32 without its sign


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
            centroid = probes[token, j]
            size = list_sizes[max(centroid, 0)]
            if j >= _FEWEST_LISTS and n_before >= n_postings:
                probes[token, j] = -1
            n_before += size


@compiled
def impute_missing(
    probes: Int32s, query: QueryTables, sample: SampledDocs, missing: Int32s
) -> None:
    """Write what a query token counts in a document that none of its probed lists holds.

    It is the mean of its best centroid in sampled documents, none counted above its last probed one.

    Args:
        probes: As gather takes them.
        query: With its centroid_scores.
        sample: Documents of the index; without a token among them its last probed centroid counts.
        missing: (n_query_tokens,) int32, written, in units.
    """
    _impute_missing(probes, query, sample, query.known, missing)


@compiled
def _impute_missing(
    probes: Int32s,
    query: QueryTables,
    sample: SampledDocs,
    known: npt.NDArray[np.uint32] | None,
    missing: Int32s,
) -> None:
    codes, offsets, scores = sample.codes, sample.offsets, query.centroid_scores
    listed = np.empty(len(codes) + 1, np.uint32)
    n_tokens, n_lanes, n_filled = len(missing), scores.shape[2], int64(0)
    sums, best = np.zeros(n_tokens, np.int64), np.empty(n_lanes, np.int16)
    for token in range(n_tokens):
        missing[token] = scores[token // n_lanes, _last_probe(probes, token), token % n_lanes]
    for doc in range(len(offsets) - 1):
        start, stop = offsets[doc], offsets[doc + 1]
        n_filled += 1 if stop > start else 0
        n_blocks, tokens = len(query.lanes) if stop > start else 0, codes[start:stop]
        if known is not None:
            tokens = listed[: list_known(codes, start, stop, known, listed)]
        for block in range(n_blocks):
            address, to = uint64(scores[block].ctypes.data), uint64(best.ctypes.data)
            for lane in range(n_lanes):
                best[lane] = query.floors[block, lane]
            if n_lanes == FEW_LANES:
                _raise_to_best(tokens, address, uint16(query.lanes[block]), to)
            else:
                _raise_to_best(tokens, address, uint32(query.lanes[block]), to)
            first = block * n_lanes
            for token in range(first, min(first + n_lanes, n_tokens)):
                sums[token] += min(int64(best[token - first]), int64(missing[token]))
    for token in range(n_tokens if n_filled > 0 else 0):
        missing[token] = sums[token] // n_filled


@borrowing
def drop_probes(
    probes: Int32s, scores: Int16s, missing: Int32s, list_sizes: Int64s, n_postings: int
) -> None:
    """Drop the probes of all query tokens that add least to a score, behind ``n_postings`` postings.

    What a probe adds is its score above what is missing without it. Those that add as much as the last
    one that stays are kept too.

    Args:
        probes: As limit_probes leaves them; -1 is written for each probe that is dropped. The best two
            of a query token stay.
        scores: (n_blocks, n_centroids, n_lanes) int16 centroid scores.
        missing: As impute_missing writes it.
        list_sizes: (n_centroids,) int64, postings of each list.
        n_postings: Postings of all query tokens that are enough.
    """
    n_lanes, least = scores.shape[2], int64(0)
    for bit in range(16, -1, -1):  # the largest bar that leaves enough, bit by bit
        bar, n_left = least + (int64(1) << bit), int64(0)
        for token in range(probes.shape[0]):
            block, lane = token // n_lanes, token % n_lanes
            for centroid in probes[token]:
                if centroid >= 0 and scores[block, centroid, lane] - missing[token] >= bar:
                    n_left += list_sizes[centroid]
        least = bar if n_left >= n_postings else least
    for token in range(probes.shape[0]):
        block, lane = token // n_lanes, token % n_lanes
        for j in range(_FEWEST_LISTS, probes.shape[1]):
            centroid = probes[token, j]
            if centroid >= 0 and scores[block, centroid, lane] - missing[token] < least:
                probes[token, j] = -1


@borrowing
def _raise_to_best(codes: Codes, scores: Address, mask: Mask, best: Address) -> None:
    """Raise (n_lanes,) int16 to the best score of some centroids in each lane."""
    top = best_scores(codes, 0, len(codes), scores, mask, simd.load_i16(best, mask))
    simd.store_i16(best, top)


@borrowing
def _last_probe(probes: Int32s, token: int) -> int:
    """The last centroid that a query token probes."""
    last = probes.shape[1] - 1
    while last > 0 and probes[token, last] < 0:
        last -= 1
    return int(probes[token, last])


@borrowing
def state_form(probes: Int32s, scores: Int16s, missing: Int32s) -> StateForm:
    """How the state of a document is kept in an int32, so that no sum is too large for it.

    Args:
        probes: As gather takes them.
        scores: As gather takes them.
        missing: As gather takes it.
    """
    n_tokens, n_lanes, largest = len(missing), scores.shape[2], int64(0)
    for token in range(n_tokens):
        score = int64(scores[token // n_lanes, probes[token, 0], token % n_lanes])
        largest += score - int64(missing[token])
    turn_bits = _bits(int64(n_tokens + 1))
    return StateForm(turn_bits, max(_bits(largest) + turn_bits - _STATE_BITS, int64(0)))


@borrowing
def _bits(number: int) -> int:
    """How many bits a number has, none of 0."""
    n: int = int64(0)
    while number >> n > 0:
        n += 1
    return n


@compiled
def gather(
    probes: Int32s,
    scores: Int16s,
    missing: Int32s,
    list_offsets: npt.NDArray[np.uint32],
    list_docs: npt.NDArray[np.uint16],
    form: StateForm,
    state: Int32s,
) -> None:
    """Add up, for every document in a probed list, its best probed centroid of each query token.

    A query token without a probed centroid in a document counts as ``missing`` says. Postings of a
    document beyond ``state`` change no other document.

    Args:
        probes: (n_query_tokens, nprobe) int32, best first; behind the first, -1 where there is no
            further one.
        scores: (n_blocks, n_centroids, n_lanes) int16 centroid scores.
        missing: As impute_missing writes it, at most the last probed centroid's score; sums are what
            a document has above it.
        list_offsets: (n_centroids + 1,) uint32 of one block of documents.
        list_docs: (n_postings,) uint16 of the same block.
        form: As state_form returns it.
        state: (n_docs,) int32, written, as form says. 0 beforehand, or all bits of a turn for a
            document to be passed over. With at least BLOCK_DOCS entries it is used as it is, a smaller
            one is copied twice.
    """
    padded = state
    if len(state) < BLOCK_DOCS:
        padded = np.empty(BLOCK_DOCS, np.int32)
        for doc in range(len(state)):
            padded[doc] = state[doc]
    _add_lists(probes, scores, missing, list_offsets, list_docs, form, padded)
    for doc in range(len(state) if len(state) < BLOCK_DOCS else 0):
        state[doc] = padded[doc]


@borrowing
def _add_lists(
    probes: Int32s,
    scores: Int16s,
    missing: Int32s,
    list_offsets: npt.NDArray[np.uint32],
    list_docs: npt.NDArray[np.uint16],
    form: StateForm,
    state: Int32s,
) -> None:
    """Gather into a state with an entry for every uint16, so that no list can lead out of it."""
    n_lanes, n_postings = scores.shape[2], np.uint32(len(list_docs))
    turns = np.int32((1 << form.turn_bits) - 1)
    for token in range(probes.shape[0]):  # lists are short and far apart: one miss each, or two
        for centroid in probes[token]:
            simd.prefetch(uint64(list_offsets.ctypes.data) + uint64(4 * max(centroid, 0)))
    _prefetch_lists(probes[0], list_offsets, list_docs)
    for token in range(probes.shape[0]):
        _prefetch_lists(probes[min(token + 1, probes.shape[0] - 1)], list_offsets, list_docs)
        block, lane, turn = token // n_lanes, token % n_lanes, np.int32(token + 1)
        n_probes = probes.shape[1]
        while n_probes > 1 and probes[token, n_probes - 1] < 0:
            n_probes -= 1
        least = int64(missing[token])
        for j in range(n_probes):
            centroid = probes[token, j]
            gained = (int64(scores[block, centroid, lane]) - least) >> form.shift
            change = np.int32((gained << form.turn_bits) + turn)
            for at in range(list_offsets[centroid], min(list_offsets[centroid + 1], n_postings)):
                doc = list_docs[at]
                before = state[doc]
                last = np.int32(before & turns)
                # without a branch: half of all postings were seen before
                state[doc] = before - last + change if last < turn else before


@borrowing
def _prefetch_lists(
    centroids: Int32s, list_offsets: npt.NDArray[np.uint32], list_docs: npt.NDArray[np.uint16]
) -> None:
    """Ask for the beginnings of the lists of (nprobe,) centroids."""
    address = uint64(list_docs.ctypes.data)
    for centroid in centroids:
        start = uint64(2) * uint64(list_offsets[max(centroid, 0)])
        simd.prefetch(address + start)
        simd.prefetch(address + start + uint64(64))


@borrowing
def collect(form: StateForm, state: Int32s, docs: Int64s, sums: Int32s) -> int:
    """Write the documents that gather reached, ascending, and their sums; returns how many.

    Args:
        form: As gather took it.
        state: As gather wrote it.
        docs: (n_docs,) int64, written.
        sums: (n_docs,) int32, written.
    """
    n, whole, turns = 0, len(state) // 32 * 32, np.int32((1 << form.turn_bits) - 1)
    for first in range(0, whole, 32):
        reached = simd.nonzero_of_32(uint64(state.ctypes.data) + uint64(4 * first))
        while reached != 0:
            doc = first + int64(simd.lowest_bit(reached))
            docs[n], sums[n] = doc, (state[doc] >> form.turn_bits) << form.shift
            n += 1 if state[doc] & turns < turns else 0
            reached &= reached - uint32(1)
    for doc in range(whole, len(state)):
        docs[n], sums[n] = doc, (state[doc] >> form.turn_bits) << form.shift
        n += 1 if 0 < state[doc] & turns < turns else 0
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
    # narrow the range of the n-th largest, at most 1,024 steps a time
    while low < high and n < len(scores):
        shift = int64(0)
        while (high - low) >> shift > 1023:
            shift += 1
        counts = np.zeros(1024, np.int64)
        for score in scores:
            if low <= score <= high:
                counts[(int64(score) - low) >> shift] += 1
        step = int64(1023)
        while counts[step] < wanted:
            wanted -= counts[step]
            step -= 1
        low, high = low + (step << shift), min(high, low + ((step + 1) << shift) - 1)
    positions = np.empty(len(scores), np.int64)
    n_kept = 0
    for i in range(len(scores)):
        positions[n_kept] = i
        n_kept += 1 if scores[i] >= low else 0
    return positions[:n_kept]
