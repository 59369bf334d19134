"""Explanation of why a document is, or is not, among the results."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from colmodern.checks import shown
from colmodern.codecs.codec import CompressedDocuments
from colmodern.errors import InputError
from colmodern.index.plaid.search.steps import Trace, search_view
from colmodern.index.plaid.search.view import View
from colmodern.kernels.types import SearchBudget
from colmodern.threads import Threads
from colmodern.types import Explanation, Stage, StageReport, TokenMatch

_CURES = {
    Stage.PROBE: "no centroid of its tokens was probed: raise nprobe",
    Stage.GATHER: "its probed centroids scored too low: raise nprobe or n_candidates",
    Stage.PRUNE: "the centroids of its tokens scored too low: raise n_candidates",
    Stage.REFINE: "its compressed tokens scored too low: raise k",
}


def explain(
    query: npt.NDArray[np.float32],
    doc_id: str,
    k: int,
    view: View,
    budget: SearchBudget,
    threads: Threads,
) -> Explanation:
    """Search for ``k`` documents and follow one through the stages.

    query: (n_query_tokens, dim) float32, at least one token

    Raises InputError when the document is not in the index or deleted.
    """
    if not isinstance(doc_id, str):
        raise InputError(f"doc_id={shown(doc_id)}; pass one id, which is a string")
    doc_index, trace = doc_index_of(doc_id, view), Trace()
    if doc_index is None:
        raise InputError(f"doc_id={shown(doc_id)} is not in the index; check the id")
    search_view(query, view, budget, threads, trace=trace)
    stages = [_report(name, doc_index, *kept) for name, kept in trace.stages.items()]
    lost_at, lost_by = _loss(stages)
    if lost_at is None:
        stages[-1] = _after_ties(
            stages[-1], doc_id, doc_index, view, *trace.stages[stages[-1].stage]
        )
    rank = stages[-1].rank
    if lost_at is not None and lost_by is not None:
        reason = f"lost before {lost_at.value!r}: {_CURES[lost_by]}"
    elif rank is not None and rank <= k:
        reason = f"result {rank} of {k}"
    else:
        reason = f"ranked {rank}, below the {k} results"
    is_result = lost_at is None and rank is not None and rank <= k
    alignment = _align(query, _decoded(doc_index, view))
    return Explanation(
        doc_id=doc_id,
        is_result=is_result,
        lost_at=lost_at,
        lost_by=Stage.SCORE if lost_at is None and not is_result else lost_by,
        reason=reason,
        score=float(sum(match.similarity for match in alignment)),
        stages=tuple(stages),
        alignment=alignment,
    )


def _loss(stages: Sequence[StageReport]) -> tuple[Stage | None, Stage | None]:
    """The first stage that the document did not reach, and the one before, that lost it."""
    before = Stage.PROBE
    for stage in stages:
        if stage.rank is None:
            return stage.stage, before
        before = stage.stage
    return None, None


def _align(
    query: npt.NDArray[np.float32], document: npt.NDArray[np.float32]
) -> tuple[TokenMatch, ...]:
    """The best document token of each query token; none for a document without tokens."""
    if len(document) == 0:
        return ()
    similarities = query @ document.T
    best = similarities.argmax(axis=1)
    return tuple(
        TokenMatch(i, int(token), float(similarities[i, token])) for i, token in enumerate(best)
    )


def _after_ties(
    report: StageReport,
    doc_id: str,
    doc_index: int,
    view: View,
    docs: npt.NDArray[np.int64],
    scores: npt.NDArray[np.number],
) -> StageReport:
    """The rank that results have, where of equal scores the smaller id comes first."""
    equal = docs[scores == scores[int(np.searchsorted(docs, doc_index))]]
    before = sum(other < doc_id for other in view.doc_ids(equal))
    return report._replace(rank=(report.rank or 1) + before)


def doc_index_of(doc_id: str, view: View) -> int | None:
    """The doc_index of a document that a search may return; None where there is no such document."""
    for segment, base, blocked in zip(view.segments, view.bases, view.blocked, strict=False):
        doc = int(segment.ids.docs_of([doc_id])[0])
        if doc >= 0 and not (blocked is not None and blocked[doc]):
            return int(base) + doc
    return None


def _report(
    stage: Stage, doc_index: int, docs: npt.NDArray[np.int64], scores: npt.NDArray[np.number]
) -> StageReport:
    position = int(np.searchsorted(docs, doc_index))
    if position == len(docs) or docs[position] != doc_index:
        return StageReport(stage, len(docs), None, None)
    rank = int((scores > scores[position]).sum()) + 1
    return StageReport(stage, len(docs), rank, float(scores[position]))


def _decoded(doc_index: int, view: View) -> npt.NDArray[np.float32]:
    ((segment, _, (doc,)),) = view.by_segment(np.array([doc_index]))
    start, stop = segment.arrays.doc_offsets[doc : doc + 2].tolist()
    encoded = CompressedDocuments(
        segment.arrays.codes[start:stop],
        segment.arrays.gains[start:stop],
        segment.arrays.residuals[start:stop],
        segment.arrays.doc_gains[doc : doc + 1],
        segment.arrays.doc_vectors[doc : doc + 1],
    )
    return view.codec.codec.decode(encoded, np.array([stop - start]))
