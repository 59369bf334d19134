"""Searches of a collection's state, with texts or with embeddings of queries."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy.typing as npt

from colmodern.arguments import listed
from colmodern.collection.documents import CollectionHit
from colmodern.collection.hits import expected_documents, hits_of
from colmodern.collection.model import EncodedDocuments, own_embeddings
from colmodern.collection.state import State
from colmodern.encoder.encoder import Encoder
from colmodern.encoder.passages import encode_passages
from colmodern.errors import InputError
from colmodern.index.exact.index import ExactIndex
from colmodern.index.inputs import query_values
from colmodern.index.passages import PassageIndex
from colmodern.index.plaid.search.queries import expect_encoder
from colmodern.index.spans import SpanSettings
from colmodern.progress import Progress
from colmodern.ragged.doc_ids import id_list
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.rerank import Reranker
from colmodern.types import BatchResults, RankedDoc, Results, ScoredDoc


def search_one(
    state: State, query: Any, k: int, encoder: Callable[[], Encoder], options: Any
) -> Results[CollectionHit]:
    """The hits of one query.

    Args:
        state: The collection.
        query: A text, or (n_query_tokens, dim) embeddings.
        k: Number of documents, at most.
        encoder: Loads the collection's encoder, which a text needs.
        options: Further arguments of PlaidIndex.search.

    Raises:
        InputError: The query has no text or another dim, or an option is wrong.
    """
    values = encoder().encode_queries([query])[0] if isinstance(query, str) else query
    if state.documents is None:
        query_values(values, state.dim)
        return Results()
    # a search of one query does not wait for the compiler
    results = state.documents.search(values, k, **options)
    return hits_of(state, [results], options.get("offset", 0))[0]


def search_many(
    state: State,
    queries: Iterable[str] | TokenEmbeddings,
    k: int,
    encoder: Callable[[], Encoder],
    options: Any,
    *,
    progress: Progress | bool | None = None,
) -> BatchResults[CollectionHit]:
    """The hits of each of many queries; the arguments are as in ``search_one``."""
    if isinstance(queries, TokenEmbeddings):
        expect_encoder(queries.fingerprint, state.manifest.encoder.fingerprint)
        embeddings = queries
    else:
        embeddings = encoder().encode_queries(listed("query", queries, "pass texts"))
    if state.documents is None:
        return BatchResults(Results() for _ in embeddings)
    batch = state.documents.search_batch(embeddings, k, progress=progress, **options)
    return BatchResults(hits_of(state, batch, options.get("offset", 0)))


def rerank(
    state: State,
    query: str | npt.ArrayLike,
    documents: Iterable[str | RankedDoc | ScoredDoc],
    k: int | None,
    encoder: Callable[[], Encoder],
    settings: SpanSettings | None,
    embeddings: EncodedDocuments | None,
) -> Results[CollectionHit]:
    """Documents of the collection by exact MaxSim.

    Args:
        state: The collection.
        query: A text, or (n_query_tokens, dim) embeddings where those of the documents are given.
        documents: Ids, or results of a search.
        k: Number of documents to return, None for all.
        encoder: Loads the collection's encoder, which texts need.
        settings: How passages are made, None for none.
        embeddings: Of the documents, in their order, or of their passages; None to encode their texts.

    Raises:
        InputError: A document is not in the collection or repeats, the query has no text, or the
            embeddings are not those of the documents.
    """
    items = listed("documents", documents, "pass a list of ids or of results")
    ids = [item[0] if isinstance(item, RankedDoc | ScoredDoc) else item for item in items]
    stored = expected_documents(state, id_list("ids", ids, is_ordered=True))
    texts = {document.doc_id: state.encoded(document).content for document in stored}
    if len(texts) != len(ids):
        raise InputError("documents has repeated ids; pass each document once")
    spans, needs_spans = False if settings is None else settings, settings is not None
    rank = state.manifest.passages
    if embeddings is None:
        if not isinstance(query, str):
            raise InputError("query is an array; pass its text, or embeddings of the documents too")
        if rank is None or not ids:
            ranked = Reranker(encoder()).rank(query, texts, k, spans=spans)
            return hits_of(state, [ranked])[0]
        embeddings = encode_passages(encoder(), texts.values(), ids, spans=needs_spans)
    own = own_embeddings(state.manifest, embeddings, needs_spans=needs_spans)
    stored_ids = own.stored_ids(ids)
    values = encoder().encode_queries([query])[0] if isinstance(query, str) else query
    if not ids:
        return Results()
    index = ExactIndex(own.values, stored_ids)
    ranking = index if rank is None else PassageIndex(index, rank)
    return hits_of(state, [ranking.search(values, k or len(ids), spans=spans)])[0]
