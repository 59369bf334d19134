"""Token embeddings of many texts in one array: ragged, never padded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import numpy.typing as npt

from colmodern.errors import InputError


@dataclass(frozen=True, eq=False)
class TokenEmbeddings:
    """The token embeddings of ``n_docs`` texts, one after another.

    values: (n_tokens, dim) float32 or float16, unit rows
    offsets: (n_docs + 1,) int64; text i owns rows offsets[i] to offsets[i + 1]
    token_ids: (n_tokens,) int32, the vocabulary id behind each row, or None when unknown

    Raises InputError when the shapes do not fit each other.
    """

    values: npt.NDArray[np.floating]
    offsets: npt.NDArray[np.int64]
    token_ids: npt.NDArray[np.int32] | None = None

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or not np.issubdtype(self.values.dtype, np.floating):
            raise InputError(
                f"values has shape {self.values.shape} and dtype {self.values.dtype}; "
                "pass one (n_tokens, dim) array of floats"
            )
        offsets = np.asarray(self.offsets, dtype=np.int64)
        object.__setattr__(self, "offsets", offsets)
        if offsets.ndim != 1 or len(offsets) == 0 or offsets[0] != 0:
            raise InputError("offsets must be (n_docs + 1,) and begin with 0")
        if offsets[-1] != len(self.values) or np.any(np.diff(offsets) < 0):
            raise InputError(
                f"offsets must rise to the number of rows, {len(self.values)}; "
                f"they end at {offsets[-1]}"
            )
        if self.token_ids is not None and len(self.token_ids) != len(self.values):
            raise InputError(
                f"token_ids has {len(self.token_ids)} entries for {len(self.values)} rows; "
                "pass one id a row, or None"
            )

    @classmethod
    def from_list(
        cls, texts: Sequence[npt.ArrayLike], *, dim: int | None = None
    ) -> TokenEmbeddings:
        """Join one (n_tokens, dim) array per text; ``dim`` is needed only for an empty list."""
        arrays = [np.asarray(text) for text in texts]
        if not arrays:
            return cls(np.zeros((0, dim or 0), np.float32), np.zeros(1, np.int64))
        widths = {array.shape[1:] for array in arrays}
        if len(widths) != 1 or any(array.ndim != 2 for array in arrays):
            raise InputError(
                f"texts have rows of shapes {sorted(widths)}; pass (n_tokens, dim) arrays of one dim"
            )
        return cls(np.concatenate(arrays), offsets_of([len(array) for array in arrays]))

    @property
    def n_docs(self) -> int:
        """How many texts."""
        return len(self.offsets) - 1

    @property
    def n_tokens(self) -> int:
        """How many rows."""
        return len(self.values)

    @property
    def dim(self) -> int:
        """Width of a row."""
        return int(self.values.shape[1])

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """(n_docs,) tokens of each text."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return self.n_docs

    @overload
    def __getitem__(self, key: int) -> npt.NDArray[np.floating]: ...
    @overload
    def __getitem__(self, key: slice) -> TokenEmbeddings: ...
    def __getitem__(self, key: int | slice) -> npt.NDArray[np.floating] | TokenEmbeddings:
        """Rows of one text, or a run of consecutive texts; both are views."""
        if isinstance(key, slice):
            start, stop, step = key.indices(self.n_docs)
            if step != 1:
                raise InputError(f"slice step is {step}; only consecutive texts can be sliced")
            offsets = self.offsets[start : max(start, stop) + 1]
            rows = slice(offsets[0], offsets[-1])
            ids = None if self.token_ids is None else self.token_ids[rows]
            return TokenEmbeddings(self.values[rows], offsets - offsets[0], ids)
        index = range(self.n_docs)[key]
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def __iter__(self) -> Iterator[npt.NDArray[np.floating]]:
        return (self[index] for index in range(self.n_docs))

    def select(self, indices: npt.ArrayLike) -> TokenEmbeddings:
        """Copy of the texts at ``indices``, in that order; an index may repeat."""
        chosen = np.asarray(indices, dtype=np.int64)
        lengths = self.lengths[chosen]
        offsets = offsets_of(lengths)
        rows = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1][chosen] - offsets[:-1], lengths)
        ids = None if self.token_ids is None else self.token_ids[rows]
        return TokenEmbeddings(self.values[rows], offsets, ids)

    def chunks(
        self, max_tokens: int, max_docs: int = 1 << 62
    ) -> Iterator[tuple[int, TokenEmbeddings]]:
        """At most ``max_docs`` consecutive texts with at most ``max_tokens`` rows, as views.

        Yields (index of the first text, texts); a text longer than that comes alone.
        """
        start = 0
        while start < self.n_docs:
            limit = self.offsets[start] + max_tokens
            stop = int(np.searchsorted(self.offsets, limit, side="right")) - 1
            stop = max(min(stop, start + max_docs), start + 1)
            yield start, self[start:stop]
            start = stop


def offsets_of(lengths: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """(n + 1,) int64 running sum of (n,) lengths, beginning with 0."""
    lengths = np.asarray(lengths, dtype=np.int64)
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets
