"""One self-contained HTML page about a run: no script, no network, light and dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from string import Template
from typing import Any, NamedTuple

import numpy as np

_BINS = 10
_MAX_CHARS = 700  # of a document's text
_COMPARED = """<p class="soft">Exact: every document scored with the uncompressed embeddings.
overlap@k: the share of its best k documents that are among the best k here.</p>"""


class Figure(NamedTuple):
    """One of the numbers that stand for a run, as text."""

    label: str
    value: str
    exact: str | None = None  # the same of exact search, where it ran beside an index


@dataclass(frozen=True)
class ShownDoc:
    """A document of a hard query."""

    doc_id: str
    text: str
    rank: int | None  # None: not among the results
    score: float | None
    grade: int | None  # None: not judged


@dataclass(frozen=True)
class HardQuery:
    """A query with a low value, what was found and what should have been."""

    query_id: str
    text: str
    value: float
    documents: Sequence[ShownDoc]


@dataclass(frozen=True)
class Report:
    """What the page shows."""

    title: str
    subtitle: str
    cards: Sequence[Figure]  # the first one is the headline
    measure: str
    values: Sequence[float]  # of that measure, one a query
    hardest: Sequence[HardQuery]
    timings: Sequence[tuple[str, float, str, str]]  # stage, seconds, rate, remark
    recipe: Mapping[str, Any]  # nested
    index_parts: Sequence[tuple[str, int, float]] = ()  # name, bytes, bytes a token


def render(report: Report) -> str:
    """The page as text."""
    template = Template((files("colmodern.evaluation") / "report.html").read_text("utf-8"))
    counts, _ = np.histogram(report.values, bins=_BINS, range=(0.0, 1.0))
    quartiles = np.percentile(report.values, [25, 50, 75]) if report.values else [0.0] * 3
    return template.substitute(
        title=escape(report.title),
        subtitle=escape(report.subtitle),
        cards="".join(_card(*card) for card in enumerate(report.cards)),
        compared=_COMPARED if any(card.exact is not None for card in report.cards) else "",
        measure=escape(report.measure),
        bars="".join(_bar(int(count), int(counts.max(initial=1))) for count in counts),
        axis="".join(f"<span>{i / _BINS:.1f}–{(i + 1) / _BINS:.1f}</span>" for i in range(_BINS)),
        spread="quartiles " + ", ".join(f"{value:.3f}" for value in quartiles) + ".",
        hardest="".join(map(_hard_query, report.hardest)) or "<p>There are none.</p>",
        timings="".join(_timing(*row) for row in report.timings),
        index=_index(report.index_parts) if report.index_parts else "",
        recipe="".join(_row(key, value) for key, value in _flat(report.recipe)),
    )


def _card(position: int, figure: Figure) -> str:
    kind = "card main" if position == 0 else "card"
    exact = "" if figure.exact is None else f"<small>exact {escape(figure.exact)}</small>"
    return (
        f'<div class="{kind}"><b>{escape(figure.value)}</b><small>{escape(figure.label)}</small>'
        f"{exact}</div>"
    )


def _index(parts: Sequence[tuple[str, int, float]]) -> str:
    rows = "".join(
        f'<tr><td>{escape(name)}</td><td class="n">{n_bytes:,}</td><td class="n">{a_token:,.2f}</td></tr>'
        for name, n_bytes, a_token in parts
    )
    return (
        '<h2>Index</h2><div class="scroll"><table><thead><tr><th>part</th><th class="n">bytes</th>'
        f'<th class="n">a token</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _bar(count: int, highest: int) -> str:
    height = 100 * count / max(1, highest)
    return f'<div style="height:{height:.1f}%" title="{count} queries"><span>{count}</span></div>'


def _hard_query(query: HardQuery) -> str:
    documents = "".join(map(_document, query.documents))
    return (
        f'<details><summary>{escape(query.text)} <span class="value">{query.value:.3f}</span>'
        f"</summary><p><small>query <code>{escape(query.query_id)}</code></small></p>"
        f"{documents}</details>"
    )


def _document(document: ShownDoc) -> str:
    is_relevant = bool(document.grade)
    kind = "hit" if is_relevant and document.rank else "miss" if is_relevant else ""
    where = "not among the results" if document.rank is None else f"rank {document.rank}"
    score = "" if document.score is None else f", score {document.score:.3f}"
    judged = ", not judged" if document.grade is None else f", grade {document.grade}"
    text = document.text[:_MAX_CHARS] + ("…" if len(document.text) > _MAX_CHARS else "")
    return (
        f'<div class="doc {kind}"><small>{where}{score}{judged}</small> '
        f"<code>{escape(document.doc_id)}</code><p>{escape(text)}</p></div>"
    )


def _timing(stage: str, seconds: float, rate: str, remark: str) -> str:
    return (
        f'<tr><td>{escape(stage)}</td><td class="n">{seconds:.2f}</td>'
        f'<td class="n">{escape(rate)}</td><td class="soft">{escape(remark)}</td></tr>'
    )


def _row(key: str, value: Any) -> str:
    return f'<tr><th>{escape(key)}</th><td class="mono">{escape(str(value))}</td></tr>'


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple):
            rows.append((prefix + key, " ".join(map(str, value)) or "none"))
        else:
            rows.append((prefix + key, "none" if value is None else value))
    return rows
