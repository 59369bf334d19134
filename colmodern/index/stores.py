"""Embeddings on disk: whether they are mapped, and how a pickle names their store."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from colmodern.errors import StorageError
from colmodern.files import sha256_of_json
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.mapping import mapping_of
from colmodern.ragged.store import EmbeddingStore


class StoreReference(NamedTuple):
    """A store by its absolute path, and the digest of its manifest."""

    folder: str
    digest: str

    def open(self) -> EmbeddingStore:
        """The store; raises StorageError when it is not there or was written anew."""
        store = EmbeddingStore(Path(self.folder))
        if sha256_of_json(store.manifest) != self.digest:
            raise StorageError(
                f"{self.folder} was written again since an index of it was pickled; make the index "
                "again"
            )
        return store


def reference_to(store: EmbeddingStore) -> StoreReference:
    """The reference that a pickle holds in place of a store's arrays."""
    return StoreReference(str(store.root), sha256_of_json(store.manifest))


def is_mapped(embeddings: TokenEmbeddings | EmbeddingStore) -> bool:
    """Whether values are in a file, and are read only when they are used."""
    return isinstance(embeddings, EmbeddingStore) or mapping_of(embeddings.values) is not None
