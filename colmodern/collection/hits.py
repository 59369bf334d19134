"""From results of an index to hits with texts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from colmodern.checks import shown
from colmodern.collection.documents import (
    CollectionHit,
    StoredDocument,
    spans_in,
)
from colmodern.collection.state import State
from colmodern.errors import InputError
from colmodern.index.spans import SpanSettings, span_settings
from colmodern.passages import PassageHit
from colmodern.types import RankedDoc, ScoredDoc, Span


def wanted_spans(
    spans: bool | SpanSettings | None, state: State, folder: Path
) -> SpanSettings | None:
    """The settings of passages with the texts of this state; None where none are wanted."""
    settings = span_settings(state.manifest.spans if spans is None else spans)
    if settings is None:
        return None
    if not state.manifest.spans:
        raise InputError(
            f"spans={shown(spans)}, but {folder} was created without; create it again with "
            "spans=True"
        )
    return replace(settings, texts=lambda doc_id: state.encoded(state.texts.get(doc_id)).content)


def expected_document(state: State, doc_id: object) -> StoredDocument:
    """The document; raises InputError where there is none."""
    if not isinstance(doc_id, str):
        raise InputError(f"doc_id={shown(doc_id)}; pass one id, which is text")
    if doc_id not in state:
        raise InputError(f"document {shown(doc_id)} is not in the collection; check the id")
    return state.texts.get(doc_id)


def hit_of(state: State, rank: int, result: ScoredDoc | RankedDoc) -> CollectionHit:
    """A result with its text, whose passages count from the text and the title."""
    document = state.texts.get(result.doc_id)
    encoded = state.encoded(document)
    spans: tuple[Span, ...] = getattr(result, "spans", ())
    number, characters = None, None
    if isinstance(result, PassageHit):
        number = result.passage
        characters = _in_text(result.characters, encoded.text_start, len(document.text))
    return CollectionHit(
        result.doc_id,
        float(result.score),
        rank,
        spans_in(spans, encoded.text_start, len(document.text)),
        text=document.text,
        title=document.title,
        fields=document.fields,
        title_spans=spans_in(spans, encoded.title_start, len(document.title)),
        group=getattr(result, "group", None),
        passage=number,
        characters=characters,
    )


def _in_text(characters: tuple[int, int] | None, start: int, length: int) -> tuple[int, int] | None:
    """Characters of the encoded text as those of a part that begins at ``start``."""
    if characters is None:
        return None
    first, last = (min(max(position - start, 0), length) for position in characters)
    return first, last
