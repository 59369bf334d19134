"""The HTML page of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

import numpy as np

from colmodern.evaluation.comparison import Change, Comparison
from colmodern.report import comparison_tables as view
from colmodern.report.page import difference_curve, folded, page, remark, section, table
from colmodern.report.tables import Table


class ChangedDoc(NamedTuple):
    """A document of a query that changed; ranks are None where it is not among the results."""

    doc_id: str
    text: str
    baseline_rank: int | None
    rank: int | None
    grade: int | None  # None: not judged


@dataclass(frozen=True)
class ComparisonPage:
    """What the page shows beside the comparison itself."""

    comparison: Comparison
    documents: Sequence[Sequence[ChangedDoc]]  # one sequence for each of comparison.changes
    costs: Table  # time, size and memory
    fidelity: Table  # for the runs that searched an index; no rows where none did


def render_comparison(shown: ComparisonPage) -> str:
    """A comparison as the text of an HTML page."""
    comparison = shown.comparison
    sets, measure = ", ".join(comparison.datasets), comparison.measures[0]
    return page(
        f"{', '.join(comparison.runs)} against {comparison.baseline}",
        f"{sets}; {comparison.differences[0].queries:,} queries"
        if len(comparison.datasets) == 1
        else f"{len(comparison.datasets)} data sets: {sets}",
        *map(remark, comparison.notes),
        *(section(scores.title, table(scores)) for scores in view.score_tables(comparison)),
        section(f"Differences from {comparison.baseline}", table(view.test_table(comparison))),
        section(
            f"{measure} over queries",
            *_curves(comparison),
            remark("Each query's difference from the baseline, from the best to the worst."),
        ),
        section(
            f"Queries whose {measure} changed most",
            remark("Green: judged relevant; red: relevant, but not among the run's results."),
            *_all_changed(shown),
            remark(view.change_table(comparison).note),
        ),
        section("What the index loses", table(shown.fidelity)),
        section("Time, size and memory", table(shown.costs)),
        section("Recipes", table(view.recipe_table(comparison))),
    )


def _curves(comparison: Comparison) -> list[str]:
    """One curve a run: its differences by the first measure, all data sets together."""
    measure, baseline = comparison.measures[0], comparison.values[comparison.baseline]
    curves = []
    for run in comparison.runs:
        differences = [
            comparison.values[run][data][query_id][measure] - values[measure]
            for data, per_query in baseline.items()
            for query_id, values in per_query.items()
        ]
        heading = f"<h3>{escape(run)}</h3>" if len(comparison.runs) > 1 else ""
        curves.append(heading + difference_curve(np.array(differences), f"{measure} of {run}"))
    return curves


def _all_changed(shown: ComparisonPage) -> list[str]:
    comparison = shown.comparison
    pairs = list(zip(comparison.changes, shown.documents, strict=True))
    blocks = []
    for run in comparison.runs:
        blocks += [f"<h3>{escape(run)}</h3>"] if len(comparison.runs) > 1 else []
        blocks += [
            _changed(comparison, change, docs) for change, docs in pairs if change.run == run
        ]
    return blocks


def _changed(comparison: Comparison, change: Change, documents: Sequence[ChangedDoc]) -> str:
    text = comparison.queries[change.dataset].get(change.query_id) or change.query_id
    dataset = f"{escape(change.dataset)}, " if len(comparison.datasets) > 1 else ""
    return folded(
        text,
        f"<p><small>{dataset}query <code>{escape(change.query_id)}</code>: "
        f"{change.baseline:.4f}, then {change.value:.4f}</small></p>",
        *map(_document, documents),
        value=f"{change.value - change.baseline:+.3f}",
    )


def _document(document: ChangedDoc) -> str:
    is_relevant = bool(document.grade)
    kind = "hit" if is_relevant and document.rank else "miss" if is_relevant else ""
    ranks = " → ".join(
        "not found" if rank is None else f"rank {rank}"
        for rank in (document.baseline_rank, document.rank)
    )
    judged = "not judged" if document.grade is None else f"grade {document.grade}"
    return (
        f'<div class="doc {kind}"><small>{ranks}, {judged}</small> '
        f"<code>{escape(document.doc_id)}</code><p>{escape(document.text)}</p></div>"
    )
