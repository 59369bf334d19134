"""The HTML page of one query and one document: where the search lost it, and which words match."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from colmodern.report.heat_map import heat_map_html, heat_map_of
from colmodern.report.page import page, remark, section
from colmodern.types import Explanation, Span, Stage, StageReport

SCORED_BY = {
    Stage.PROBE: "none yet: the centroids nearest to each query token are chosen",
    Stage.GATHER: "by the probed centroids of its tokens",
    Stage.PRUNE: "by the centroids of all its tokens",
    Stage.REFINE: "by its compressed tokens, with integers",
    Stage.SCORE: "by its tokens, in float32",
}
_MOST_CHARS = 4000  # a longer text is shown by what is around its passages
_AROUND = 200  # characters on either side of a passage
_FEW_COLUMNS = 40  # a heat map inside another page stays small
_SHADES = 4  # strengths of marked passages


@dataclass(frozen=True)
class ExplanationReport:
    """The content of the page.

    Attributes:
        explanation: The document in the search, with words where they are known.
        query: The query's text.
        k: Results of the search.
        source: The index or the collection, and how it was searched.
        text: The text that was encoded for the document; None where it is not at hand.
        notes: Sentences on exact search and on what was cut.
    """

    explanation: Explanation
    query: str
    k: int
    source: str
    text: str | None = None
    notes: Sequence[str] = ()


def render_explanation(report: ExplanationReport) -> str:
    """An explanation as the text of an HTML page."""
    explanation = report.explanation
    return page(
        f"{explanation.doc_id}: {standing(explanation, report.k)}",
        report.source,
        section("Query", f'<p class="text">{escape(report.query)}</p>'),
        section("What became of the document", outcome_html(report), stages_html(explanation)),
        section("Document", _document(report)),
        section("Which words match", _heat_map(explanation), _alignment(explanation)),
    )


def short_blocks(report: ExplanationReport) -> list[str]:
    """The explanation without headings and in few bytes, as a part of another page."""
    explanation = report.explanation
    shown = heat_map_of(explanation, most_columns=_FEW_COLUMNS)
    return [
        outcome_html(report),
        stages_html(explanation),
        _document(report),
        "" if shown is None else heat_map_html(shown),
    ]


def standing(explanation: Explanation, k: int) -> str:
    """A document's rank in a few words."""
    rank = explanation.stages[-1].rank if explanation.stages else None
    if explanation.is_result:
        return f"result {rank:,}"
    return f"not among the first {k:,}" if rank is None else f"rank {rank:,}, below the first {k:,}"


def outcome_html(report: ExplanationReport) -> str:
    """The reason in words, with what would help."""
    kind = "hit" if report.explanation.is_result else "miss"
    reason = report.explanation.reason
    paragraphs = "".join(
        f"<div>{escape(line[:1].upper() + line[1:])}.</div>" for line in (reason, *report.notes)
    )
    score = f"Score {report.explanation.score:,.2f}, the sum over the query's tokens."
    return f'<div class="doc {kind}">{paragraphs}<div class="soft">{score}</div></div>'


def stages_html(explanation: Explanation) -> str:
    """The document in each stage of the search."""
    rows = []
    for number, report in enumerate(explanation.stages):
        following = explanation.stages[number + 1 : number + 2]
        is_lost, fate = _fate(explanation, number, report, following)
        rank = "–" if report.rank is None else f"{report.rank:,}"
        score = "–" if report.score is None else f"{report.score:,.2f}"
        kind = ' class="lost"' if is_lost else ""
        rows.append(
            f'<tr{kind}><th scope="row">{report.stage.value}<br><small>{SCORED_BY[report.stage]}'
            f'</small></th><td>{escape(fate)}</td><td class="n">{report.n_seen:,}</td>'
            f'<td class="n">{rank}</td><td class="n">{score}</td></tr>\n'
        )
    if not rows:
        return ""
    header = (
        '<th>stage</th><th>outcome</th><th class="n">documents</th><th class="n">rank</th>'
        '<th class="n">score</th>'
    )
    note = "Scores of different stages have different units." if len(rows) > 1 else ""
    return (
        f'<div class="scroll"><table class="stages"><thead><tr>{header}</tr></thead>\n'
        f"<tbody>{''.join(rows)}</tbody></table></div>{remark(note)}"
    )


