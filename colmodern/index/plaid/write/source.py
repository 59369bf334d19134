"""Documents to index, read in chunks of bounded memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt

from colmodern.codecs.codec import Sample
from colmodern.errors import InputError
from colmodern.index.finite import refuse_infinite
from colmodern.index.inputs import Embeddings, expect_embeddings
from colmodern.index.plaid.write.settings import MOST_OF_A_DOC
from colmodern.ragged.doc_ids import checked_doc_ids
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.finite import is_finite
from colmodern.ragged.mapping import map_file, release_pages
from colmodern.ragged.offsets import offsets_of
from colmodern.ragged.store import EmbeddingStore

_IN_MEMORY = 1 << 28  # bytes of a sample in float32; a larger one is a mapped file


def open_source(
    embeddings: Embeddings | Path | str, doc_ids: Sequence[str] | None
) -> tuple[Embeddings, Sequence[str]]:
    """Open embeddings, a shard folder where they are a path, with one id a document.

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
    doc_ids = checked_doc_ids(doc_ids, embeddings.n_docs, is_unique=False)
    if embeddings.n_docs and (embeddings.dim % 8 or embeddings.dim == 0):
        raise InputError(
            f"embeddings have dim={embeddings.dim}; an index needs a multiple of 8: "
            "choose another projection of the encoder"
        )
    return embeddings, doc_ids


def chunks(embeddings: Embeddings, max_tokens: int) -> Iterator[tuple[int, TokenEmbeddings]]:
    """Consecutive documents of at most ``max_tokens`` tokens together, a longer one alone.

    Yields (index of the first document, documents). Pages that a store maps from disk are
    released before the next chunk.
    """
    for first, chunk in embeddings.chunks(max_tokens):
        yield first, chunk
        if isinstance(embeddings, EmbeddingStore):
            release_pages(chunk.values)
            if chunk.token_ids is not None:
                release_pages(chunk.token_ids)


def sample_documents(
    embeddings: Embeddings, n_sampled: int, max_tokens: int, seed: int, scratch: Path
) -> Sample:
    """At most ``n_sampled`` tokens of random documents, and the means of these documents.

    A document gives at most 256 random tokens, unless all tokens are taken. The same seed gives
    the same sample, however the documents are cut into shards. A large sample is a mapped file
    without a name in the folder ``scratch``, in float16 where the embeddings are; a small one is float32.

    Raises InputError for a sampled document whose values are not finite; OSError for a full disk.
    """
    lengths = embeddings.lengths
    is_whole = int(lengths.sum()) <= n_sampled
    taken = np.minimum(lengths, n_sampled if is_whole else min(MOST_OF_A_DOC, n_sampled))
    docs = _sampled_docs(taken, n_sampled, seed)
    sampled, lengths = taken[docs], lengths[docs]
    starts = offsets_of(sampled)
    means = np.empty((len(docs), embeddings.dim), np.float32)
    ids: npt.NDArray[np.int32] | None = np.empty(starts[-1], np.int32)
    with _SampledRows(int(starts[-1]), embeddings.dim, scratch) as rows:
        for first, chunk in chunks(embeddings, max_tokens):
            begin, end = np.searchsorted(docs, [first, first + chunk.n_docs])
            if chunk.token_ids is None:
                ids = None
            dtype = np.float16 if chunk.values.dtype == np.float16 else np.float32
            for position in range(begin, end):
                doc = int(docs[position]) - first
                with np.errstate(over="ignore"):
                    tokens = np.asarray(chunk[doc], np.float32)
                if not is_finite(tokens):
                    refuse_infinite(chunk, first)
                means[position] = tokens.mean(axis=0)
                kept = _sampled_tokens(len(tokens), int(sampled[position]), [seed, first + doc])
                rows.append(tokens[kept], dtype)
                if ids is not None and chunk.token_ids is not None:
                    into = slice(starts[position], starts[position + 1])
                    ids[into] = chunk.token_ids[chunk.offsets[doc] : chunk.offsets[doc + 1]][kept]
        return Sample(rows.finished(), ids, sampled, lengths, means)


class _SampledRows:
    """Rows that are appended, then read: in memory as float32, or in a file where there are many."""

    def __init__(self, n_rows: int, dim: int, folder: Path) -> None:
        """Make room for ``n_rows`` of ``dim`` floats, at most float32."""
        self._shape, self._n = (n_rows, dim), 0
        self._dtype: npt.DTypeLike = np.float32
        self._rows: npt.NDArray[np.float32] | None = None
        self._stream: BinaryIO | None = None
        if n_rows * dim * 4 <= _IN_MEMORY:
            self._rows = np.empty(self._shape, np.float32)
        else:
            self._stream = cast(BinaryIO, TemporaryFile(dir=folder))  # noqa: SIM115 - __exit__ closes it

    def __enter__(self) -> _SampledRows:
        return self

    def __exit__(self, *error: object) -> None:
        if self._stream is not None:
            with suppress(OSError):  # a full disk was raised already
                self._stream.close()

    def append(self, rows: npt.NDArray[np.float32], dtype: npt.DTypeLike) -> None:
        """Add rows, which a file keeps in the dtype that all of them were read in."""
        if self._rows is not None:
            self._rows[self._n : self._n + len(rows)] = rows
            self._n += len(rows)
        elif self._stream is not None:
            self._dtype = dtype
            self._stream.write(rows.astype(dtype, copy=False).tobytes())

    def finished(self) -> npt.NDArray[np.floating]:
        """(n_rows, dim) all rows, which stay when the file is closed."""
        if self._stream is None:
            assert self._rows is not None
            return self._rows
        self._stream.flush()
        return map_file(self._stream, np.dtype(self._dtype), self._shape, 0)


def _sampled_docs(taken: npt.NDArray[np.int64], n_sampled: int, seed: int) -> npt.NDArray[np.int64]:
    """Ascending random documents of at most ``n_sampled`` tokens together, at least one document."""
    filled = np.flatnonzero(taken)
    order = np.random.default_rng(seed).permutation(filled)
    n = int(np.searchsorted(np.cumsum(taken[order]), n_sampled, side="right"))
    return np.sort(order[: max(1, n)])


def _sampled_tokens(n: int, n_taken: int, seed: list[int]) -> npt.NDArray[np.int64] | slice:
    """Ascending random tokens of a document of ``n`` tokens."""
    if n_taken == n:
        return slice(None)
    return np.sort(np.random.default_rng(seed).choice(n, n_taken, replace=False))
