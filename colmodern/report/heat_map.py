"""The similarities of query tokens and document tokens as a table of shades."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt

from colmodern.types import Explanation

SHADES = 10  # shade 0 is no similarity, or less; the last one is 1
_MOST_COLUMNS = 96  # a document of more tokens is shown by the windows around its matches
_WIDEST = 4  # tokens on either side of a match


@dataclass(frozen=True)
class HeatMap:
    """The part of the similarities that is shown.

    Attributes:
        query_words: Text of each query token.
        positions: Tokens of the document that are shown, in order.
        document_words: Their texts.
        similarities: (n_query_tokens, n_shown) float32.
        matches: For each query token the column of its best document token.
        n_doc_tokens: Tokens of the whole document.
    """

    query_words: tuple[str, ...]
    positions: tuple[int, ...]
    document_words: tuple[str, ...]
    similarities: npt.NDArray[np.float32]
    matches: tuple[int, ...]
    n_doc_tokens: int


def heat_map_of(explanation: Explanation, *, most_columns: int = _MOST_COLUMNS) -> HeatMap | None:
    """The heat map of a query and a document; None where either has no tokens.

    A long document is shown by the tokens around those that query tokens match best.

    most_columns: document tokens that are shown, unless there are more matches
    """
    similarities = explanation.similarities
    if similarities is None or 0 in similarities.shape:
        return None
    n_query_tokens, n_doc_tokens = similarities.shape
    winners = np.array([match.doc_token for match in explanation.alignment])
    positions = _windows(winners, n_doc_tokens, most_columns)
    words = explanation.document_words or tuple(map(str, range(n_doc_tokens)))
    return HeatMap(
        query_words=explanation.query_words or tuple(map(str, range(n_query_tokens))),
        positions=tuple(positions.tolist()),
        document_words=tuple(words[position] for position in positions.tolist()),
        similarities=similarities[:, positions],
        matches=tuple(np.searchsorted(positions, winners).tolist()),
        n_doc_tokens=n_doc_tokens,
    )


def heat_map_html(shown: HeatMap) -> str:
    """A table with a row for each query token; page.html has its style."""
    header = "".join(
        f'<th scope="col"{_gap(shown, column)}><span>{escape(word)}</span></th>'
        for column, word in enumerate(shown.document_words)
    )
    rows = "".join(_row(shown, row) for row in range(len(shown.query_words)))
    label = "similarity of each query token (rows) to document tokens (columns)"
    return (
        f'<div class="heat" tabindex="0" role="region" aria-label="{label}"><table><thead><tr>'
        f"<td></td>{header}</tr></thead>\n<tbody>{rows}</tbody></table></div>\n{_scale(shown)}"
    )


def _windows(
    winners: npt.NDArray[np.int64], n_doc_tokens: int, most_columns: int
) -> npt.NDArray[np.int64]:
    """Positions of the tokens that are shown: all, or as many around the winners as fit."""
    if n_doc_tokens <= most_columns:
        return np.arange(n_doc_tokens)
    for width in range(_WIDEST, -1, -1):
        around = np.unique(winners[:, None] + np.arange(-width, width + 1))
        around = around[(around >= 0) & (around < n_doc_tokens)]
        if len(around) <= most_columns:
            break
    return around


def _gap(shown: HeatMap, column: int) -> str:
    """The class of a column before which tokens are left out."""
    before = shown.positions[column - 1] if column else -1
    return ' class="gap"' if shown.positions[column] - before > 1 else ""


def _row(shown: HeatMap, row: int) -> str:
    word = escape(shown.query_words[row])
    cells = []
    largest = max(1.0, float(shown.similarities.max()))  # 1 for embeddings of length 1
    for column, similarity in enumerate(shown.similarities[row].tolist()):
        kinds = [f"s{_shade(similarity / largest)}"]
        if shown.matches[row] == column:
            kinds.append("best")
        if _gap(shown, column):
            kinds.append("gap")
        value = _hundredths(similarity) if "best" in kinds else ""
        cells.append(f'<td class="{" ".join(kinds)}" title="{similarity:.2f}">{value}</td>')
    return f'<tr><th scope="row">{word}</th>{"".join(cells)}</tr>\n'


def _shade(similarity: float) -> int:
    return round(min(1.0, max(0.0, similarity)) * SHADES)


def _hundredths(similarity: float) -> str:
    return re.sub(r"^(-?)0\.", r"\1.", f"{similarity:.2f}")


def _scale(shown: HeatMap) -> str:
    shades = "".join(f'<i class="s{shade}"></i>' for shade in range(SHADES + 1))
    n_shown = len(shown.positions)
    left_out = (
        f" Shown are {n_shown:,} of {shown.n_doc_tokens:,} tokens of the document, those around "
        "the matches; a line marks where tokens are left out."
        if n_shown < shown.n_doc_tokens
        else ""
    )
    return (
        f'<p class="scale"><span>0 {shades} 1</span> Similarity. A number and a frame mark the '
        f"document token that a query token matches best; these similarities add up to the score."
        f"{left_out}</p>"
    )
