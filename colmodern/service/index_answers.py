"""Answers of the paths of indexes, in the shapes of ``index_bodies.py``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastapi import Response

from colmodern.collection.documents import CollectionHit, spans_in
from colmodern.report.heat_map import HeatMap, heat_map_of
from colmodern.service.context import RequestContext
from colmodern.service.served import ServedIndex
from colmodern.service.served_state import ServedHit, ServedState
from colmodern.types import Explanation, GroupedHit

_DIGITS = 4  # digits of a similarity after the point


def summary_json(index: ServedIndex) -> dict[str, object]:
    """An index in a list of all."""
    state = index.state
    return {
        "name": index.name,
        "kind": "index" if state.collection is None else "collection",
        "documents": state.n_docs,
        "index_version": state.version,
        "is_complete": state.is_complete,
        "dim": state.dim,
        "takes_texts": state.takes_texts,
        "spans": state.has_spans,
        "passages": None if state.collection is None else state.collection.passages,
        "read_only": index.read_only,
    }


def facts_json(index: ServedIndex, hide: Callable[[str], str]) -> dict[str, object]:
    """An index with its settings and sizes.

    Args:
        index: The index.
        hide: Replaces folders of the server's disk.
    """
    info = index.state.info()
    inner = info if index.state.collection is None else info["index"] or {}
    model, encoder = info.get("model"), info.get("encoder")
    return {
        **summary_json(index),
        "is_complete": index.state.is_complete and info.get("is_complete", True),
        "fault": None if index.fault is None else hide(index.fault),
        "model": os.path.basename(model) if model and os.path.isabs(model) else model,
        "encoder_settings": None if encoder is None else encoder["settings"],
        "fields": inner.get("fields", {}),
        "index_settings": inner.get("settings", info.get("index_settings", {})),
        "codec_sha256": inner.get("codec_sha256"),
        **{key: inner.get(key, 0) for key in ("deleted", "tokens", "segments", "centroids")},
        "bytes": {**inner.get("bytes", {}), **_text_bytes(index.state, info)},
        "bytes_per_token": inner.get("bytes_per_token", {}),
    }


def hit_json(
    hit: ServedHit, rank: int, has_texts: bool, *, is_grouped: bool = False
) -> dict[str, object]:
    """A result.

    Args:
        hit: As a search gives it.
        rank: Its rank.
        has_texts: Whether to return text, title and fields.
        is_grouped: Whether the results are of groups.
    """
    answer: dict[str, object] = {"id": hit.doc_id, "rank": rank, "score": float(hit.score)}
    if isinstance(hit, CollectionHit):
        if has_texts:
            answer |= {"title": hit.title, "text": hit.text, "fields": dict(hit.fields)}
        answer["title_spans"] = spans_json(hit.title_spans)
        if hit.passage is not None:
            start, end = hit.characters or (None, None)
            answer["passage"] = {"number": hit.passage, "start": start, "end": end}
    if is_grouped and isinstance(hit, CollectionHit | GroupedHit):
        answer["group"] = hit.group
    if (spans := getattr(hit, "spans", None)) is not None:
        answer["spans"] = spans_json(spans)
    return answer


def document_json(doc_id: str, state: ServedState) -> dict[str, object]:
    """A document of an index."""
    stored = state.document(doc_id)
    if stored is None:
        return {"id": doc_id, "title": None, "text": None, "fields": None}
    document, _ = stored
    fields = dict(document.fields)
    return {"id": doc_id, "title": document.title, "text": document.text, "fields": fields}


def explanation_json(
    explanation: Explanation, doc_id: str, state: ServedState
) -> dict[str, object]:
    """An explanation, with passages that count from title and text.

    Args:
        explanation: Of the document, or of its best passage.
        doc_id: The document.
        state: The index.
    """
    stages = [
        {"stage": str(stage), "documents": n_seen, "rank": rank, "score": score}
        for stage, n_seen, rank, score in explanation.stages
    ]
    answer = {
        "doc_id": doc_id,
        "passage_id": explanation.doc_id if state.has_passages else None,
        "is_result": explanation.is_result,
        "lost_at": None if explanation.lost_at is None else str(explanation.lost_at),
        "lost_by": None if explanation.lost_by is None else str(explanation.lost_by),
        "reason": explanation.reason,
        "score": explanation.score,
        "stages": stages,
        "alignment": _alignment(explanation),
        "heat_map": _heat_map(heat_map_of(explanation)),
        "index_version": state.version,
    }
    stored = state.document(doc_id)
    if stored is None:
        texts = {"title": None, "text": None, "encoded_text": None}
        return {**answer, **texts, "spans": spans_json(explanation.spans), "title_spans": []}
    document, (content, title_start, text_start) = stored
    spans = explanation.spans
    return {
        **answer,
        "title": document.title,
        "text": document.text,
        "encoded_text": content,
        "spans": spans_json(spans_in(spans, text_start, len(document.text))),
        "title_spans": spans_json(spans_in(spans, title_start, len(document.title))),
    }


def spans_json(spans: Sequence[tuple[int, int, float]]) -> list[dict[str, object]]:
    """Passages as the answers have them."""
    return [{"start": start, "end": end, "score": float(score)} for start, end, score in spans]


def _alignment(explanation: Explanation) -> list[dict[str, object]]:
    """For each query token its match, with the words and characters that are known."""
    queries, words = explanation.query_words, explanation.document_words
    characters: Sequence[Sequence[Sequence[int]]] = explanation.characters or [()] * len(
        explanation.alignment
    )
    return [
        {
            "query_token": match.query_token,
            "query_word": queries[match.query_token] if queries else None,
            "document_token": match.doc_token,
            "document_word": words[match.doc_token] if words else None,
            "similarity": match.similarity,
            "characters": [list(bounds) for bounds in covered],
        }
        for match, covered in zip(explanation.alignment, characters, strict=True)
    ]


def _heat_map(shown: HeatMap | None) -> dict[str, object] | None:
    if shown is None:
        return None
    return {
        "query_words": list(shown.query_words),
        "positions": list(shown.positions),
        "document_words": list(shown.document_words),
        "similarities": [
            [round(value, _DIGITS) for value in row] for row in shown.similarities.tolist()
        ],
        "matches": list(shown.matches),
        "n_document_tokens": shown.n_doc_tokens,
    }


def _text_bytes(state: ServedState, info: dict[str, Any]) -> dict[str, int]:
    """Bytes of a collection's texts, and of texts and index together."""
    if state.collection is None:
        return {}
    return {"texts": info["bytes"]["texts"], "total": info["bytes"]["total"]}


def json_text(content: Mapping[str, object]) -> str:
    """An answer as JSON, without its pydantic model, which would take longer than a search."""
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def json_response(content: Mapping[str, object]) -> Response:
    """An answer as a response of JSON."""
    return _response(json_text(content))


def timed_response(text: str, context: RequestContext) -> Response:
    """An answer, the text of a JSON object, with the time that it took."""
    return _response(f'{text[:-1]},"took_ms":{json_text(context.took_ms())}}}')


def _response(text: str) -> Response:
    return Response(text.encode(), media_type="application/json")
