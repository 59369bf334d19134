"""Scores of documents chunk by chunk, in bounded memory: in float32 through torch, or in int8."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from colmodern.errors import ResourceError
from colmodern.index.filters import Mask
from colmodern.index.finite import expect_finite
from colmodern.index.inputs import Embeddings
from colmodern.index.ranking import Matches
from colmodern.index.stores import is_mapped
from colmodern.kernels.torch_exact import maxsim_scores
from colmodern.progress import Progress
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.store import EmbeddingStore
from colmodern.types import Precision

if TYPE_CHECKING:
    from colmodern.index.exact.int8 import Int8Search

_QUERY_TOKENS_AT_ONCE = 1024  # wide enough for the matrix product to be the only cost
_KNOWN_FLOATS = (np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64))
_BYTES_PER_SCORE = 8  # a float32 score of a query and a document, and its copy while ranking


class DeviceSearch(Protocol):
    """What an exact index asks its GPUs for."""

    def search(self, queries: TokenEmbeddings, k: int) -> Iterator[tuple[int, list[Matches]]]:
        """The number of documents of each chunk, and matches of each query with the best k of them."""
        ...


class ChunkScores:
    """MaxSim of queries with all documents, or with those that a filter lets through.

    Args:
        embeddings: The documents.
        max_memory: Bytes for copies and similarities at one time.
        device: Where torch computes; int8 is on the CPU.
        precision: As in ExactIndex.
    """

    def __init__(
        self, embeddings: Embeddings, max_memory: int, device: str, precision: Precision
    ) -> None:
        self._embeddings = embeddings
        self._memory = max_memory
        self._device = device
        self._precision = precision
        # what is mapped from disk is looked at when the first search reads it
        self._is_checked = not is_mapped(embeddings)
        self._int8: Int8Search | None = None

    def search(
        self, queries: TokenEmbeddings, allowed: Mask | None, progress: Progress
    ) -> Iterator[tuple[int, list[Matches]]]:
        """The number of documents of each chunk, and matches of each query with them.

        Args:
            queries: The queries.
            allowed: (n_docs,) the documents that may match; None: all.
            progress: Hears of kernels that are compiled.

        Raises:
            ResourceError: A document is too long for the memory.
            InputError: A document has values that are not finite.
        """
        if self._precision == "float32":
            yield from self._in_float32(queries, allowed)
            return
        for first, scores in self._with_int8(progress).search(queries):
            n_docs = scores.shape[1]
            doc_index = np.arange(first, first + n_docs)
            if allowed is not None:
                is_allowed = allowed[doc_index]
                doc_index, scores = doc_index[is_allowed], scores[:, is_allowed]
            yield n_docs, [(doc_index, query_scores) for query_scores in scores]

    def _in_float32(
        self, queries: TokenEmbeddings, allowed: Mask | None
    ) -> Iterator[tuple[int, list[Matches]]]:
        tile = max(1, min(_QUERY_TOKENS_AT_ONCE, queries.n_tokens))
        n_tokens = max(1, self._for_tokens // (self._bytes_per_token + 12 * tile))
        n_docs = max(1, self._memory // 8 // (_BYTES_PER_SCORE * queries.n_docs + 16))
        for first, chunk in self._embeddings.chunks(n_tokens, n_docs):
            doc_index, documents = np.arange(first, first + chunk.n_docs), chunk
            if allowed is not None and not (is_allowed := allowed[doc_index]).all():
                doc_index, documents = doc_index[is_allowed], chunk.select(is_allowed)
            if not self._is_checked:
                expect_finite(documents, first)
            scores = self._scores(queries, documents)
            yield chunk.n_docs, [(doc_index, query_scores) for query_scores in scores]
        self._is_checked = self._is_checked or allowed is None

    def _scores(
        self, queries: TokenEmbeddings, documents: TokenEmbeddings
    ) -> npt.NDArray[np.float32]:
        """(n_queries, n_docs) scores."""
        return maxsim_scores(
            np.asarray(queries.values),
            queries.offsets,
            documents.values,
            documents.offsets,
            device=self._device,
            max_similarities=self._similarities(documents.n_tokens),
        )

    def _with_int8(self, progress: Progress) -> Int8Search:
        from colmodern.index.exact.int8 import Int8Search
        from colmodern.kernels.cpu.jit import tell_if_compiling

        if self._int8 is None:
            tell_if_compiling(progress.note)
            self._int8 = Int8Search(self._embeddings, self._memory)
        return self._int8

    def _similarities(self, n_tokens: int) -> int:
        """float32 similarities that fit beside a chunk of ``n_tokens``."""
        # beside them: the maxima of documents, which can be of a token each, and what torch and
        # the allocator keep for themselves
        room = (self._for_tokens - n_tokens * self._bytes_per_token) // 12
        if room < n_tokens:
            raise ResourceError(
                f"max_memory={self._memory} bytes is too small for a document of {n_tokens} tokens; "
                f"give at least {n_tokens * (self._bytes_per_token + 12) * 2 + 1}"
            )
        return room

    @property
    def _for_tokens(self) -> int:
        """Bytes for embeddings and similarities: half, since freed blocks leave holes behind."""
        return self._memory // 2

    @property
    def _bytes_per_token(self) -> int:
        return self._embeddings.dim * (4 + 2) + 16  # float32 copy, stored form, bookkeeping


def in_known_floats(embeddings: Embeddings) -> Embeddings:
    """The same embeddings, as float32 where torch does not know their dtype."""
    if isinstance(embeddings, EmbeddingStore) or embeddings.values.dtype in _KNOWN_FLOATS:
        return embeddings
    with np.errstate(over="ignore"):
        return replace(embeddings, values=np.asarray(embeddings.values, np.float32))
