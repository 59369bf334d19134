"""A search by the stages of ``steps.py`` in NumPy, for use while the compiled kernels are not ready.

Integers of the stages equal those of the kernels, so the documents are the same; only the sums of
the last, float32 scores may differ, by ``TOLERANCE`` times the score.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from colmodern.index.plaid.disk.segment import Segment
from colmodern.index.plaid.search.view import DocIndex, View
from colmodern.kernels.portable import stages
from colmodern.kernels.portable.query import LANES, PreparedQuery, prepare_query
from colmodern.kernels.types import BY_PARTS, SearchBudget

TOLERANCE = 1e-5  # relative to a score: float32 sums have another order

_PRUNED_TOKENS, _REFINED_TOKENS = 2_000_000, 200_000

Number = TypeVar("Number", bound=np.generic)
Floats = npt.NDArray[np.float32]
Scores = npt.NDArray[np.int32]  # integers, in the steps of a query
Slack = npt.NDArray[np.int32]
Addresses = Callable[[DocIndex], tuple[npt.NDArray[np.uint64], bool]]

_ALL_SLACK = np.full(256, 32_767, np.int32)


def is_quick(view: View, budget: SearchBudget, n_query_tokens: int) -> bool:
    """Whether a search in NumPy takes less than a second, going by the tokens that it looks at."""
    n_docs = sum(segment.n_docs for segment in view.segments)
    n_tokens = sum(segment.n_tokens for segment in view.segments)
    per_doc = n_tokens / max(1, n_docs) * -(-n_query_tokens // LANES)
    n_gathered = budget.n_gathered if budget.nprobe else view.n_open
    n_pruned = n_gathered if budget.n_candidates < view.n_open else 0
    n_refined = min(budget.n_candidates, view.n_open)
    return n_pruned * per_doc <= _PRUNED_TOKENS and n_refined * per_doc <= _REFINED_TOKENS


def search_portably(
    query: Floats,
    view: View,
    budget: SearchBudget,
    *,
    stored: Addresses | None = None,
    added: DocIndex | None = None,
) -> tuple[DocIndex, Floats]:
    """The n_scored best documents, ascending by doc_index, and their scores.

    Args:
        query: (n_tokens, dim) float32, at least one token.
        view: The documents that may be returned.
        budget: How much is looked at.
        stored: From doc_index values to the addresses of their embeddings, to be scored with those.
        added: Documents of the view, ascending, that are pruned with the gathered ones.
    """
    prepared = prepare_query(query, view.codec.arrays, budget.n_clusters)
    slacks = (
        (_ALL_SLACK,) * 2 if budget.exhaustive else (prepared.refine_slack, prepared.score_slack)
    )
    candidates, shared = _candidates(prepared, view, budget, added)
    if budget.n_scored < len(candidates):
        scores = _on_segments(
            view,
            candidates,
            np.int32,
            lambda segment, inside, _: stages.score_compressed(
                prepared, segment.arrays, inside, slacks[0]
            ),
        )
        candidates = candidates[stages.keep_best(scores + shared, budget.n_scored)]
    return candidates, _score(prepared, view, candidates, slacks, stored)


def _candidates(
    query: PreparedQuery, view: View, budget: SearchBudget, added: DocIndex | None
) -> tuple[DocIndex, Scores]:
    """Documents to be scored with their compressed tokens, and what their vectors add."""

    def shared_of(docs: DocIndex, parts: DocIndex | None = None) -> Scores:
        return _on_segments(
            view,
            docs,
            np.int32,
            lambda segment, inside, _: stages.score_doc_vectors(
                query, segment.arrays, inside, parts
            ),
        )

    if budget.n_candidates >= view.n_open:
        docs = view.open_docs()
        return docs, shared_of(docs)
    if budget.nprobe:
        docs, scores = _gather(query, view, budget)
        if len(docs) >= 2 * BY_PARTS * budget.n_gathered:
            rough = scores + shared_of(docs, query.doc_parts)
            best = stages.keep_best(rough, BY_PARTS * budget.n_gathered)
            docs, scores = docs[best], scores[best]
        shared = shared_of(docs)
        best = stages.keep_best(scores + shared, budget.n_gathered)
        docs, shared = docs[best], shared[best]
        if added is not None:
            docs = np.union1d(docs, added)
            shared = shared_of(docs)
    else:
        docs = view.open_docs()
        shared = shared_of(docs)
    scores = _on_segments(
        view,
        docs,
        np.int32,
        lambda segment, inside, _: stages.score_by_centroids(query, segment.arrays, inside),
    )
    best = stages.keep_best(scores + shared, budget.n_candidates)
    return docs[best], shared[best]


def _gather(query: PreparedQuery, view: View, budget: SearchBudget) -> tuple[DocIndex, Scores]:
    """Documents in the probed lists of every segment, and their sums."""
    probes = stages.probe(query, budget.nprobe)
    if budget.n_postings:
        probes = stages.limit_probes(probes, view.list_sizes, budget.n_postings)
    missing = stages.impute_missing(query, view.sample, probes)
    if budget.n_shared:
        n_postings = budget.n_shared * len(missing)
        probes = stages.drop_probes(query, probes, missing, view.list_sizes, n_postings)
    docs, sums = [np.empty(0, np.int64)], [np.empty(0, np.int32)]
    for segment, base, blocked in zip(view.segments, view.bases, view.blocked, strict=False):
        inside, scores = stages.gather(query, segment.arrays, blocked, probes, missing)
        docs.append(inside + base)
        sums.append(scores)
    return np.concatenate(docs), np.concatenate(sums)


def _score(
    query: PreparedQuery,
    view: View,
    docs: DocIndex,
    slacks: tuple[Slack, Slack],
    stored: Addresses | None,
) -> Floats:
    """Float32 scores of the last candidates, from decoded tokens or stored embeddings."""
    codec = view.codec.arrays
    addresses, is_half = stored(docs) if stored else (None, False)

    def score(segment: Segment, inside: DocIndex, positions: slice) -> Floats:
        arrays = segment.arrays
        if addresses is not None:
            here = addresses[positions]
            begins = arrays.doc_offsets[inside]
            return stages.score_decoded(
                query, arrays, inside, *slacks, query.loss,
                lambda tokens, at: stages.read_tokens(
                    here[at], tokens - begins[at], len(codec.mean), is_half=is_half
                ),
            )  # fmt: skip
        scores = stages.score_decoded(
            query, arrays, inside, *slacks, query.rounding,
            lambda tokens, _: stages.decode_tokens(codec, arrays, tokens),
        )  # fmt: skip
        stages.add_doc_vectors(query, arrays, inside, codec.doc_gain_step, scores)
        return scores

    return _on_segments(view, docs, np.float32, score)


def _on_segments(
    view: View,
    docs: DocIndex,
    dtype: type[Number],
    score: Callable[[Segment, DocIndex, slice], npt.NDArray[Number]],
) -> npt.NDArray[Number]:
    """Scores of documents, worked out segment by segment."""
    out = np.empty(len(docs), dtype)
    for segment, positions, inside in view.by_segment(docs):
        out[positions] = score(segment, inside, positions)
    return out