def _fate(
    explanation: Explanation, number: int, report: StageReport, following: Sequence[StageReport]
) -> tuple[bool, str]:
    """Whether a stage lost the document, and what became of it there."""
    if report.rank is None and explanation.lost_at is None:
        return True, "below the results"
    if report.rank is None:
        is_first = number == 0 and explanation.lost_at == report.stage
        return is_first, "lost: no centroid of its tokens was probed" if is_first else "not reached"
    if not following:
        fate = "a result" if explanation.is_result else "below the results"
        return not explanation.is_result, fate
    n_kept = following[0].n_seen
    if following[0].rank is None:
        return True, f"lost: {n_kept:,} went on"
    return False, "goes on"


def _document(report: ExplanationReport) -> str:
    explanation, text = report.explanation, report.text
    if text is None:
        return remark("Its text is not at hand; an embedding store keeps none.")
    note = ""
    if explanation.spans:
        note = "Marked: the passages that matched, the stronger the more they add to the score."
    return f'{remark(note)}<p class="text">{marked_text(text, explanation.spans)}</p>'


def marked_text(text: str, spans: Sequence[Span]) -> str:
    """A text with its passages marked; of a long one the beginning and what is around them."""
    largest = max((span.score for span in spans), default=0.0) or 1.0
    parts, end = [], 0
    for span in sorted(spans):
        parts.append(_between(text, end, span.start, is_first=end == 0))
        shade = max(1, math.ceil(_SHADES * min(1.0, span.score / largest)))
        parts.append(
            f'<mark class="m{shade}" title="adds {span.score:.2f}">'
            f"{escape(text[span.start : span.end])}</mark>"
        )
        end = span.end
    parts.append(_between(text, end, len(text), is_first=not spans, is_last=True))
    return "".join(parts)


def _between(
    text: str, start: int, end: int, *, is_first: bool = False, is_last: bool = False
) -> str:
    """The text between two passages; of a long text only what is near them."""
    before, after = (2 * _AROUND if is_first else _AROUND), (0 if is_last else _AROUND)
    if len(text) <= _MOST_CHARS or end - start <= before + after:
        return escape(text[start:end])
    cut = f'<span class="soft"> … {end - start - before - after:,} characters … </span>'
    return f"{escape(text[start : start + before])}{cut}{escape(text[end - after : end])}"


def _heat_map(explanation: Explanation) -> str:
    shown = heat_map_of(explanation)
    if shown is None:
        return remark("The query or the document has no tokens.")
    return heat_map_html(shown)


def _alignment(explanation: Explanation) -> str:
    """Each query token with the document token that it matches best, and a bar."""
    if not explanation.alignment:
        return ""
    query_words, document_words = explanation.query_words, explanation.document_words
    rows = []
    for query_token, doc_token, similarity in explanation.alignment:
        query_word = query_words[query_token] if query_words else str(query_token)
        document_word = document_words[doc_token] if document_words else ""
        width = 100 * min(1.0, max(0.0, similarity))
        rows.append(
            f"<tr><td>{escape(query_word)}</td><td>{escape(document_word)}</td>"
            f'<td class="n">{doc_token}</td><td class="n">{similarity:.4f}</td><td class="meter">'
            f'<div style="width:{width:.0f}%"></div></td></tr>\n'
        )
    header = (
        '<th>query token</th><th>document token</th><th class="n">position</th>'
        '<th class="n">similarity</th><th></th>'
    )
    return (
        f'<div class="scroll"><table class="matches"><thead><tr>{header}</tr></thead>\n'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )
