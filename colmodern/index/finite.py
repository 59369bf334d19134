"""Values that cannot be scored: NaN, infinity, and numbers whose products overflow float32."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from colmodern.errors import InputError
from colmodern.ragged.embeddings import TokenEmbeddings

# products of two such values, summed over any dim and any number of query tokens, fit float32
LARGEST_VALUE = 1e15
_AT_ONCE = 1 << 19  # values looked at together: they stay in the cache
_HALF_EXPONENT = np.uint16(0x7C00)  # all ones in a float16 that is NaN or infinite


class _UnusableDocument(InputError):
    """A document's embeddings cannot be scored; doc_index: its place, counted from 0."""

    doc_index = 0
    fault = ""


def is_finite(values: npt.NDArray[np.floating]) -> bool:
    """Whether every value of (n_tokens, dim) rows can be scored in float32.

    Reads the values once, in pieces that stay in the cache.
    """
    step = max(1, _AT_ONCE // max(1, values.shape[1]))
    with np.errstate(all="ignore"):
        return all(
            _are_usable(values[start : start + step]) for start in range(0, len(values), step)
        )


def _are_usable(rows: npt.NDArray[np.floating]) -> bool:
    if rows.size == 0:
        return True
    if rows.dtype == np.float16:
        bits = np.ascontiguousarray(rows).view(np.uint16)
        return bool((bits & _HALF_EXPONENT).max() < _HALF_EXPONENT)
    flat = np.ascontiguousarray(rows, np.float32).ravel()
    # a sum of squares is small only if all values are; a large one may be of many
    return bool(flat @ flat <= LARGEST_VALUE) or bool(np.abs(flat).max() <= LARGEST_VALUE)


def first_unusable_row(values: npt.NDArray[np.floating]) -> int:
    """The first row with a value that cannot be scored; values: rows that are not all finite."""
    step = max(1, _AT_ONCE // max(1, values.shape[1]))
    with np.errstate(all="ignore"):
        for start in range(0, len(values), step):
            rows = np.asarray(values[start : start + step], np.float32)
            usable = (np.abs(rows) <= LARGEST_VALUE).all(axis=1)
            if not usable.all():
                return start + int(np.argmin(usable))
    raise AssertionError("all values can be scored")


def fault_of(row: npt.NDArray[np.floating]) -> str:
    """What is wrong with a row that cannot be scored."""
    with np.errstate(over="ignore"):
        if not np.isfinite(np.asarray(row, np.float32)).all():
            return "values that are not finite"
    return f"values beyond {LARGEST_VALUE:g}, whose products overflow,"


def expect_finite(texts: TokenEmbeddings, first: int = 0) -> None:
    """Raise InputError that names the first document that cannot be scored.

    texts: documents from index ``first`` on
    """
    if not is_finite(texts.values):
        refuse_infinite(texts, first)


def refuse_infinite(texts: TokenEmbeddings, first: int) -> None:
    """Raise InputError that names the document; texts: documents from ``first``, not all finite."""
    token = first_unusable_row(texts.values)
    doc = first + int(np.searchsorted(texts.offsets, token, side="right")) - 1
    fault = fault_of(texts.values[token])
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
