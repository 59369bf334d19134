"""Checks of the arguments of other tools' classes."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator

from colmodern.checks import shown
from colmodern.collection.reader import CollectionReader
from colmodern.errors import InputError
from colmodern.index.bm25.index import BM25Index
from colmodern.rerank import Reranker


def checked_collection(collection: Any) -> Any:
    """The collection; raises InputError for what is no opened one."""
    if not isinstance(collection, CollectionReader):
        raise InputError(
            f"collection={shown(collection)}; pass an opened one, as Collection.open(FOLDER)"
        )
    return collection


def _checked_reranker(reranker: Any) -> Any:
    if not isinstance(reranker, Reranker):
        raise InputError(f"reranker={shown(reranker)}; pass one, as Reranker(MODEL)")
    return reranker


# fields of pydantic's models
CheckedCollection = Annotated[Any, AfterValidator(checked_collection)]
CheckedReranker = Annotated[Any, AfterValidator(_checked_reranker)]


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
