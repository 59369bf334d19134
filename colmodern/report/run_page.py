"""The HTML page of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import NamedTuple

import numpy as np

from colmodern.evaluation.recipe import flat
from colmodern.evaluation.significance import LEVEL, Estimate
from colmodern.evaluation.stages import StageResult
from colmodern.report.explanation_page import ExplanationReport, short_blocks
from colmodern.report.page import folded, histogram, key_values, page, remark, section, table
from colmodern.report.tables import Cell, Table, text_table

_MAX_CHARS = 700  # shown of a document's text
_COMPARED = (
    "Exact: every document scored with the uncompressed embeddings. overlap@k: the share of its best "
    "k documents that are among the best k here."
)
_FIDELITY = (
    "Against exact search on the same embeddings. tau@k: Kendall's rank correlation of its best k; "
    "score error: mean difference from exact MaxSim; lost: what exact search has more. Intervals: "
    "percentile bootstrap over queries."
)
_STAGES = (
    "Recall: share of a query's relevant documents that are among all results of the stage. Lost: relevant "
    "documents that reached the stage and are not among its results; the last stage is reached by those "
    "that an earlier one kept."
)
_LOST = "Relevant documents that exact search has among its best k and this search has not."


class Figure(NamedTuple):
    """A headline number of a run, as text."""

    label: str
    value: str
    exact: str | None = None  # the number of exact search, where it ran beside an index


def figures_table(title: str, shown: Sequence[Figure]) -> Table:
    """A table of figures, one a line, with those of exact search beside them where there are any."""
    is_compared = any(figure.exact is not None for figure in shown)
    if is_compared:
        cells = [(label, value, exact or "") for label, value, exact in shown]
        return text_table(title, ("", "index", "exact"), cells)
    return text_table(title, ("", ""), [(label, value) for label, value, _ in shown])


@dataclass(frozen=True)
class QueryDoc:
    """A document of a hard query."""

    doc_id: str
    text: str
    rank: int | None  # None: not among the results
    score: float | None
    grade: int | None  # None: not judged
    passage: int | None = None  # number of its best passage, where passages rank documents


@dataclass(frozen=True)
class HardQuery:
    """A query with a low value, its first results and the relevant documents that it misses."""

    query_id: str
    text: str
    value: float
    documents: Sequence[QueryDoc]
    explanations: Sequence[tuple[str, ExplanationReport]] = ()  # what a document is, and why


class LossEntry(NamedTuple):
    """A relevant document that the index lost."""

    query: str
    doc_id: str
    exact_rank: int
    rank: int | None
    stage: str
    reason: str


@dataclass(frozen=True)
class FidelitySummary:
    """What an index loses against exact search."""

    estimates: Mapping[str, Estimate]
    by_stage: Mapping[int, Mapping[str, int]]  # cutoff -> stage -> relevant documents lost
    lost: Sequence[LossEntry]


@dataclass(frozen=True)
class Report:
    """The content of the page."""

    title: str
    subtitle: str
    tiles: Sequence[Figure]  # the first one is the headline
    measure: str
    values: Sequence[float]  # the measure of each query
    hardest: Sequence[HardQuery]
    timings: Sequence[tuple[str, float, str, str]]  # stage, seconds, rate, remark
    recipe: Mapping[str, object]  # nested
    index_parts: Sequence[tuple[str, int, float]] = ()  # name, bytes, bytes a token
    estimates: Mapping[str, Estimate] = field(default_factory=dict)  # measure -> mean, interval
    fidelity: FidelitySummary | None = None
    memory: str = ""  # a sentence
    stages: Sequence[StageResult] = ()


def render(report: Report) -> str:
    """A report as the text of an HTML page."""
    quartiles = np.percentile(report.values, [25, 50, 75]) if report.values else [0.0] * 3
    spread = ", ".join(f"{value:.3f}" for value in quartiles)
    counted = f"Each bar counts the queries whose {report.measure} lies in its range. Quartiles: {spread}."
    return page(
        report.title,
        report.subtitle,
        f'<section class="tiles">{"".join(_tile(*tile) for tile in enumerate(report.tiles))}</section>',
        remark(_COMPARED) if any(tile.exact is not None for tile in report.tiles) else "",
        _measures(report.estimates),
        _stages(report.stages),
        section(
            f"{report.measure} over queries",
            histogram(report.values, report.measure),
            remark(counted),
        ),
        section(
            "Hardest queries",
            remark(
                f"Lowest {report.measure} first, then by how far down the first relevant document is. "
                "Green: judged relevant; red: relevant, but not among the results."
            ),
            "".join(map(_hard_query, report.hardest)) or "<p>There are none.</p>",
        ),
        *([] if report.fidelity is None else [_fidelity(report.fidelity)]),
        _index(report.index_parts),
        section("Time and memory", table(_timings(report.timings)), remark(report.memory)),
        section(
            "Recipe",
            remark(
                "Everything this score depends on; the same is in config.yaml and environment.json."
            ),
            key_values(flat(report.recipe)),
        ),
    )


def _tile(position: int, figure: Figure) -> str:
    kind = "tile main" if position == 0 else "tile"
    exact = "" if figure.exact is None else f"<small>exact {escape(figure.exact)}</small>"
    return (
        f'<div class="{kind}"><span class="figure">{escape(figure.value)}</span>'
        f"<small>{escape(figure.label)}</small>{exact}</div>"
    )


def _estimate_rows(estimates: Mapping[str, Estimate]) -> list[list[Cell]]:
    return [
        [Cell(name), Cell(_decimal(mean)), Cell(f"{_decimal(low)} to {_decimal(high)}")]
        for name, (mean, low, high) in estimates.items()
    ]


def _decimal(value: float) -> str:
    return f"{round(value, 4) + 0.0:.4f}"  # no -0.0000


def _measures(estimates: Mapping[str, Estimate]) -> str:
    if not estimates:
        return ""
    header = ["measure", "mean", f"{LEVEL:.0%} interval"]
    note = "Interval: percentile bootstrap over queries. Another training of the model is not part of it."
    return section("Measures", table(Table("", header, _estimate_rows(estimates), note=note)))


def _stages(stages: Sequence[StageResult]) -> str:
    if not stages:
        return ""
    measures = list(stages[-1].measures)
    rows = [
        [
            Cell(stage.name),
            Cell(f"{stage.per_query:,.1f}"),
            *(Cell(_decimal(stage.measures[name])) for name in measures),
            Cell(_decimal(stage.recall)),
            Cell(f"{stage.n_kept:,} of {stage.n_relevant:,}"),
            Cell(f"{stage.n_lost:,}"),
        ]
        for stage in stages
    ]
    header = ["stage", "results a query", *measures, "recall", "relevant kept", "lost"]
    return section("Stages of the search", table(Table("", header, rows)), remark(_STAGES))


def _fidelity(shown: FidelitySummary) -> str:
    figures = Table(
        "", ["figure", "mean", f"{LEVEL:.0%} interval"], _estimate_rows(shown.estimates)
    )
    stages = list(next(iter(shown.by_stage.values()), {}))
    rows = [
        [Cell(f"best {cutoff}"), *(Cell(f"{counts[stage]:,}") for stage in stages)]
        for cutoff, counts in shown.by_stage.items()
    ]
    n_lost = max((sum(counts.values()) for counts in shown.by_stage.values()), default=0)
    if n_lost > len(shown.lost):
        summary = f"The first {len(shown.lost)} of {n_lost:,} documents"
    else:
        summary = "The documents" if len(shown.lost) > 1 else "The document"
    return section(
        "What the index loses",
        table(figures),
        remark(_FIDELITY),
        "<h3>Lost relevant documents</h3>",
        table(Table("", ["among", *stages], rows)) if rows else remark("There are none."),
        remark(_LOST) if rows else "",
        folded(summary, *map(_lost, shown.lost)) if shown.lost else "",
    )


def _lost(lost: LossEntry) -> str:
    now = "not among the results" if lost.rank is None else f"rank {lost.rank}"
    ranks = f"exact rank {lost.exact_rank}, now {now}; {lost.stage}: {lost.reason}"
    return (
        f'<div class="doc miss"><code>{escape(lost.doc_id)}</code> <small>{escape(ranks)}</small>'
        f"<p>{escape(lost.query)}</p></div>"
    )


def _index(files: Sequence[tuple[str, int, float]]) -> str:
    rows = [
        [Cell(name), Cell(f"{n_bytes:,}"), Cell(f"{a_token:,.2f}")]
        for name, n_bytes, a_token in files
    ]
    return section("Index", table(Table("", ["part", "bytes", "a token"], rows)))


def _timings(timings: Sequence[tuple[str, float, str, str]]) -> Table:
    rows = [
        [Cell(stage), Cell(f"{seconds:.2f}"), Cell(rate), Cell(note)]
        for stage, seconds, rate, note in timings
    ]
    return Table("", ["stage", "seconds", "rate", ""], rows, words=(3,))


def _hard_query(query: HardQuery) -> str:
    return folded(
        query.text,
        f"<p><small>query <code>{escape(query.query_id)}</code></small></p>",
        *map(_document, query.documents),
        *(
            folded(f"Why? {role}: {shown.explanation.doc_id}", *short_blocks(shown))
            for role, shown in query.explanations
        ),
        value=f"{query.value:.3f}",
    )


def _document(document: QueryDoc) -> str:
    is_relevant = bool(document.grade)
    kind = "hit" if is_relevant and document.rank else "miss" if is_relevant else ""
    where = "not among the results" if document.rank is None else f"rank {document.rank}"
    score = "" if document.score is None else f", score {document.score:.3f}"
    score += "" if document.passage is None else f", passage {document.passage}"
    judged = ", not judged" if document.grade is None else f", grade {document.grade}"
    text = document.text[:_MAX_CHARS] + ("…" if len(document.text) > _MAX_CHARS else "")
    return (
        f'<div class="doc {kind}"><small>{where}{score}{judged}</small> '
        f"<code>{escape(document.doc_id)}</code><p>{escape(text)}</p></div>"
    )
