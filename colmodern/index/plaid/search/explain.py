"""Explanation of why a document is, or is not, among the results."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from colmodern.index.alignment import align, characters_of_tokens
from colmodern.index.plaid.search.located import decoded, expected_doc_index, located
from colmodern.index.plaid.search.request import SearchRequest
from colmodern.index.plaid.search.state import State
from colmodern.index.plaid.search.steps import Trace, search_view
from colmodern.index.plaid.search.view import View
from colmodern.index.spans import LocatedDocument, matched_spans
from colmodern.threads import Threads
from colmodern.types import Explanation, Span, Stage, StageReport

_CURES = {
    Stage.PROBE: "no centroid of its tokens was probed: raise nprobe",
    Stage.GATHER: "its probed centroids scored too low: raise nprobe or n_candidates",
    Stage.PRUNE: "the centroids of its tokens scored too low: raise n_candidates",
    Stage.REFINE: "its compressed tokens scored too low: raise k or nbits, or rescore",
}


def explain(
    query: npt.NDArray[np.float32],
    doc_id: str,
    search: SearchRequest,
    state: State,
    threads: Threads,
    *,
    text: str | None = None,
) -> Explanation:
    """Search for documents and follow one through the stages.

    query: (n_query_tokens, dim) float32, at least one token
    search: the checked search; state: the index as it searches it
    text: the document's text, for passages of whole words

    Raises InputError when the document is not in the index or deleted.
    """
    view, k = search.view, search.k
    doc_index, trace = expected_doc_index(doc_id, view), Trace()
    search_view(query, view, search.budget, threads, trace=trace)
    stages = [_report(name, doc_index, *kept) for name, kept in trace.stages.items()]
    lost_at, lost_by = _loss(stages)
    if lost_at is None:
        stages[-1] = _after_ties(
            stages[-1], doc_id, doc_index, view, *trace.stages[stages[-1].stage]
        )
    rank, exact = stages[-1].rank, f"exact search has it in the first {k}"
    if lost_at is not None and lost_by is not None:
        reason = f"lost before {lost_at.value!r}: {_CURES[lost_by]}, if {exact}"
    elif rank is not None and rank <= k:
        reason = f"result {rank} of {min(k, stages[-1].n_seen)}"
    else:
        reason = (
            f"ranked {rank}, below the {k} results: raise k; or raise nbits or rescore, if {exact}"
        )
    is_result = lost_at is None and rank is not None and rank <= k
    document = None
    if state.snapshot.manifest.has_spans:
        document = located(doc_index, state.snapshot.folder, view)
    values = decoded(doc_index, view) if document is None else document.values
    similarities = query @ values.T
    alignment = align(similarities)
    characters = () if document is None else characters_of_tokens(*document[1:], len(values))
    return Explanation(
        doc_id=doc_id,
        is_result=is_result,
        lost_at=lost_at,
        lost_by=Stage.SCORE if lost_at is None and not is_result else lost_by,
        reason=reason,
        score=float(sum(match.similarity for match in alignment)),
        stages=tuple(stages),
        alignment=alignment,
        characters=tuple(characters[match.doc_token] for match in alignment if characters),
        spans=() if document is None else _spans(query, document, text),
        similarities=similarities,
        token_characters=characters,
    )


def _loss(stages: Sequence[StageReport]) -> tuple[Stage | None, Stage | None]:
    """The first stage that the document did not reach, and the one before, that lost it."""
    before = Stage.PROBE
    for stage in stages:
        if stage.rank is None:
            return stage.stage, before
        before = stage.stage
    return None, None


def _spans(
    query: npt.NDArray[np.float32], document: LocatedDocument, text: str | None
) -> tuple[Span, ...]:
    values, bounds, row_of_token = document
    return tuple(matched_spans(query, values, bounds, row_of_token=row_of_token, text=text))


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


def _report(
    stage: Stage, doc_index: int, docs: npt.NDArray[np.int64], scores: npt.NDArray[np.number]
) -> StageReport:
    position = int(np.searchsorted(docs, doc_index))
    if position == len(docs) or docs[position] != doc_index:
        return StageReport(stage, len(docs), None, None)
    rank = int((scores > scores[position]).sum()) + 1
    return StageReport(stage, len(docs), rank, float(scores[position]))
