"""Collecting what a run's report shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from colmodern.evaluation.measures import Evaluation
from colmodern.evaluation.significance import Estimate, estimate
from colmodern.files import write_text
from colmodern.passages import PassageHit
from colmodern.pipeline.evaluate.explain import Explain
from colmodern.pipeline.losses import losses_by_stage
from colmodern.pipeline.result import EvalResult, first_stage_seconds
from colmodern.report.run_page import (
    FidelitySummary,
    Figure,
    HardQuery,
    LossEntry,
    QueryDoc,
    Report,
    render,
)
from colmodern.types import Dataset, Document, ScoredDoc

_HARD_QUERIES = 10
_EXPLAINED = 3  # hard queries with heat maps
_RESULTS_SHOWN = 3
_RELEVANT_SHOWN = 3
_LOSSES_SHOWN = 50
_NO_DOCUMENT = "(judged, but not in the corpus)"
# facts that a run has only where its encoder splits or pools, or its judgments are not whole
_SAID = {
    "judgments_of_unknown_documents": "judged, not in the corpus",
    "judged_queries_left_out": "judged queries without text",
    "split_documents": "split documents",
    "windows": "windows",
    "passages": "passages",
    "pool_factor": "pool factor",
    "tokens_before_pooling": "tokens before pooling",
}

Results = Mapping[str, Sequence[ScoredDoc]]


def write_report(
    path: Path,
    result: EvalResult,
    dataset: Dataset,
    run: Results,
    environment: dict[str, object],
    explain: Explain | None,
) -> None:
    """Write the HTML page of a run; reads the corpus once more for the texts it shows."""
    write_text(path, render(_report(result, dataset, run, environment, explain)))


def headline(result: EvalResult) -> list[Figure]:
    """The figures that stand for a run: also the table in the terminal."""
    facts, timings, fidelity = result.facts, result.timings, result.fidelity
    exact = {} if fidelity is None else fidelity.exact.mean
    measures = [
        Figure(name, f"{value:.4f}", f"{exact[name]:.4f}" if exact else None)
        for name, value in result.evaluation.mean.items()
    ]
    overlaps = {} if fidelity is None else fidelity.overlap
    searched = [f"{_searches_per_second(result):,.1f}"]
    if "exact search" in timings:
        searched.append(f"{timings['exact search'].per_second:,.1f}")
    index = facts.get("index", {"bytes_per_token": {}})
    sizes = [index["bytes_per_token"].get("total"), facts["bytes_per_token"]]
    kept = [f"{size:,.1f}" for size in sizes if size is not None]
    encoding = timings.get("encode documents")  # none where a search reads texts alone
    documents = [
        Figure("documents / s", f"{encoding.per_second if encoding else 0:,.1f}"),
        Figure("bytes / token", *(kept if fidelity else kept[:1])),
        Figure("truncated documents", f"{facts['truncated_documents']:,}"),
        Figure("of all tokens cut", f"{facts['cut_tokens_share']:.1%}"),
    ]
    queries = [
        Figure("truncated queries", f"{facts.get('truncated_queries', 0):,}"),
        Figure("of query tokens cut", f"{facts.get('cut_query_tokens_share', 0):.1%}"),
    ]
    return [
        *measures,
        *(Figure(name, f"{value:.4f}") for name, value in overlaps.items()),
        *(Figure(f"recall of {stage.name}", f"{stage.recall:.4f}") for stage in result.stages[:-1]),
        Figure("queries / s", *searched),
        *(documents if facts["tokens"] else []),
        *(queries if "truncated_queries" in facts else []),
        *(Figure(_SAID[key], f"{facts[key]:,}") for key in _SAID if key in facts),
    ]


def _searches_per_second(result: EvalResult) -> float:
    """Queries of a second, each with all searches that its results come from."""
    last = result.timings["search"]
    before = first_stage_seconds(result.timings, [stage.name for stage in result.stages[:-1]])
    seconds = last.seconds + last.items * before
    return last.items / seconds if seconds else 0.0


def _report(
    result: EvalResult,
    dataset: Dataset,
    run: Results,
    environment: dict[str, object],
    explain: Explain | None,
) -> Report:
    measure = next(iter(result.evaluation.mean))
    values = {query: row[measure] for query, row in result.evaluation.per_query.items()}
    first_hit = {query: _first_hit(run[query], dataset.qrels[query]) for query in values}
    hardest = sorted(values, key=lambda query: (values[query], -first_hit[query], query))
    hardest = hardest[:_HARD_QUERIES]
    shown = {query: _shown_ids(run[query], dataset.qrels[query]) for query in hardest}
    documents = _documents_of(dataset, {doc_id for ids in shown.values() for doc_id in ids})
    facts = result.facts
    return Report(
        title=f"{result.config.name}: {measure} {result.evaluation.mean[measure]:.4f}",
        subtitle=(
            f"{dataset.description}; {facts['documents']:,} documents, {facts['queries']:,} queries, "
            + (
                f"{facts['tokens']:,} token embeddings of {facts['dim']} dimensions"
                if result.config.needs_model
                else "no model"
            )
        ),
        tiles=headline(result),
        measure=measure,
        values=list(values.values()),
        hardest=[
            HardQuery(
                query,
                dataset.queries[query],
                values[query],
                _documents(shown[query], run[query], dataset.qrels[query], documents),
                [
                    (role, explain(query, documents[doc_id]))
                    for role, doc_id in _contrast(shown[query], run[query], dataset.qrels[query])
                    if explain is not None and doc_id in documents and number < _EXPLAINED
                ],
            )
            for number, query in enumerate(hardest)
        ],
        timings=[
            (
                name,
                timing.seconds,
                f"{timing.per_second:,.1f} {timing.unit}/s",
                "reused from an earlier run" if timing.reused else "",
            )
            for name, timing in result.timings.items()
        ],
        index_parts=_index_parts(facts),
        estimates=_estimates(result.evaluation),
        fidelity=_fidelity(result, dataset),
        stages=result.stages,
        memory=_memory(facts),
        recipe={
            "config": result.config.model_dump(mode="json", exclude=result.config.unread),
            "environment": _without_repetition(environment),
        },
    )


def _estimates(evaluation: Evaluation) -> dict[str, Estimate]:
    return {
        name: estimate([np.array([row[name] for row in evaluation.per_query.values()])])
        for name in evaluation.mean
    }


def _fidelity(result: EvalResult, dataset: Dataset) -> FidelitySummary | None:
    if result.fidelity is None:
        return None
    lost = [
        LossEntry(
            dataset.queries[loss.document.query_id],
            loss.document.doc_id,
            loss.document.exact_rank,
            loss.document.rank,
            loss.stage,
            loss.reason,
        )
        for loss in result.losses[:_LOSSES_SHOWN]
    ]
    return FidelitySummary(
        result.fidelity.estimates, losses_by_stage(result.losses, result.loss_stages), lost
    )


def _memory(facts: Mapping[str, Any]) -> str:
    """What the process needed; nothing where the system does not say."""
    if facts["peak_memory_mb"] is None:
        return ""
    return (
        f"This process needed at most {facts['peak_memory_mb']:,} MB of memory; the stages that it "
        "reused are not in it."
    )


def _index_parts(facts: Mapping[str, Any]) -> list[tuple[str, int, float]]:
    """Name, bytes and bytes per token of each part of a compressed index."""
    if "index" not in facts:
        return []
    a_token = facts["index"]["bytes_per_token"]
    return [(name, size, a_token[name]) for name, size in facts["index"]["bytes"].items()]


def _without_repetition(environment: Mapping[str, Any]) -> dict[str, object]:
    """The environment, and of the stages' own only what is different in it."""
    different = {
        stage: {k: v for k, v in made_in.items() if k != "command" and v != environment[k]}
        for stage, made_in in environment["stages"].items()
    }
    return {**environment, "stages": {stage: d for stage, d in different.items() if d}}


