"""Keeps the embeddings that rescore on a GPU, where they fit beside the index."""

from __future__ import annotations

import logging
from typing import NamedTuple

import numpy as np
import torch

from colmodern.errors import InputError, StorageError
from colmodern.index.plaid.search.queries import unusable_score
from colmodern.index.plaid.search.stored import StoredEmbeddings
from colmodern.index.plaid.search.view import DocIndex
from colmodern.kernels.cuda.memory import on, to_device
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.finite import first_unusable_row, is_finite
from colmodern.ragged.offsets import offsets_of

_log = logging.getLogger(__name__)
_CHUNK_TOKENS = 1 << 18  # tokens that are copied at a time


class StoredTokens(NamedTuple):
    """Stored embeddings of some of an index's documents, on a GPU.

    values: (n_tokens, dim) float16 or float32, as they are stored
    offsets: (n_docs + 1,) int64; a document that was deleted before the copy has no tokens
    """

    values: torch.Tensor
    offsets: torch.Tensor


def upload_stored(
    stored: StoredEmbeddings, first: int, last: int, device: torch.device, room: int
) -> StoredTokens | None:
    """Copy the embeddings of documents first to last, but deleted ones, to a GPU.

    Args:
        stored: The embeddings.
        first: doc_index of the first document.
        last: doc_index after the last one.
        device: The GPU.
        room: Bytes that they may take.

    Returns:
        The copy; None where they do not fit, or where some cannot be used: searches then read what
        they score from the host, and refuse such a document when they meet it.
    """
    docs = stored.view.open_docs()
    docs = docs[np.searchsorted(docs, first) : np.searchsorted(docs, last)]
    lengths = np.zeros(last - first, np.int64)
    lengths[docs - first] = stored.view.lengths(docs)
    offsets = offsets_of(lengths)
    n_bytes = int(offsets[-1]) * stored.token_bytes + offsets.nbytes
    if n_bytes > room:
        _tell(f"they take {n_bytes:,} bytes on {device}, where {max(0, room):,} are left")
        return None
    try:
        with on(device):
            return StoredTokens(
                _values(stored, docs, int(offsets[-1]), device), to_device(offsets, device)
            )
    except torch.cuda.OutOfMemoryError as error:
        _tell(f"{device} is out of memory ({error})")
    except (InputError, StorageError) as error:
        _tell(str(error))
    return None


def expect_usable(
    documents: TokenEmbeddings, doc_index: DocIndex, stored: StoredEmbeddings
) -> None:
    """Raise InputError for documents that cannot be scored: a GPU's maximum hides minus infinity."""
    if is_finite(documents.values):
        return
    row = first_unusable_row(documents.values)
    position = int(np.searchsorted(documents.offsets, row, side="right")) - 1
    doc_id = stored.view.doc_ids(doc_index[position : position + 1])[0]
    raise InputError(unusable_score("rescore", doc_id))


def _values(
    stored: StoredEmbeddings, docs: DocIndex, n_tokens: int, device: torch.device
) -> torch.Tensor:
    """(n_tokens, dim) embeddings of documents on the GPU."""
    dtype = torch.float16 if stored.is_half else torch.float32
    values = torch.empty((n_tokens, stored.embeddings.dim), dtype=dtype, device=device)
    ends = np.cumsum(stored.view.lengths(docs))
    at = start = 0
    while start < len(docs):
        stop = max(start + 1, int(np.searchsorted(ends, at + _CHUNK_TOKENS, side="right")))
        documents = stored.select(docs[start:stop])
        expect_usable(documents, docs[start:stop], stored)
        values[at : at + documents.n_tokens] = to_device(documents.values, device)
        start, at = stop, int(ends[stop - 1])
    return values


def _tell(reason: str) -> None:
    _log.warning(
        "embeddings to rescore with are not kept on the GPU: %s; each search reads those of its "
        "candidates from the host",
        reason,
    )
