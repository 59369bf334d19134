"""A search of one segment in one call, so that the interpreter and its lock have no part in it.

``colmodern.index.plaid.search`` makes the same steps one by one where several threads share them,
where there are several segments, and where somebody wants to know what each step kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from colmodern.kernels.compressed import empty_near, keep_near, score_compressed
from colmodern.kernels.cpu import (
    ROWS,
    collect,
    find_probes,
    gather,
    keep_best,
    score_by_centroids,
    score_doc_vectors,
)
from colmodern.kernels.final import add_doc_vectors, score_decoded
from colmodern.kernels.jit import compiled
from colmodern.kernels.query import fill_centroid_scores, prepare_query

_BLOCKED = 0xFFFF  # in the state of a document that gather passes over


@compiled
def search_segment(
    query: Any, masks: Any, codec: Any, segment: Any, blocked: Any, budget: Any
) -> Any:
    """All steps: rows of the n_scored best documents, ascending, and (n,) float32 scores.

    query, masks, codec: as prepare_query takes them
    segment: SegmentArrays and budget: SearchBudget
    blocked: (n_docs,) bool of documents to be passed over, or (0,) for none
    """
    tables = prepare_query(query, masks, codec)
    fill_centroid_scores(tables, codec, 0, tables.maxima.shape[1])
    rows, near = find_candidates(
        tables, segment, blocked, budget, tables.refine_slack, tables.rounding
    )
    out = np.empty(len(rows), np.float32)
    score_decoded(
        rows,
        segment.doc_offsets,
        segment.codes,
        segment.gains,
        segment.residuals,
        tables.centroid_scores,
        tables.lanes,
        tables.residual_query,
        tables.refine_slack,
        tables.score_slack,
        tables.rounding,
        near,
        tables.padded,
        codec.centroids,
        codec.centroid_scales,
        codec.codebook,
        np.float32(codec.gain_step),
        out,
    )
    add_doc_vectors(
        rows,
        segment.doc_offsets,
        segment.doc_gains,
        segment.doc_vectors,
        tables.doc_products,
        np.float32(codec.doc_gain_step),
        np.float32(tables.constant),
        out,
    )
    return rows, out


@compiled
def find_candidates(
    query: Any, segment: Any, blocked: Any, budget: Any, slack: Any, margin: int
) -> Any:
    """All steps but the last: the rows, and NearTokens of their tokens.

    query: QueryTables; slack, margin: as score_compressed takes them; the rest as search_segment
    """
    if budget.nprobe > 0:
        rows, scores = _gather(query, segment, blocked, probe(query, budget.nprobe))
        shared = _add_shared(query, segment, rows, scores)
        kept = keep_best(scores, budget.n_gathered)
        rows, shared = _take(rows, kept), _take(shared, kept)
    else:
        rows, scores = _open_rows(segment, blocked)
        shared = _add_shared(query, segment, rows, scores)
    scores = np.empty(len(rows), np.int32)
    score_by_centroids(
        rows,
        segment.doc_offsets,
        segment.codes,
        query.centroid_scores,
        query.lanes,
        query.empty,
        scores,
    )
    _add(scores, shared)
    kept = keep_best(scores, budget.n_candidates)
    rows, shared = _take(rows, kept), _take(shared, kept)
    lengths, scores = np.empty(len(rows), np.int64), np.empty(len(rows), np.int32)
    for i in range(len(rows)):
        lengths[i] = segment.doc_offsets[rows[i] + 1] - segment.doc_offsets[rows[i]]
    near = empty_near(lengths, query.lanes)
    score_compressed(
        rows,
        segment.doc_offsets,
        segment.codes,
        segment.gains,
        segment.residuals,
        query.centroid_scores,
        query.lanes,
        query.residual_query,
        slack,
        query.empty,
        margin,
        near,
        scores,
    )
    _add(scores, shared)
    kept = keep_best(scores, budget.n_scored)
    return _take(rows, kept), keep_near(near, kept)


@compiled
def probe(query: Any, nprobe: int) -> Any:
    """(n_query_tokens, nprobe) int32, the best centroids of each query token; query: QueryTables."""
    n_lanes = query.centroid_scores.shape[2]
    probes = np.empty((query.n_tokens, nprobe), np.int32)
    for block in range(len(query.lanes)):
        part = probes[block * n_lanes : (block + 1) * n_lanes]
        find_probes(query.centroid_scores[block], query.maxima[block], query.lanes[block], part)
    return probes


@compiled
def gather_block(
    query: Any, segment: Any, blocked: Any, probes: Any, block: int, rows: Any, sums: Any
) -> Any:
    """Documents that one block of lists has in probed ones; returns how many.

    query, segment, blocked: as find_candidates takes them; probes: as probe gives them
    rows: int64, ascending, and sums: int32, written, with room for all of the block and one more
    """
    first, last = segment.block_docs[block], segment.block_docs[block + 1]
    room = np.empty(max(last - first, ROWS), np.int64)  # of which no page beyond state is touched
    state = room[: last - first]
    state[:] = 0
    for doc in range(first if len(blocked) else last, last):
        state[doc - first] = _BLOCKED if blocked[doc] else 0
    start, stop = segment.block_starts[block], segment.block_starts[block + 1]
    lists = segment.list_docs[start:stop]
    gather(probes, query.centroid_scores, segment.list_offsets[block], lists, room)
    n = collect(state, rows, sums)
    for i in range(n):
        rows[i] += first
    return n


@compiled
def _gather(query: Any, segment: Any, blocked: Any, probes: Any) -> Any:
    """Rows of the documents in probed lists, ascending, and their sums."""
    n_docs, n = len(segment.doc_offsets) - 1, 0
    rows, sums = np.empty(n_docs + 1, np.int64), np.empty(n_docs + 1, np.int32)
    for block in range(len(segment.list_offsets)):
        n += gather_block(query, segment, blocked, probes, block, rows[n:], sums[n:])
    return rows[:n], sums[:n]


@compiled
def _open_rows(segment: Any, blocked: Any) -> Any:
    """Rows of all documents that are not blocked, and zeros."""
    n_docs, n = len(segment.doc_offsets) - 1, 0
    rows, sums = np.empty(n_docs, np.int64), np.zeros(n_docs, np.int32)
    for row in range(n_docs):
        rows[n] = row
        n += 1 if len(blocked) == 0 or not blocked[row] else 0
    return rows[:n], sums[:n]


@compiled
def _add_shared(query: Any, segment: Any, rows: Any, scores: Any) -> Any:
    """(n,) int32, what the vectors of documents add, in units; added to scores."""
    shared = np.empty(len(rows), np.int32)
    score_doc_vectors(
        rows, segment.doc_gains, segment.doc_vectors, query.doc_table, query.doc_factors, shared
    )
    _add(scores, shared)
    return shared


# loops where NumPy has expressions: numba takes seconds to compile those


@compiled
def _add(scores: Any, more: Any) -> None:
    for i in range(len(scores)):
        scores[i] += more[i]


@compiled
def _take(values: Any, places: Any) -> Any:
    taken = np.empty(len(places), values.dtype)
    for i in range(len(places)):
        taken[i] = values[places[i]]
    return taken
