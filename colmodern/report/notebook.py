"""Small HTML views of records for a cell of a notebook: tables without script, light or dark."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from html import escape
from itertools import islice
from typing import Any

from colmodern.evaluation.comparison import Comparison
from colmodern.evaluation.measures import Evaluation
from colmodern.report.comparison_tables import score_tables, test_table
from colmodern.report.page import table
from colmodern.report.tables import Table, text_table
from colmodern.types import Explanation, RankedDoc, ScoredDoc

_MOST_ROWS = 20
_MOST_FEW = 5  # documents of a collection
_MAX_CHARS = 200  # shown of a document's text
# colours are those of the notebook's theme, or see-through, so that both themes can be read
_STYLE = """<style>
.colmodern table { border-collapse: collapse; margin: .25em 0; color: inherit; font: inherit; }
.colmodern table th, .colmodern table tbody td { text-align: left !important; vertical-align: top;
  padding: .2em .9em .2em 0; border-bottom: 1px solid rgba(128, 128, 128, .35); }
.colmodern table th.n, .colmodern table tbody td.n { text-align: right !important;
  font-variant-numeric: tabular-nums; }
.colmodern p { margin: .25em 0; } .colmodern .soft { opacity: .75; }
.colmodern mark { color: inherit; border-radius: .2em; padding: 0 .1em; }
</style>"""


class Html(str):
    """HTML that a notebook shows, and that can be written to a file as it is."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return str(self)


def tables_html(*tables: Table, headline: str = "") -> Html:
    """Tables under each other, with their titles and notes; headline: a sentence above them."""
    blocks = [_paragraph(headline)]
    for shown in tables:
        blocks += [_paragraph(shown.title), table(shown)]
    return _view(*blocks)


def results_html(
    results: Sequence[ScoredDoc | RankedDoc], texts: Mapping[str, str] | None = None
) -> Html:
    """The best results of a query.

    Args:
        results: Results as an index or a Reranker returns them.
        texts: doc_id -> text, of which the beginning is shown; default: no texts.
    """
    header = ["rank", "score", "document", *([] if texts is None else ["text"])]
    cells = [
        [
            str(rank),
            f"{result.score:.4f}",
            result.doc_id,
            *([] if texts is None else [_beginning(texts.get(result.doc_id, ""))]),
        ]
        for rank, result in enumerate(islice(results, _MOST_ROWS), start=1)
    ]
    note = _rest(len(results), "results")
    return tables_html(text_table("", header, cells, words=(2, 3), note=note))


def batch_html(batch: Sequence[Sequence[ScoredDoc | RankedDoc]]) -> Html:
    """The best result of each query of a batch."""
    cells = []
    for number, results in enumerate(islice(batch, _MOST_ROWS)):
        best = [f"{results[0].score:.4f}", results[0].doc_id] if results else ["–", "–"]
        cells.append([str(number), str(len(results)), *best])
    header = ["query", "results", "best score", "best document"]
    note = _rest(len(batch), "queries")
    return tables_html(text_table("", header, cells, words=(3,), note=note))


def evaluation_html(evaluation: Evaluation) -> Html:
    """The means of an evaluation's measures."""
    return tables_html(
        measures_table(evaluation), headline=f"{len(evaluation.per_query):,} queries"
    )


def measures_table(evaluation: Evaluation, exact: Evaluation | None = None) -> Table:
    """Means in rows; exact: those of exact search over the same embeddings."""
    cells = [
        [name, f"{value:.4f}", *([] if exact is None else [f"{exact.mean[name]:.4f}"])]
        for name, value in evaluation.mean.items()
    ]
    header = ["measure", "mean", *([] if exact is None else ["exact search"])]
    return text_table("", header, cells)


def comparison_html(comparison: Comparison) -> Html:
    """Scores of a comparison, and the tests of its differences."""
    headline = f"{', '.join(comparison.runs)} against {comparison.baseline}"
    return tables_html(*score_tables(comparison), test_table(comparison), headline=headline)


def collection_html(collection: Any) -> Html:
    """A collection's first documents; collection: a colmodern.Collection."""
    shown = collection.get(list(islice(collection, _MOST_FEW)))
    cells = [
        [document.doc_id, _beginning(f"{document.title} {document.text}")] for document in shown
    ]
    more = len(collection) - len(cells)
    note = f"{more:,} more documents." if more else ""
    listed = text_table("", ["document", "text"], cells, words=(0, 1), note=note)
    return tables_html(listed, headline=repr(collection))


def explanation_html(
    explanation: Explanation,
    query_words: Sequence[str] | None = None,
    document_words: Sequence[str] | None = None,
) -> Html:
    """The stages of a search with one document, and the tokens that matched.

    Args:
        explanation: What ``PlaidIndex.explain`` returns.
        query_words: The query's tokens as text, as ``encoder.tokenizer.words`` returns them;
            default: those of the explanation, where it has them.
        document_words: The document's tokens likewise; those that match are then highlighted.
    """
    query_words = query_words or explanation.query_words or None
    document_words = document_words or explanation.document_words or None
    stages = [
        [
            report.stage.value,
            f"{report.n_seen:,}",
            "–" if report.rank is None else f"{report.rank:,}",
            "–" if report.score is None else f"{report.score:,.2f}",
        ]
        for report in explanation.stages
    ]
    matches = [
        [
            _token(match.query_token, query_words),
            _token(match.doc_token, document_words),
            f"{match.similarity:.4f}",
        ]
        for match in explanation.alignment
    ]
    return _view(
        _paragraph(f"{explanation.doc_id}: {explanation.reason}"),
        table(text_table("", ["stage", "documents", "rank", "score"], stages)),
        table(
            text_table("", ["query token", "document token", "similarity"], matches, words=(0, 1))
        ),
        "" if document_words is None else highlighted(explanation, document_words),
    )


def highlighted(explanation: Explanation, document_words: Sequence[str]) -> Html:
    """A paragraph of the document's tokens, marked the stronger the more they add to the score."""
    weights: defaultdict[int, float] = defaultdict(float)
    for match in explanation.alignment:
        weights[match.doc_token] += max(0.0, match.similarity)
    largest = max(weights.values(), default=0.0) or 1.0
    parts = []
    for position, word in enumerate(document_words):
        weight, text = weights.get(position, 0.0) / largest, escape(word.removeprefix("##"))
        if weight > 0:
            shade = f"rgba(255, 170, 0, {0.15 + 0.6 * weight:.2f})"
            text = f'<mark style="background: {shade}; color: inherit">{text}</mark>'
        parts.append(text if word.startswith("##") or not position else f" {text}")
    return Html(f"<p>{''.join(parts)}</p>")


def _view(*blocks: str) -> Html:
    inside = "\n".join(filter(None, blocks))
    return Html(f'<div class="colmodern">{_STYLE}\n{inside}\n</div>')


def _paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>" if text else ""


def _beginning(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _MAX_CHARS else f"{text[: _MAX_CHARS - 1]}…"


def _rest(n: int, noun: str) -> str:
    """The note under a table that does not show all of ``n`` rows."""
    return f"The first {_MOST_ROWS} of {n:,} {noun}." if n > _MOST_ROWS else ""


def _token(position: int, words: Sequence[str] | None) -> str:
    return str(position) if words is None else f"{position} {words[position]}"
