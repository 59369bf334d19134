"""Uncompressed embeddings of an index's documents, for exact scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from colmodern.errors import InputError
from colmodern.index.inputs import Embeddings, expect_embeddings
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.offsets import offsets_of
from colmodern.ragged.store import EmbeddingStore

if TYPE_CHECKING:
    from colmodern.index.plaid.search.view import View


class StoredEmbeddings:
    """Documents in a store or an array, looked up by doc_id.

    embeddings: a store that has the index's documents among its own, or TokenEmbeddings of all
    documents in the order of the index, deleted ones too

    is_half: whether values are float16, else float32

    Raises InputError when they cannot be those of the index.
    """

    def __init__(self, embeddings: Embeddings, view: View) -> None:
        self.embeddings = embeddings
        self.view = view
        if isinstance(embeddings, EmbeddingStore):
            shards = embeddings.unverified_shards
            self._store_docs = _store_docs_by_id(embeddings, view)
        else:
            shards, self._store_docs = [embeddings], None
            if embeddings.n_docs != int(view.bases[-1]):
                raise InputError(
                    f"rescore has {embeddings.n_docs} documents, the index {int(view.bases[-1])}; "
                    "pass the embeddings that the index was built from"
                )
        if embeddings.dim != view.codec.codec.dim:
            raise InputError(
                f"rescore has dim={embeddings.dim}, the index has dim={view.codec.codec.dim}"
            )
        self.is_half = _is_half(shards)
        self._shards = shards  # keeps the arrays behind the addresses alive
        self._addresses = np.concatenate([_addresses(shard) for shard in shards])
        self._lengths = np.concatenate([shard.lengths for shard in shards])
        self._bounds = offsets_of([shard.n_docs for shard in shards])

    def __call__(self, doc_index: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.uint64], bool]:
        """Addresses of the first token of each document, for kernels, and whether values are float16.

        Raises InputError when a document is not there or has another number of tokens, StorageError
        when its values in the store are damaged.
        """
        return self._addresses[self._verified_docs(doc_index)], self.is_half

    @property
    def token_bytes(self) -> int:
        """Bytes of a token."""
        return self.embeddings.dim * (2 if self.is_half else 4)

    def select(self, doc_index: npt.NDArray[np.int64]) -> TokenEmbeddings:
        """Copies of documents, in their stored dtype; raises as a call does."""
        store_docs = self._verified_docs(doc_index)
        offsets = offsets_of(self._lengths[store_docs])
        dtype = np.float16 if self.is_half else np.float32
        values = np.empty((int(offsets[-1]), self.embeddings.dim), dtype)
        owners = np.searchsorted(self._bounds, store_docs, side="right") - 1
        for position, (doc, owner) in enumerate(
            zip(store_docs.tolist(), owners.tolist(), strict=True)
        ):
            start, stop = offsets[position : position + 2].tolist()
            shard = self._shards[owner]
            first = int(shard.offsets[doc - self._bounds[owner]])
            values[start:stop] = shard.values[first : first + stop - start]
        return TokenEmbeddings.unchecked(values, offsets)

    def _verified_docs(self, doc_index: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The embeddings' number of each document, whose values are as they were written."""
        store_docs = doc_index
        if self._store_docs is not None:
            ids = self.view.doc_ids(doc_index)
            store_docs = np.array([self._store_docs.get(doc_id, -1) for doc_id in ids], np.int64)
            if len(store_docs) and store_docs.min() < 0:
                lacking = ids[int(store_docs.argmin())]
                raise InputError(f"rescore has no document {lacking!r}; pass a store that has all")
        if not np.array_equal(self._lengths[store_docs], self.view.lengths(doc_index)):
            raise InputError(
                "rescore has documents of other lengths than the index; pass the embeddings that "
                "the index was built from"
            )
        if isinstance(self.embeddings, EmbeddingStore):
            self.embeddings.verify_documents(store_docs)
        return store_docs


def _store_docs_by_id(store: EmbeddingStore, view: View) -> dict[str, int] | None:
    """The store's number of each document, or None when the store has the index's order."""
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
        raise InputError(
            "rescore has values that are not contiguous in memory; pass a contiguous copy"
        )
    return dtypes == {np.dtype(np.float16)}


def _addresses(shard: TokenEmbeddings) -> npt.NDArray[np.uint64]:
    """(n_docs,) where each document's first token is in memory."""
    token_bytes = np.uint64(shard.values.dtype.itemsize * shard.dim)
    first = np.uint64(shard.values.ctypes.data)
    return np.asarray(first + shard.offsets[:-1].astype(np.uint64) * token_bytes, np.uint64)


def stored_of(embeddings: object, view: View, latest: StoredEmbeddings | None) -> StoredEmbeddings:
    """Stored embeddings of a view's documents: ``latest``, when it is for the same."""
    checked = expect_embeddings("rescore", embeddings)
    if latest is not None and latest.embeddings is checked and latest.view is view:
        return latest
    return StoredEmbeddings(checked, view)
