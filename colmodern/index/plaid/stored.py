"""Where the uncompressed embeddings of an index's documents are, for exact scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from colmodern.errors import InputError
from colmodern.index.inputs import expect_embeddings
from colmodern.index.plaid.source import Embeddings
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.store import EmbeddingStore

if TYPE_CHECKING:
    from colmodern.index.plaid.view import View


class StoredEmbeddings:
    """Addresses of documents in a store or an array, found by doc_id.

    embeddings: a store that has the index's documents among its own, or TokenEmbeddings of all
    documents in the order of the index, deleted ones too

    Raises InputError when they cannot be those of the index.
    """

    def __init__(self, embeddings: Embeddings, view: View) -> None:
        self.embeddings = embeddings
        self.view = view
        if isinstance(embeddings, EmbeddingStore):
            shards = embeddings.unverified_shards
            self._places = _places_by_id(embeddings, view)
        else:
            shards, self._places = [embeddings], None
            if embeddings.n_docs != int(view.bases[-1]):
                raise InputError(
                    f"rescore has {embeddings.n_docs} documents, the index {int(view.bases[-1])}; "
                    "pass the embeddings that the index was built from"
                )
        if embeddings.dim != view.codec.codec.dim:
            raise InputError(
                f"rescore has dim={embeddings.dim}, the index has dim={view.codec.codec.dim}"
            )
        self._is_half = _is_half(shards)
        self._shards = shards  # keeps the arrays behind the addresses alive
        self._addresses = np.concatenate([_addresses(shard) for shard in shards])
        self._lengths = np.concatenate([shard.lengths for shard in shards])

    def __call__(self, rows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.uint64], bool]:
        """Addresses of the first token of each document, and whether values are float16.

        Raises InputError when a document is not there or has another number of tokens, StorageError
        when its values in the store are damaged.
        """
        places = rows
        if self._places is not None:
            ids = self.view.doc_ids(rows)
            places = np.array([self._places.get(one, -1) for one in ids], np.int64)
            if len(places) and places.min() < 0:
                lacking = ids[int(places.argmin())]
                raise InputError(f"rescore has no document {lacking!r}; pass a store that has all")
        if not np.array_equal(self._lengths[places], self.view.lengths(rows)):
            raise InputError(
                "rescore has documents of other lengths than the index; pass the embeddings that "
                "the index was built from"
            )
        if isinstance(self.embeddings, EmbeddingStore):
            self.embeddings.verify_documents(places)
        return self._addresses[places], self._is_half


def _places_by_id(store: EmbeddingStore, view: View) -> dict[str, int] | None:
    """Where each document is, or None when the store has the index's order."""
    # as a rule the store is what the index was built from
    is_alike = len(view.segments) == 1 and view.segments[0].n_docs == store.n_docs
    if is_alike and list(view.segments[0].ids) == store.doc_ids:
        return None
    return {doc_id: i for i, doc_id in enumerate(store.doc_ids)}


def _is_half(shards: list[TokenEmbeddings]) -> bool:
    dtypes = {shard.values.dtype for shard in shards}
    if dtypes not in ({np.dtype(np.float16)}, {np.dtype(np.float32)}):
        named = ", ".join(sorted(str(dtype) for dtype in dtypes)) or "nothing"
        raise InputError(f"rescore holds {named}; store all embeddings as float16 or as float32")
    if not all(shard.values.flags.c_contiguous for shard in shards):
        raise InputError("rescore has rows that are apart in memory; pass a contiguous copy")
    return dtypes == {np.dtype(np.float16)}


def _addresses(shard: TokenEmbeddings) -> npt.NDArray[np.uint64]:
    """(n_docs,) where each document's first token is in memory."""
    row = np.uint64(shard.values.dtype.itemsize * shard.dim)
    first = np.uint64(shard.values.ctypes.data)
    return np.asarray(first + shard.offsets[:-1].astype(np.uint64) * row, np.uint64)


def stored_of(embeddings: object, view: View, latest: StoredEmbeddings | None) -> StoredEmbeddings:
    """Where embeddings have the documents of a view: ``latest``, when it is for the same."""
    checked = expect_embeddings("rescore", embeddings)
    if latest is not None and latest.embeddings is checked and latest.view is view:
        return latest
    return StoredEmbeddings(checked, view)
