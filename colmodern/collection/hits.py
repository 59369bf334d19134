"""From results of an index to hits with texts."""

from __future__ import annotations

from collections.abc import Sequence
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
from colmodern.types import RankedDoc, Results, ScoredDoc


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
    return replace(settings, texts=lambda doc_id: _content(state, doc_id))


def expected_document(state: State, doc_id: object) -> StoredDocument:
    """The document; raises InputError where there is none."""
    if not isinstance(doc_id, str):
        raise InputError(f"doc_id={shown(doc_id)}; pass one id, which is text")
    return expected_documents(state, [doc_id])[0]


def expected_documents(state: State, doc_ids: Sequence[str]) -> list[StoredDocument]:
    """The documents, in the order of their ids; raises InputError where there is none."""
    for doc_id in doc_ids:
        if doc_id not in state:
            raise InputError(f"document {shown(doc_id)} is not in the collection; check the id")
    return state.texts.get(doc_ids)


def hits_of(
    state: State, batch: Sequence[Sequence[ScoredDoc | RankedDoc]], offset: int = 0
) -> list[Results[CollectionHit]]:
    """The results of many queries with their texts, which are read together.

    Args:
        state: The collection.
        batch: The results of each query, best first.
        offset: Results that were left out before the first.
    """
    ids = [result.doc_id for results in batch for result in results]
    documents = iter(state.texts.get(ids))
    return [
        Results(
            _hit(state, rank, result, next(documents))
            for rank, result in enumerate(results, offset + 1)
        )
        for results in batch
    ]


def _hit(
    state: State, rank: int, result: ScoredDoc | RankedDoc, document: StoredDocument
) -> CollectionHit:
    """A result with its document, whose passages count from the text and the title."""
    hit = CollectionHit(
        result.doc_id,
        float(result.score),
        rank,
        text=document.text,
        title=document.title,
        fields=document.fields,
        group=getattr(result, "group", None),
    )
    spans = getattr(result, "spans", ())
    if not spans and not isinstance(result, PassageHit):
        return hit
    encoded = state.encoded(document)
    hit.spans = spans_in(spans, encoded.text_start, len(document.text))
    hit.title_spans = spans_in(spans, encoded.title_start, len(document.title))
    if isinstance(result, PassageHit):
        hit.passage = result.passage
        hit.characters = _in_text(result.characters, encoded.text_start, len(document.text))
    return hit


def _content(state: State, doc_id: str) -> str:
    """The text that the model read of a document."""
    return state.encoded(state.texts.get([doc_id])[0]).content


def _in_text(characters: tuple[int, int] | None, start: int, length: int) -> tuple[int, int] | None:
    """Characters of the encoded text as those of a part that begins at ``start``."""
    if characters is None:
        return None
    first, last = (min(max(position - start, 0), length) for position in characters)
    return first, last
