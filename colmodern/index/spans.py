"""The passages of a document that matched a query, from the similarities of their tokens."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from colmodern.arguments import checked_count
from colmodern.checks import shown
from colmodern.errors import InputError
from colmodern.index.words import grown_to_words
from colmodern.types import Hit, Results, ScoredDoc, Span

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]
Texts = Mapping[str, str] | Callable[[str], str]


@dataclass(frozen=True, kw_only=True)
class SpanSettings:
    """How passages are made of the tokens that matched.

    Attributes:
        max_spans: Most passages of a document.
        min_share: Least share of the document's score that a passage must contribute.
        max_gap: Most characters between two matches of one passage.
        max_length: Most characters of a passage, unless a single match has more.
        texts: The texts that were encoded, by id, or a function from an id to its text. With them a
            passage begins and ends with a word; without, with a token. A Reranker has them already.

    Raises:
        InputError: A value is out of range.
    """

    max_spans: int = 5
    min_share: float = 0.05
    max_gap: int = 30
    max_length: int = 240
    texts: Texts | None = None

    def __post_init__(self) -> None:
        for name, least in (("max_spans", 1), ("max_gap", 0), ("max_length", 1)):
            checked_count(name, getattr(self, name), least=least)
        is_number = isinstance(self.min_share, int | float) and not isinstance(self.min_share, bool)
        if not is_number or not 0 <= self.min_share <= 1:
            raise InputError(f"min_share={shown(self.min_share)}; give a number from 0 to 1")
        if self.texts is not None and not (isinstance(self.texts, Mapping) or callable(self.texts)):
            raise InputError(
                f"texts is a {type(self.texts).__name__}; pass a mapping from ids to texts, or a "
                "function of an id"
            )


class LocatedDocument(NamedTuple):
    """A document's embeddings and the characters that they stand for.

    values: (n_rows, dim); bounds: (n_tokens, 2); row_of_token: (n_tokens,) row that each is a part of
    """

    values: Floats
    bounds: Ints
    row_of_token: Ints


class _Match(NamedTuple):
    """Characters that belong together, and what their tokens contribute."""

    start: int
    end: int
    scores: list[float]


def span_settings(spans: object) -> SpanSettings | None:
    """The settings that a caller asks for with ``spans``; None where it asks for no passages."""
    if isinstance(spans, SpanSettings):
        return spans
    if isinstance(spans, bool | np.bool_):
        return SpanSettings() if spans else None
    raise InputError(f"spans={shown(spans)}; pass True, False or SpanSettings")


def matched_spans(
    query: Floats,
    document: Floats,
    bounds: npt.ArrayLike,
    *,
    row_of_token: npt.ArrayLike | None = None,
    text: str | None = None,
    settings: SpanSettings | None = None,
) -> list[Span]:
    """The passages of one document that contribute most to its MaxSim with a query.

    Each query token gives its best similarity to the document token that has it, and a pooled token
    shares what it is given equally among the tokens that it was made of and that cover text. The
    passage with the largest sum is taken first, then the next beside it, so that passages never
    overlap and their scores add up to what their tokens contribute. What special tokens contribute
    belongs to no passage.

    Args:
        query: (n_query_tokens, dim) token embeddings.
        document: (n_rows, dim) token embeddings.
        bounds: (n_tokens, 2) characters of each token, as ``TokenEmbeddings.spans[i]``.
        row_of_token: (n_tokens,) row of ``document`` that each token is a part of, as
            ``TokenEmbeddings.spans.rows_of(i)``; None where each has its own.
        text: The text that was encoded; with it passages consist of whole words.
        settings: How passages are made; its ``texts`` are not used here.

    Returns:
        Passages in the order of the text.

    Raises:
        InputError: The shapes do not fit each other, or a token lies outside of the text.
    """
    settings = settings or SpanSettings()
    query, document = np.asarray(query, np.float32), np.asarray(document, np.float32)
    spans = np.asarray(bounds, np.int64).reshape(-1, 2)
    owners = np.arange(len(spans)) if row_of_token is None else np.asarray(row_of_token, np.int64)
    _expect_fit(query, document, spans, owners, text)
    return spans_of_similarities(query @ document.T, spans, owners, text=text, settings=settings)


def spans_of_similarities(
    similarities: Floats, bounds: Ints, owners: Ints, *, text: str | None, settings: SpanSettings
) -> list[Span]:
    """The same from (n_query_tokens, n_rows) similarities, and checked characters."""
    if 0 in similarities.shape:
        return []
    contributed = contributions(similarities)
    shares = _shares(contributed, bounds, owners)
    return _passages(_matches(shares, bounds, text), contributed, settings)


def contributions(similarities: Floats) -> npt.NDArray[np.float64]:
    """(n_rows,) sum of the similarities of the query tokens that a row is the best match of."""
    best = similarities.argmax(axis=1)
    largest = similarities.max(axis=1).astype(np.float64)
    return np.asarray(np.bincount(best, largest, minlength=similarities.shape[1]), np.float64)


def with_spans(
    results: Iterable[ScoredDoc],
    query: Floats,
    locate: Callable[[str], LocatedDocument],
    settings: SpanSettings,
) -> Results[ScoredDoc]:
    """The results of a search, as Hit, with their passages.

    Args:
        results: The results.
        query: (n_query_tokens, dim) float32.
        locate: Gives the embeddings of a document and their characters.
        settings: How passages are made.
    """
    hits: Results[ScoredDoc] = Results()
    for doc_id, score in results:
        document = locate(doc_id)
        text = None if settings.texts is None else _text_of(doc_id, settings.texts)
        try:
            spans = matched_spans(
                query,
                document.values,
                document.bounds,
                row_of_token=document.row_of_token,
                text=text,
                settings=settings,
            )
        except InputError as error:
            raise InputError(f"document {doc_id!r}: {error}") from None
        hits.append(Hit(doc_id, score, spans))
    return hits


def _text_of(doc_id: str, texts: Texts) -> str:
    try:
        text = texts[doc_id] if isinstance(texts, Mapping) else texts(doc_id)
    except KeyError as error:
        raise InputError(f"texts has no document {doc_id!r}; pass the texts of all") from error
    if not isinstance(text, str):
        raise InputError(f"texts gives {shown(text)} for document {doc_id!r}; pass its text")
    return text


def _expect_fit(
    query: Floats, document: Floats, spans: Ints, owners: Ints, text: str | None
) -> None:
    if query.ndim != 2 or document.ndim != 2 or query.shape[1] != document.shape[1]:
        raise InputError(
            f"query has shape {query.shape} and document {document.shape}; pass (n_query_tokens, "
            "dim) and (n_rows, dim) embeddings of one encoder"
        )
    if owners.shape != (len(spans),):
        raise InputError(
            f"row_of_token has {owners.size} entries for {len(spans)} tokens; pass one per token"
        )
    if len(owners) and (owners.min() < 0 or owners.max() >= len(document)):
        raise InputError(
            f"tokens belong to rows up to {owners.max()}, but document has {len(document)}; pass "
            "the spans of these embeddings"
        )
    if text is not None and len(spans) and spans.max() > len(text):
        raise InputError(
            f"a token ends at character {spans.max()}, but the text has {len(text)}; pass the text "
            "that was encoded"
        )


def _shares(
    contributed: npt.NDArray[np.float64], spans: Ints, owners: Ints
) -> npt.NDArray[np.float64]:
    """(n_tokens,) what each token contributes; 0 for one that covers nothing."""
    covers = spans[:, 1] > spans[:, 0]
    n_members = np.bincount(owners[covers], minlength=len(contributed))
    shares = contributed[owners] / np.maximum(n_members[owners], 1)
    shares[~covers] = 0
    return shares


def _matches(shares: npt.NDArray[np.float64], spans: Ints, text: str | None) -> list[_Match]:
    """Tokens that contribute, as words where there is a text, in order; none overlaps another."""
    pieces: list[tuple[int, int, float]] = []
    for token in np.flatnonzero(shares).tolist():
        start, end = spans[token].tolist()
        if text is not None:
            start, end = grown_to_words(start, end, text)
        if start < end:
            pieces.append((start, end, float(shares[token])))
    matches: list[_Match] = []
    for start, end, share in sorted(pieces):
        if matches and start < matches[-1].end:
            last = matches[-1]
            matches[-1] = _Match(last.start, max(end, last.end), [*last.scores, share])
        else:
            matches.append(_Match(start, end, [share]))
    return matches


def _passages(
    matches: list[_Match], contributed: npt.NDArray[np.float64], settings: SpanSettings
) -> list[Span]:
    """The best passages that do not share a match, in the order of the text."""
    least = settings.min_share * math.fsum(contributed.tolist())
    free, spans = [matches], list[Span]()
    while len(spans) < settings.max_spans:
        windows = [
            (_score(run[i:j]), run[i].start - run[j - 1].end, -run[i].start, number, i, j)
            for number, run in enumerate(free)
            for i, j in _windows(run, settings)
        ]
        if not windows:
            break
        score, _, _, number, i, j = max(windows)  # the shortest of equal scores, then the first
        if score <= 0 or score < least:
            break
        run = free[number]
        spans.append(Span(run[i].start, run[j - 1].end, score))
        free[number : number + 1] = [run[:i], run[j:]]
    return sorted(spans)


def _windows(run: list[_Match], settings: SpanSettings) -> Iterable[tuple[int, int]]:
    """Bounds in ``run`` of all passages that are near and short enough."""
    for i, first in enumerate(run):
        yield i, i + 1
        for j in range(i + 1, len(run)):
            gap, length = run[j].start - run[j - 1].end, run[j].end - first.start
            if gap > settings.max_gap or length > settings.max_length:
                break
            yield i, j + 1


def _score(matches: list[_Match]) -> float:
    return math.fsum(score for match in matches for score in match.scores)
