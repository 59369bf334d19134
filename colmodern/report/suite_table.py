"""The table of a suite's scores."""

from __future__ import annotations

from colmodern.evaluation.suite import SuiteTable
from colmodern.report.tables import Table, text_table


def suite_table(suite: SuiteTable) -> Table:
    """A line a data set, a column a model, the average last."""
    measures = {line.measure for line in suite.lines}
    several = len(measures) > 1
    rows = []
    for line in suite.lines:
        label = line.label + (f" (mean of {line.n_parts})" if line.n_parts else "")
        label += f" {line.measure}" if several else ""
        rows.append([label, *map(_value, line.values)])
    if len(suite.lines) > 1:
        rows.append([f"average of {len(suite.lines)}", *map(_value, suite.average)])
    return text_table("", ["data set" if several else measures.pop(), *suite.columns], rows)


def _value(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
