"""A corpus of any size, made of real documents: halves of two of them, with noise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from colmodern import TokenEmbeddings
from colmodern.ragged.offsets import offsets_of, rows_of_texts
from colmodern.ragged.store import EmbeddingStore

NOISE = 0.1  # length of the noise that is added to a token of length 1
_BANK = 1 << 16  # rows of noise
_AT_ONCE = 1 << 17  # documents that are scored together
_STEP = 40_503  # odd, so that the tokens of a document have rows of noise far apart


class ResampledStore(EmbeddingStore):
    """The documents of a store, then as many as are wanted that are made of them; nothing is stored.

    A made document has the first half of one real document's tokens and the second half of
    another's, each with noise, made unit length again. It depends on its number alone, so that the first
    million of ten million documents are those of a million. The real values stay in memory.
    """

    def __init__(self, folder: Path, n_docs: int, seed: int = 0) -> None:
        """Open the store at ``folder`` as a corpus of ``n_docs``."""
        super().__init__(folder)
        real = self.to_memory(dtype="float16")
        self._values, self._ids, self._own = real.values, real.token_ids, self.n_docs
        self._own_names = super().doc_ids
        rng = np.random.default_rng(seed)
        noise = rng.standard_normal((_BANK, self.dim), dtype=np.float32)
        self._noise = noise * np.float32(NOISE / np.sqrt(self.dim))
        self._pairs = rng.integers(0, self._own, (n_docs, 2), dtype=np.int32)
        first, second = self._pairs[:, 0], self._pairs[:, 1]
        begins, lengths = real.offsets[:-1], real.lengths
        self._halves = np.stack(
            [begins, begins + (lengths + 1) // 2, begins + lengths // 2, real.offsets[1:]]
        )
        own = np.arange(min(self._own, n_docs))
        # a real document is the whole of its first half, and no second half
        self._starts = np.stack([begins[first], begins[second] + lengths[second] // 2], axis=1)
        self._counts = np.stack(
            [(lengths[first] + 1) // 2, lengths[second] - lengths[second] // 2], axis=1
        )
        self._starts[own, 0] = begins[own]
        self._counts[own, 0], self._counts[own, 1] = lengths[own], 0
        self._lengths = self._counts.sum(axis=1)
        self.n_docs, self.n_tokens = n_docs, int(self._lengths.sum())

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """(n_docs,) tokens of each document."""
        return self._lengths

    @property
    def doc_ids(self) -> list[str]:
        """The ids of real documents, and numbers."""
        return self._own_names[: self.n_docs] + [str(i) for i in range(self._own, self.n_docs)]

    def chunks(
        self, max_tokens: int, max_docs: int = 1 << 62
    ) -> Iterator[tuple[int, TokenEmbeddings]]:
        """As EmbeddingStore.chunks; documents are made when their chunk is reached."""
        ends, first = offsets_of(self._lengths), 0
        while first < self.n_docs:
            last = int(np.searchsorted(ends, ends[first] + max_tokens, side="right")) - 1
            last = min(max(last, first + 1), first + max_docs, self.n_docs)
            yield first, self.make(np.arange(first, last))
            first = last

    def maxsim_without_noise(self, query: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(n_docs,) MaxSim of a (n_query_tokens, dim) query with documents without their noise."""
        similarities = self._values.astype(np.float32) @ query.T
        first, second = (
            np.stack(
                [
                    similarities[start:stop].max(axis=0, initial=-np.inf)
                    for start, stop in zip(starts, stops, strict=True)
                ]
            )
            for starts, stops in (self._halves[:2], self._halves[2:])
        )
        scores = np.empty(self.n_docs, np.float32)
        for start in range(0, self.n_docs, _AT_ONCE):
            pairs = self._pairs[start : start + _AT_ONCE].copy()
            own = np.arange(start, min(start + _AT_ONCE, self._own))
            pairs[: len(own)] = own[:, None]
            best = np.maximum(first[pairs[:, 0]], second[pairs[:, 1]])
            scores[start : start + _AT_ONCE] = best.sum(axis=1)
        return scores

    def make(self, docs: npt.NDArray[np.int64]) -> TokenEmbeddings:
        """The documents of these numbers, in float16."""
        rows = rows_of_texts(self._starts[docs].ravel(), self._counts[docs].ravel())
        offsets = offsets_of(self._lengths[docs])
        values = self._values[rows].astype(np.float32)
        is_made = np.repeat(docs >= self._own, self._lengths[docs])
        place = np.arange(len(rows)) - np.repeat(offsets[:-1], self._lengths[docs])
        place = (place + np.repeat(docs * 7919, self._lengths[docs])) * _STEP % _BANK
        values[is_made] += self._noise[place[is_made]]
        values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
        ids = None if self._ids is None else self._ids[rows]
        return TokenEmbeddings.unchecked(values.astype(np.float16), offsets, ids)
