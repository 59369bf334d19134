"""Documents that cannot be scored, named in the error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from colmodern.errors import InputError
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.finite import fault_of, first_unusable_row, is_finite


class _UnusableDocument(InputError):
    """A document's embeddings cannot be scored; doc_index: its number, counted from 0."""

    doc_index = 0
    fault = ""


def expect_finite(documents: TokenEmbeddings, first: int = 0) -> None:
    """Raise InputError that names the first document that cannot be scored.

    documents: those from index ``first`` on
    """
    if not is_finite(documents.values):
        refuse_infinite(documents, first)


def refuse_infinite(documents: TokenEmbeddings, first: int) -> None:
    """Raise InputError that names the document; documents: from ``first`` on, not all finite."""
    token = first_unusable_row(documents.values)
    doc = first + int(np.searchsorted(documents.offsets, token, side="right")) - 1
    fault = fault_of(documents.values[token])
    error = _UnusableDocument(
        f"embeddings of document {doc} (counted from 0) have {fault}; encode it again"
    )
    error.doc_index, error.fault = doc, fault
    raise error


@contextmanager
def naming_documents(doc_ids: Sequence[str]) -> Iterator[None]:
    """Add the doc_id to errors of documents that cannot be scored.

    doc_ids: (n_docs,) by doc_index
    """
    try:
        yield
    except _UnusableDocument as error:
        raise InputError(
            f"embeddings of document {error.doc_index} (counted from 0), "
            f"doc_id={doc_ids[error.doc_index]!r}, have {error.fault}; encode it again"
        ) from None
