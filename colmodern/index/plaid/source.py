"""Documents to index, read piece by piece in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from colmodern.codecs.codec import Sample
from colmodern.errors import InputError
from colmodern.index.finite import refuse_infinite
from colmodern.index.inputs import expect_embeddings
from colmodern.ragged.doc_ids import one_id_a_document
from colmodern.ragged.embeddings import TokenEmbeddings, offsets_of
from colmodern.ragged.finite import is_finite
from colmodern.ragged.mapping import let_go
from colmodern.ragged.store import EmbeddingStore

Embeddings = TokenEmbeddings | EmbeddingStore

_MOST_OF_A_DOC = 256  # sampled tokens: a document's are much alike, and other documents differ


def open_source(
    embeddings: Embeddings | Path | str, doc_ids: Sequence[str] | None
) -> tuple[Embeddings, Sequence[str]]:
    """Embeddings, of a shard folder if a path is given, and one id a document.

    Raises InputError for a dim that is not a multiple of 8 or ids that are not one a document.
    """
    if isinstance(embeddings, str | os.PathLike):
        embeddings = EmbeddingStore(embeddings)
    embeddings = expect_embeddings("embeddings", embeddings)
    if doc_ids is None:
        doc_ids = (
            embeddings.doc_ids
            if isinstance(embeddings, EmbeddingStore)
            else [str(i) for i in range(embeddings.n_docs)]
        )
    doc_ids = one_id_a_document(doc_ids, embeddings.n_docs)
    if embeddings.n_docs and (embeddings.dim % 8 or embeddings.dim == 0):
        raise InputError(
            f"embeddings have dim={embeddings.dim}; an index needs a multiple of 8: "
            "choose another projection of the encoder"
        )
    return embeddings, doc_ids


def fingerprint_of(embeddings: Embeddings) -> str | None:
    """Of the encoder that made the embeddings, None when unknown."""
    return embeddings.fingerprint


def lengths_of(embeddings: Embeddings) -> npt.NDArray[np.int64]:
    """(n_docs,) tokens of each document."""
    return embeddings.lengths


def pieces(embeddings: Embeddings, max_tokens: int) -> Iterator[tuple[int, TokenEmbeddings]]:
    """Consecutive documents of at most ``max_tokens`` tokens together, a longer one alone.

    Yields (index of the first document, documents). What a store maps from disk is let go of
    when the next piece is asked for.
    """
    for first, piece in embeddings.chunks(max_tokens):
        yield first, piece
        if isinstance(embeddings, EmbeddingStore):
            let_go(piece.values)
            if piece.token_ids is not None:
                let_go(piece.token_ids)


def sample_documents(embeddings: Embeddings, n_sampled: int, max_tokens: int, seed: int) -> Sample:
    """At most ``n_sampled`` tokens of random documents, and the means of these documents.

    Of a document no more than 256 tokens, at random, unless all tokens are taken. The same for
    the same seed, however the documents are cut into shards. Raises InputError for a document
    among them whose values are not finite.
    """
    lengths = lengths_of(embeddings)
    is_whole = int(lengths.sum()) <= n_sampled
    taken = np.minimum(lengths, n_sampled if is_whole else min(_MOST_OF_A_DOC, n_sampled))
    chosen = _choose(taken, n_sampled, seed)
    sampled, lengths = taken[chosen], lengths[chosen]
    starts = offsets_of(sampled)
    values = np.empty((starts[-1], embeddings.dim), np.float32)
    means = np.empty((len(chosen), embeddings.dim), np.float32)
    ids: npt.NDArray[np.int32] | None = np.empty(starts[-1], np.int32)
    for first, piece in pieces(embeddings, max_tokens):
        begin, end = np.searchsorted(chosen, [first, first + piece.n_docs])
        if piece.token_ids is None:
            ids = None
        for place in range(begin, end):
            doc = int(chosen[place]) - first
            with np.errstate(over="ignore"):
                tokens = np.asarray(piece[doc], np.float32)
            if not is_finite(tokens):
                refuse_infinite(piece, first)
            means[place] = tokens.mean(axis=0)
            rows = _rows_of(len(tokens), int(sampled[place]), [seed, first + doc])
            into = slice(starts[place], starts[place + 1])
            values[into] = tokens[rows]
            if ids is not None and piece.token_ids is not None:
                ids[into] = piece.token_ids[piece.offsets[doc] : piece.offsets[doc + 1]][rows]
    return Sample(values, ids, sampled, lengths, means)


def _choose(taken: npt.NDArray[np.int64], n_sampled: int, seed: int) -> npt.NDArray[np.int64]:
    """Ascending random documents that have at most ``n_sampled`` tokens together, at least one."""
    filled = np.flatnonzero(taken)
    order = np.random.default_rng(seed).permutation(filled)
    n = int(np.searchsorted(np.cumsum(taken[order]), n_sampled, side="right"))
    return np.sort(order[: max(1, n)])


def _rows_of(n: int, n_taken: int, seed: list[int]) -> npt.NDArray[np.int64] | slice:
    if n_taken == n:
        return slice(None)
    return np.sort(np.random.default_rng(seed).choice(n, n_taken, replace=False))
