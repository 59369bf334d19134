"""Checks of what other tools' classes are given."""

from __future__ import annotations

from colmodern.checks import shown
from colmodern.collection.reader import CollectionReader
from colmodern.errors import InputError
from colmodern.index.bm25.index import BM25Index
from colmodern.rerank import Reranker


def expect_collection(collection: object) -> None:
    """Raise InputError for what is no opened collection."""
    if not isinstance(collection, CollectionReader):
        raise InputError(
            f"collection={shown(collection)}; pass an opened one, as Collection.open(FOLDER)"
        )


def expect_reranker(reranker: object) -> None:
    """Raise InputError for what is no Reranker."""
    if not isinstance(reranker, Reranker):
        raise InputError(f"reranker={shown(reranker)}; pass one, as Reranker(MODEL)")


def expect_searchable(searched: object, encoder: object) -> None:
    """Raise InputError for what cannot be searched, or an encoder that is missing or not needed."""
    takes_texts = isinstance(searched, CollectionReader | BM25Index)
    if not takes_texts and not hasattr(searched, "search_batch"):
        cure = "pass a Collection, a BM25Index or an index of embeddings, opened"
    elif takes_texts == (encoder is not None):
        cure = "leave encoder out" if takes_texts else "pass the encoder of its queries"
    else:
        return
    raise InputError(f"searched={shown(searched)}; {cure}")
