"""Exact search of int8 documents on the CPU: every document, by products of bytes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from colmodern.errors import ResourceError
from colmodern.index.finite import refuse_infinite
from colmodern.kernels.cpu.int8 import Int8Documents, maxsim_int8, query_to_bytes
from colmodern.kernels.cpu.ir.vectors import masks_of
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.finite import is_finite
from colmodern.ragged.store import EmbeddingStore
from colmodern.threads import Threads

_log = logging.getLogger(__name__)
_CACHED_TOKENS = 8192  # tokens that are read once from memory for all queries
_CHUNK_TOKENS = 1 << 18  # tokens that are rounded to int8 at a time
_FEW_QUERIES = 8  # below this, documents are only split among threads


class _Query(NamedTuple):
    """A query as kernels/cpu/int8.py takes it: one block of lanes after another."""

    values: npt.NDArray[np.uint8]
    scales: npt.NDArray[np.float32]
    masks: npt.NDArray[np.unsignedinteger]


class Int8Search:
    """Documents that are rounded to int8 once, or for every search again if they do not fit.

    memory: bytes that they, their float32 copies and scores may take
    """

    def __init__(self, embeddings: TokenEmbeddings | EmbeddingStore, memory: int) -> None:
        self._embeddings = embeddings
        self._memory = memory
        self._dim = -(-embeddings.dim // 4) * 4  # zeros behind a token's values change no product
        self._documents: list[tuple[int, Int8Documents]] | None = None

    def search(self, queries: TokenEmbeddings) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        """Scores of each chunk: its first document, and (n_queries, n_docs) float32.

        Raises ResourceError when a document is too long for the memory, InputError for one whose
        values are not finite.
        """
        rounded = [self._as_bytes(query) for query in queries]
        threads = Threads(torch.get_num_threads())
        n_docs = max(1, self._memory // 4 // (8 * len(rounded) + 16))
        for first, documents in self._chunks():
            for start in range(0, len(documents.offsets) - 1, n_docs):
                yield first + start, _score(rounded, documents, start, start + n_docs, threads)

    def _chunks(self) -> Iterator[tuple[int, Int8Documents]]:
        if self._documents is None and self._fits():
            self._documents = list(self._rounded())
        yield from self._rounded() if self._documents is None else self._documents

    def _fits(self) -> bool:
        n_bytes = self._embeddings.n_tokens * (self._dim + 8) + 8 * self._embeddings.n_docs
        if n_bytes > self._memory // 2:
            _log.warning(
                "max_memory=%d bytes is too small to keep %d: every search rounds the documents again",
                self._memory,
                2 * n_bytes,
            )
        return n_bytes <= self._memory // 2

    def _rounded(self) -> Iterator[tuple[int, Int8Documents]]:
        each = 5 * self._dim + 8  # int8 and float32 of a token
        n_tokens = max(1, min(_CHUNK_TOKENS, self._memory // 4 // each))
        for first, chunk in self._embeddings.chunks(n_tokens):
            if chunk.n_tokens > max(n_tokens, _CACHED_TOKENS):
                raise ResourceError(
                    f"max_memory={self._memory} bytes is too small for a document of "
                    f"{chunk.n_tokens} tokens; give at least {4 * each * chunk.n_tokens}"
                )
            values = np.ascontiguousarray(self._padded(chunk.values), np.float32)
            if not is_finite(values):  # rounding would make numbers of NaN and infinity
                refuse_infinite(chunk, first)
            yield first, Int8Documents(values, chunk.offsets)

    def _as_bytes(self, query: npt.NDArray[np.floating]) -> _Query:
        return _Query(*query_to_bytes(self._padded(query)), masks_of(len(query)))

    def _padded(self, values: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        if values.shape[1] == self._dim:
            return values
        padded = np.zeros((len(values), self._dim), np.float32)
        padded[:, : values.shape[1]] = values
        return padded


def _score(
    queries: list[_Query], documents: Int8Documents, first: int, last: int, threads: Threads
) -> npt.NDArray[np.float32]:
    """(n_queries, n) scores of documents first to last, if there are so many."""
    offsets = documents.offsets[first : last + 1]
    scores = np.zeros((len(queries), len(offsets) - 1), np.float32)
    arrays = documents.rounded, documents.scales, documents.sums
    n_tokens = int(offsets[-1] - offsets[0])
    n_shares = threads.n if len(queries) < _FEW_QUERIES else -(-n_tokens // _CACHED_TOKENS)
    wanted = offsets[0] + np.arange(1, n_shares) * n_tokens // max(1, n_shares)
    ends = np.searchsorted(offsets, wanted)
    edges = [0, *ends.tolist(), len(offsets) - 1]

    def work(share: int) -> None:
        start, stop = edges[share], edges[share + 1]
        for number, query in enumerate(queries):
            for values, scales, mask in zip(*query, strict=True):
                own = offsets[start : stop + 1]
                maxsim_int8(values, scales, mask, own, *arrays, scores[number, start:stop])

    threads.map(work, range(len(edges) - 1))
    return scores
