"""Collecting what the page of a comparison shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from colmodern.evaluation.comparison import Change, Comparison
from colmodern.pipeline.compare.stored_run import StoredRun, System
from colmodern.pipeline.open.artifacts import snippets
from colmodern.report.comparison_page import ChangedDoc, ComparisonPage, render_comparison
from colmodern.report.tables import Cell, Table

_RESULTS_SHOWN = 3
_RELEVANT_SHOWN = 3


def comparison_page(comparison: Comparison, systems: Sequence[System]) -> str:
    """The HTML page of a comparison; reads each corpus once for the texts it shows.

    Args:
        comparison: The runs compared.
        systems: The systems that were compared, in the same order.
    """
    runs = {
        system.name: [_run_of(system, data) for data in comparison.datasets] for system in systems
    }
    pairs = [_pair(comparison, change, runs) for change in comparison.changes]
    ids = [
        _shown_ids(change.query_id, *pair)
        for change, pair in zip(comparison.changes, pairs, strict=True)
    ]
    texts: dict[str, dict[str, str]] = {}
    for position, data in enumerate(comparison.datasets):
        same = [of[position] for of in runs.values()]
        folder = next((run.folder for run in same if not run.is_trec), None)
        shown = zip(comparison.changes, ids, strict=True)
        wanted = {
            doc_id for change, doc_ids in shown if change.dataset == data for doc_id in doc_ids
        }
        texts[data] = snippets(folder, wanted) if wanted and folder is not None else {}
    documents = [
        _documents(change, doc_ids, *pair, texts[change.dataset])
        for change, doc_ids, pair in zip(comparison.changes, ids, pairs, strict=True)
    ]
    return render_comparison(ComparisonPage(comparison, documents, _costs(runs), _fidelity(runs)))


def _run_of(system: System, data: str) -> StoredRun:
    # single runs were compared whatever their sets are called
    return system.runs[data] if data in system.runs else next(iter(system.runs.values()))


def _pair(
    comparison: Comparison, change: Change, runs: Mapping[str, Sequence[StoredRun]]
) -> tuple[StoredRun, StoredRun]:
    position = comparison.datasets.index(change.dataset)
    return runs[comparison.baseline][position], runs[change.run][position]


def _shown_ids(query_id: str, baseline: StoredRun, run: StoredRun) -> list[str]:
    """Relevant documents, then the first results of both."""
    grades = baseline.qrels[query_id]
    relevant = [doc_id for doc_id, grade in grades.items() if grade > 0][:_RELEVANT_SHOWN]
    retrieved = [
        doc_id
        for stored_run in (baseline, run)
        for doc_id, _ in stored_run.run.get(query_id, ())[:_RESULTS_SHOWN]
    ]
    return list(dict.fromkeys([*relevant, *retrieved]))


def _documents(
    change: Change,
    doc_ids: Sequence[str],
    baseline: StoredRun,
    run: StoredRun,
    texts: Mapping[str, str],
) -> list[ChangedDoc]:
    before, after = (
        {
            doc_id: rank
            for rank, (doc_id, _) in enumerate(stored_run.run.get(change.query_id, ()), 1)
        }
        for stored_run in (baseline, run)
    )
    grades = baseline.qrels[change.query_id]
    documents = [
        ChangedDoc(
            doc_id, texts.get(doc_id, ""), before.get(doc_id), after.get(doc_id), grades.get(doc_id)
        )
        for doc_id in doc_ids
    ]
    last = 10**9
    return sorted(documents, key=lambda d: min(d.rank or last, d.baseline_rank or last))


def _costs(runs: Mapping[str, Sequence[StoredRun]]) -> Table:
    """Time, size and memory of the runs, summed over data sets; memory is the largest."""
    runs = {name: of for name, of in runs.items() if not any(run.is_trec for run in of)}
    if not runs:
        return Table("", [""], [], note="TREC runs do not say what they cost.")
    stages = dict.fromkeys(name for of in runs.values() for run in of for name in run.timings)
    rows = [
        [Cell(f"{stage}, s"), *(Cell(_seconds(of, stage)) for of in runs.values())]
        for stage in stages
    ]
    rows.append(
        [
            Cell("searched MB"),
            *(Cell(f"{sum(map(_searched_bytes, of)) / 1e6:,.1f}") for of in runs.values()),
        ]
    )
    peaks = {
        name: [run.metrics.get("peak_memory_mb") or 0 for run in of] for name, of in runs.items()
    }
    if any(map(any, peaks.values())):
        rows.append([Cell("peak memory, MB"), *(Cell(f"{max(of):,}") for of in peaks.values())])
    note = (
        "Seconds of each stage when it ran, which may have been in an earlier run on another machine; "
        "peak memory: of the process that wrote the run, without the stages that it reused."
    )
    return Table("", ["", *runs], rows, note=note)


def _seconds(runs: Sequence[StoredRun], stage: str) -> str:
    seconds = [run.timings[stage]["seconds"] for run in runs if stage in run.timings]
    return f"{sum(seconds):,.2f}" if seconds else "–"


def _searched_bytes(run: StoredRun) -> int:
    metrics = run.metrics
    return int(metrics["index"]["bytes"]["total"] if "index" in metrics else metrics["bytes"])


def _fidelity(runs: Mapping[str, Sequence[StoredRun]]) -> Table:
    """Means with their intervals, of runs of one data set that were compared with exact search."""
    estimates_of = {
        name: of[0].fidelity["estimates"] if len(of) == 1 and of[0].fidelity else {}
        for name, of in runs.items()
    }
    names = dict.fromkeys(name for estimates in estimates_of.values() for name in estimates)
    rows = [
        [Cell(name), *(Cell(_estimate(estimates.get(name))) for estimates in estimates_of.values())]
        for name in names
    ]
    return Table("", ["against exact search", *runs], rows)


def _estimate(estimate: Mapping[str, float] | None) -> str:
    if estimate is None:
        return "–"
    return f"{estimate['mean']:.4f} ({estimate['low']:.4f} to {estimate['high']:.4f})"
