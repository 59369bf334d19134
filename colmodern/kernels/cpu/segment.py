"""A search of one segment in one call, so that the interpreter and its lock have no share in it.

``colmodern.index.plaid.search.steps`` makes the same steps one by one where several threads share them,
where there are several segments, and where a caller wants to know which documents each step kept.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from colmodern.kernels.cpu.clusters import score_unknown
from colmodern.kernels.cpu.gather import (
    BLOCK_DOCS,
    collect,
    drop_probes,
    gather,
    impute_missing,
    keep_best,
    limit_probes,
    state_form,
)
from colmodern.kernels.cpu.jit import borrowing, compiled
from colmodern.kernels.cpu.probe import find_probes
from colmodern.kernels.cpu.prune import (
    estimate_doc_vectors,
    score_by_centroids,
    score_doc_vectors,
)
from colmodern.kernels.cpu.query import fill_centroid_scores, prepare_query
from colmodern.kernels.cpu.refine import empty_near, keep_near, score_compressed
from colmodern.kernels.cpu.score import add_doc_vectors, score_decoded
from colmodern.kernels.types import (
    BY_PARTS,
    Bools,
    Bytes,
    CodecArrays,
    Floats,
    Int32s,
    Int64s,
    NearTokens,
    QueryTables,
    SampledDocs,
    SearchBudget,
    SegmentArrays,
)

Number = TypeVar("Number", bound=np.generic)


@compiled
def search_segment(
    query: Floats,
    codec: CodecArrays,
    segment: SegmentArrays,
    blocked: Bools,
    budget: SearchBudget,
    list_sizes: Int64s,
    sample: SampledDocs,
    columns: Bytes,
) -> tuple[Int64s, Floats]:
    """All steps: the n_scored best documents, ascending, and their (n,) float32 scores.

    Args:
        query: (n_query_tokens, dim) float32, at least one token.
        codec: The index's codec.
        segment: The documents.
        blocked: (n_docs,) bool, documents to be passed over; (0,) for none.
        budget: How much to look at.
        list_sizes: As probe takes it.
        sample: As impute_missing takes it.
        columns: As estimate_doc_vectors takes it; (0, 0) where the budget lets through so many
            documents that nothing is estimated.
    """
    tables = prepare_query(query, codec, budget.n_clusters)
    fill_centroid_scores(tables, codec, 0, tables.maxima.shape[1])
    docs, near = find_candidates(
        tables, codec, segment, blocked, budget, list_sizes, sample, columns, tables.rounding
    )
    out = np.empty(len(docs), np.float32)
    score_decoded(docs, segment, tables, codec, tables.rounding, near, out)
    add_doc_vectors(docs, segment, tables, codec, out)
    return docs, out


@compiled
def find_candidates(
    query: QueryTables,
    codec: CodecArrays,
    segment: SegmentArrays,
    blocked: Bools,
    budget: SearchBudget,
    list_sizes: Int64s,
    sample: SampledDocs,
    columns: Bytes,
    margin: int,
) -> tuple[Int64s, NearTokens]:
    """All steps but the last: the documents and their NearTokens.

    Args:
        query: With the scores of its probed centroids.
        codec: The index's codec.
        segment: The documents.
        blocked: As search_segment takes it.
        budget: How much to look at.
        list_sizes: As probe takes it.
        sample: As impute_missing takes it.
        columns: As search_segment takes it.
        margin: As score_compressed takes it.
    """
    if budget.nprobe > 0:
        probes, missing = probe(query, budget, list_sizes), np.empty(query.n_tokens, np.int32)
        impute_missing(probes, query, sample, missing)
        if budget.n_shared > 0:
            n_postings = budget.n_shared * query.n_tokens
            drop_probes(probes, query.centroid_scores, missing, list_sizes, n_postings)
        docs, scores = _gather(query, segment, blocked, probes, missing)
        if len(docs) >= 2 * BY_PARTS * budget.n_gathered:
            best = keep_best(
                _estimate(docs, scores, columns, segment, query), BY_PARTS * budget.n_gathered
            )
            docs, scores = _take(docs, best), _take(scores, best)
        shared = _add_shared(docs, segment, query, scores)
        best = keep_best(scores, budget.n_gathered)
        docs, shared = _take(docs, best), _take(shared, best)
    else:
        docs, scores = _open_docs(segment, blocked)
        shared = _add_shared(docs, segment, query, scores)
    scores = np.empty(len(docs), np.int32)
    score_by_centroids(docs, segment, query, scores)
    _add(scores, shared)
    best = keep_best(scores, budget.n_candidates)
    docs, shared = _take(docs, best), _take(shared, best)
    lengths, scores = np.empty(len(docs), np.int64), np.empty(len(docs), np.int32)
    for i in range(len(docs)):
        lengths[i] = segment.doc_offsets[docs[i] + 1] - segment.doc_offsets[docs[i]]
    score_unknown(docs, segment, codec, query)
    near = empty_near(lengths, query.lanes, query.centroid_scores.shape[2])
    score_compressed(docs, segment, query, margin, near, scores)
    _add(scores, shared)
    best = keep_best(scores, budget.n_scored)
    return _take(docs, best), keep_near(near, best)


@compiled
def probe(query: QueryTables, budget: SearchBudget, list_sizes: Int64s) -> Int32s:
    """(n_query_tokens, nprobe) int32, the best centroids of each query token, then -1.

    Args:
        query: With its centroid_scores.
        budget: Its nprobe and n_postings count.
        list_sizes: (n_centroids,) int64, postings of each list; (0,) where the budget has no bound.
    """
    n_lanes = query.centroid_scores.shape[2]
    probes = np.empty((query.n_tokens, budget.nprobe), np.int32)
    for block in range(len(query.lanes)):
        of_block = probes[block * n_lanes : (block + 1) * n_lanes]
        scores, maxima, mask = query.centroid_scores[block], query.maxima[block], query.lanes[block]
        find_probes(scores, maxima, query.probed, mask, of_block)
    if budget.n_postings > 0:
        limit_probes(probes, list_sizes, budget.n_postings)
    return probes


@compiled
def gather_block(
    query: QueryTables,
    segment: SegmentArrays,
    blocked: Bools,
    probes: Int32s,
    missing: Int32s,
    block: int,
    docs: Int64s,
    sums: Int32s,
) -> int:
    """Write the documents in probed lists of one block of documents; returns how many.

    Args:
        query: With its centroid_scores.
        segment: The documents.
        blocked: As search_segment takes it.
        probes: As probe returns them.
        missing: As impute_missing writes it.
        block: Number of the block of documents.
        docs: int64, written, ascending, with room for all of the block and one more.
        sums: int32 of the same length, written.
    """
    first, last = segment.block_docs[block], segment.block_docs[block + 1]
    form = state_form(probes, query.centroid_scores, missing)
    is_blocked = np.int32((1 << form.turn_bits) - 1)
    padded = np.empty(max(last - first, BLOCK_DOCS), np.int32)  # no page beyond state is touched
    state = padded[: last - first]
    state[:] = 0
    for doc in range(first if len(blocked) else last, last):
        state[doc - first] = is_blocked if blocked[doc] else np.int32(0)
    start, stop = segment.block_starts[block], segment.block_starts[block + 1]
    lists = segment.list_docs[start:stop]
    offsets = segment.list_offsets[block]
    gather(probes, query.centroid_scores, missing, offsets, lists, form, padded)
    n: int = collect(form, state, docs, sums)
    for i in range(n):
        docs[i] += first
    return n


@compiled
def _gather(
    query: QueryTables, segment: SegmentArrays, blocked: Bools, probes: Int32s, missing: Int32s
) -> tuple[Int64s, Int32s]:
    """Documents in probed lists, ascending, and their sums."""
    n_docs, n = len(segment.doc_offsets) - 1, 0
    docs, sums = np.empty(n_docs + 1, np.int64), np.empty(n_docs + 1, np.int32)
    for block in range(len(segment.list_offsets)):
        n += gather_block(query, segment, blocked, probes, missing, block, docs[n:], sums[n:])
    return docs[:n], sums[:n]


@compiled
def _estimate(
    docs: Int64s, sums: Int32s, columns: Bytes, segment: SegmentArrays, query: QueryTables
) -> Int32s:
    """(n,) int32, sums of documents and what the most telling bytes of their vectors add."""
    rough = np.empty(len(docs), np.int32)
    estimate_doc_vectors(docs, columns, segment, query, rough)
    _add(rough, sums)
    return rough


@compiled
def _open_docs(segment: SegmentArrays, blocked: Bools) -> tuple[Int64s, Int32s]:
    """All documents that are not blocked, and zeros."""
    n_docs, n = len(segment.doc_offsets) - 1, 0
    docs, sums = np.empty(n_docs, np.int64), np.zeros(n_docs, np.int32)
    for doc in range(n_docs):
        docs[n] = doc
        n += 1 if len(blocked) == 0 or not blocked[doc] else 0
    return docs[:n], sums[:n]


@compiled
def _add_shared(docs: Int64s, segment: SegmentArrays, query: QueryTables, scores: Int32s) -> Int32s:
    """(n,) int32, what the vectors of documents add, in units; added to scores."""
    shared = np.empty(len(docs), np.int32)
    score_doc_vectors(docs, segment, query, shared)
    _add(scores, shared)
    return shared


# loops where NumPy has expressions: numba takes seconds to compile those


@borrowing
def _add(scores: Int32s, more: Int32s) -> None:
    for i in range(len(scores)):
        scores[i] += more[i]


@compiled
def _take(values: npt.NDArray[Number], positions: Int64s) -> npt.NDArray[Number]:
    taken = np.empty(len(positions), values.dtype)
    for i in range(len(positions)):
        taken[i] = values[positions[i]]
    return taken