def _first_hit(results: Sequence[ScoredDoc], grades: Mapping[str, int]) -> int:
    """Rank of the best-placed relevant document; past the end when none was found."""
    ranks = (rank for rank, result in enumerate(results, 1) if grades.get(result.doc_id, 0) > 0)
    return next(ranks, len(results) + 1)


def _shown_ids(results: Sequence[ScoredDoc], grades: Mapping[str, int]) -> list[str]:
    relevant = [doc_id for doc_id, grade in grades.items() if grade > 0][:_RELEVANT_SHOWN]
    return list(dict.fromkeys([*relevant, *(r.doc_id for r in results[:_RESULTS_SHOWN])]))


def _documents(
    doc_ids: Sequence[str],
    results: Sequence[ScoredDoc],
    grades: Mapping[str, int],
    corpus: Mapping[str, Document],
) -> list[QueryDoc]:
    ranked = {result.doc_id: (rank, result.score) for rank, result in enumerate(results, 1)}
    passages = {hit.doc_id: hit.passage for hit in results if isinstance(hit, PassageHit)}
    documents = []
    for doc_id in doc_ids:
        rank, score = ranked.get(doc_id, (None, None))
        text = _NO_DOCUMENT
        if doc_id in corpus:
            text = f"{corpus[doc_id].title}\n{corpus[doc_id].text}".strip()
        passage = passages.get(doc_id)
        documents.append(QueryDoc(doc_id, text, rank, score, grades.get(doc_id), passage))
    return sorted(documents, key=lambda document: document.rank or 10**9)


def _contrast(
    doc_ids: Sequence[str], results: Sequence[ScoredDoc], grades: Mapping[str, int]
) -> list[tuple[str, str]]:
    """The best relevant document and the irrelevant one that the search ranked highest."""
    relevant = [doc_id for doc_id in doc_ids if grades.get(doc_id, 0) > 0]
    rank = {result.doc_id: rank for rank, result in enumerate(results, 1)}
    best = sorted(relevant, key=lambda doc_id: rank.get(doc_id, len(results) + 1))[:1]
    others = [r.doc_id for r in results if grades.get(r.doc_id, 0) <= 0 and r.doc_id in doc_ids]
    return [
        *(("the best relevant document", doc_id) for doc_id in best),
        *(("the first document that is not relevant", doc_id) for doc_id in others[:1]),
    ]


def _documents_of(dataset: Dataset, wanted: set[str]) -> dict[str, Document]:
    return {document.doc_id: document for document in dataset.corpus if document.doc_id in wanted}
