"""One document of an index: its number, its decoded tokens and the characters that they cover."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from colmodern.checks import shown
from colmodern.codecs.codec import CompressedDocuments
from colmodern.errors import InputError
from colmodern.index.plaid.disk.verify import verified_spans
from colmodern.index.plaid.search.request import SearchRequest
from colmodern.index.plaid.search.state import State
from colmodern.index.plaid.search.stored import StoredEmbeddings
from colmodern.index.plaid.search.view import View
from colmodern.index.spans import LocatedDocument, SpanSettings, span_settings, with_spans
from colmodern.ragged.spans import Bounds
from colmodern.types import Results, ScoredDoc


def doc_index_of(doc_id: str, view: View) -> int | None:
    """The doc_index of a document that a search may return; None where there is no such document."""
    for segment, base, blocked in zip(view.segments, view.bases, view.blocked, strict=False):
        doc = int(segment.ids.docs_of([doc_id])[0])
        if doc >= 0 and not (blocked is not None and blocked[doc]):
            return int(base) + doc
    return None


def expected_doc_index(doc_id: object, view: View) -> int:
    """The same; raises InputError for what is no id, and where there is no such document."""
    if not isinstance(doc_id, str):
        raise InputError(f"doc_id={shown(doc_id)}; pass one id, which is a string")
    if (doc_index := doc_index_of(doc_id, view)) is None:
        raise InputError(f"doc_id={shown(doc_id)} is not in the index; check the id")
    return doc_index


def decoded(doc_index: int, view: View) -> npt.NDArray[np.float32]:
    """(n_rows, dim) decoded tokens of a document."""
    ((segment, _, (doc,)),) = view.by_segment(np.array([doc_index]))
    start, stop = segment.arrays.doc_offsets[doc : doc + 2].tolist()
    encoded = CompressedDocuments(
        segment.arrays.codes[start:stop],
        segment.arrays.gains[start:stop],
        segment.arrays.residuals[start:stop],
        segment.arrays.doc_gains[doc : doc + 1],
        segment.arrays.doc_vectors[doc : doc + 1],
    )
    return view.codec.codec.decode(encoded, np.array([stop - start]))


def bounds_of(doc_index: int, folder: Path, view: View) -> Bounds:
    """(n_tokens, 2) characters of a document's tokens, in an index that keeps them.

    Raises:
        StorageError: The spans are not what was written.
    """
    ((segment, _, (doc,)),) = view.by_segment(np.array([doc_index]))
    return verified_spans(folder, segment)[int(doc)]


def located(
    doc_index: int, folder: Path, view: View, stored: StoredEmbeddings | None = None
) -> LocatedDocument:
    """A document of an index that keeps spans; its values are decoded, or those of ``stored``.

    Raises:
        StorageError: The spans are not what was written.
    """
    ((segment, _, (doc,)),) = view.by_segment(np.array([doc_index]))
    spans = verified_spans(folder, segment)
    if stored is None:
        values = decoded(doc_index, view)
    else:
        values = np.asarray(stored.select(np.array([doc_index])).values, np.float32)
    return LocatedDocument(values, spans[int(doc)], spans.rows_of(int(doc)))


def checked_span_settings(spans: object, state: State) -> SpanSettings | None:
    """The settings that a caller asks for; None where it asks for no passages.

    Raises:
        InputError: The index does not keep the characters of its tokens.
    """
    settings = span_settings(spans)
    if settings is not None and not state.snapshot.manifest.has_spans:
        raise InputError(
            f"spans=True, but {state.snapshot.folder} does not keep the characters of its tokens; "
            "encode the documents with spans=True or `colmodern encode --spans`, then build the "
            "index again"
        )
    return settings


def results_with_spans(
    state: State,
    search: SearchRequest,
    results: Results[ScoredDoc],
    query: npt.NDArray[np.float32],
    settings: SpanSettings | None,
) -> Results[ScoredDoc]:
    """The results with their passages, or as they are where none were asked for."""
    if settings is None:
        return results
    view, folder = search.view, state.snapshot.folder

    def locate(doc_id: str) -> LocatedDocument:
        return located(expected_doc_index(doc_id, view), folder, view, search.stored)

    return with_spans(results, query, locate, settings)
