"""Token embeddings of many texts in one array: ragged, never padded."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from colmodern.arguments import checked_count
from colmodern.checks import shown, text_fault
from colmodern.errors import InputError
from colmodern.ragged.convert import (
    as_offsets,
    as_places,
    as_texts,
    as_token_ids,
    as_values,
    refuse_infinite,
)

if TYPE_CHECKING:
    from colmodern.ragged.write_store import DescribedEncoder


_LARGEST = (1 << 63) - 1  # what an offset may be


@dataclass(frozen=True, eq=False, repr=False)
class TokenEmbeddings:
    """The token embeddings of ``n_docs`` texts, one after another.

    values: (n_tokens, dim) float32 or float16, unit rows; other floats become float32, tensors
        arrays
    offsets: (n_docs + 1,) int64; text i owns rows offsets[i] to offsets[i + 1]
    token_ids: (n_tokens,) int32, the vocabulary id behind each row, or None when unknown
    fingerprint: of the encoder that made them, ``Encoder.fingerprint("document")`` for queries
        too; None when unknown. An index refuses embeddings of another one

    Raises InputError when the shapes do not fit each other or a value is not finite. Views and
    selections are not checked again.
    """

    values: npt.NDArray[np.floating]
    offsets: npt.NDArray[np.int64]
    token_ids: npt.NDArray[np.int32] | None = None
    fingerprint: str | None = None

    def __post_init__(self) -> None:
        values = as_values(self.values)
        offsets = as_offsets(self.offsets, len(values))
        ids = None if self.token_ids is None else as_token_ids(self.token_ids, len(values))
        if not isinstance(self.fingerprint, str | None):
            raise InputError(f"fingerprint={shown(self.fingerprint)}; pass a text, or None")
        if self.fingerprint and (fault := text_fault(self.fingerprint)) is not None:
            raise InputError(
                f"fingerprint={shown(self.fingerprint)} {fault}; pass that of the Encoder, or None"
            )
        refuse_infinite(values, offsets)
        self._set(values, offsets, ids, self.fingerprint)

    def _set(
        self,
        values: npt.NDArray[np.floating],
        offsets: npt.NDArray[np.int64],
        token_ids: npt.NDArray[np.int32] | None,
        fingerprint: str | None,
    ) -> None:
        for name, value in (("values", values), ("offsets", offsets), ("token_ids", token_ids)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "fingerprint", fingerprint)

    @classmethod
    def unchecked(
        cls,
        values: npt.NDArray[np.floating],
        offsets: npt.NDArray[np.int64],
        token_ids: npt.NDArray[np.int32] | None = None,
        fingerprint: str | None = None,
    ) -> TokenEmbeddings:
        """Embeddings of arrays that are right already: views of checked ones, or mapped files.

        Args:
            values: (n_tokens, dim) float32 or float16, finite.
            offsets: (n_docs + 1,) int64, rising from 0 to n_tokens.
            token_ids: (n_tokens,) int32, or None.
            fingerprint: of the encoder, or None.
        """
        embeddings = object.__new__(cls)
        embeddings._set(values, offsets, token_ids, fingerprint)
        return embeddings

    @classmethod
    def from_list(
        cls, texts: Iterable[npt.ArrayLike], *, dim: int | None = None
    ) -> TokenEmbeddings:
        """Join one (n_tokens, dim) array, tensor or list of rows per text.

        Args:
            texts: also one (n_docs, n_tokens, dim) array; ``[]`` is a text without tokens.
            dim: needed only when no text has a token.

        Raises:
            InputError: it names the text that is no such array, has another dim, or a value that
                is not finite.
        """
        arrays, width = as_texts(texts, dim)
        if not arrays:
            return cls(np.zeros((0, width), np.float32), np.zeros(1, np.int64))
        return cls(np.concatenate(arrays), offsets_of([len(array) for array in arrays]))

    @classmethod
    def load(cls, path: Path | str) -> TokenEmbeddings:
        """Everything that ``save`` or ``colmodern encode`` wrote, in memory.

        ``EmbeddingStore(path)`` has the document ids, and leaves the values on disk.

        Raises:
            StorageError: the folder is damaged, unfinished or no embeddings.
        """
        from colmodern.ragged.store import EmbeddingStore  # that module needs this one

        return EmbeddingStore(path).to_memory(dtype=None)

    def save(
        self,
        path: Path | str,
        doc_ids: Sequence[str] | None = None,
        *,
        encoder: DescribedEncoder | None = None,
        overwrite: bool = False,
    ) -> None:
        """Write an embedding store, all or nothing; arguments as of ``EmbeddingStore.write``.

        Raises:
            InputError: the ids are not one unique text a document.
            StorageError: ``path`` exists, or cannot be written.
        """
        from colmodern.ragged.store import EmbeddingStore  # that module needs this one

        EmbeddingStore.write(path, self, doc_ids, encoder=encoder, overwrite=overwrite)

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

    def __repr__(self) -> str:
        size = f"n_docs={self.n_docs}, n_tokens={self.n_tokens}, dim={self.dim}"
        return f"TokenEmbeddings({size}, dtype={self.values.dtype})"

    def __len__(self) -> int:
        return self.n_docs

    @overload
    def __getitem__(self, key: int) -> npt.NDArray[np.floating]: ...
    @overload
    def __getitem__(self, key: slice) -> TokenEmbeddings: ...
    def __getitem__(self, key: int | slice) -> npt.NDArray[np.floating] | TokenEmbeddings:
        """Rows of one text, or a run of consecutive texts; both are views."""
        if isinstance(key, slice):
            return self._slice(key)
        index = self._index(key)
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def _slice(self, key: slice) -> TokenEmbeddings:
        try:
            start, stop, step = key.indices(self.n_docs)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{shown(key)} is no slice of texts ({error}); pass whole numbers"
            ) from error
        if step != 1:
            raise InputError(f"slice step is {step}; only consecutive texts can be sliced")
        offsets = self.offsets[start : max(start, stop) + 1]
        rows = slice(offsets[0], offsets[-1])
        ids = None if self.token_ids is None else self.token_ids[rows]
        return self.unchecked(self.values[rows], offsets - offsets[0], ids, self.fingerprint)

    def _index(self, key: Any) -> int:
        if isinstance(key, bool | np.bool_) or not hasattr(key, "__index__"):
            raise InputError(
                f"a text cannot be chosen by {shown(key)}; pass a whole number or a slice, or use select"
            )
        try:
            return range(self.n_docs)[operator.index(key)]
        except (TypeError, ValueError, RuntimeError) as error:  # as arrays of several numbers
            raise InputError(f"{shown(key)} is not one text; use select for several") from error
        except IndexError as error:
            raise InputError(
                f"text {shown(key)} is out of range for {self.n_docs}; pass 0 to {self.n_docs - 1}"
            ) from error

    def __iter__(self) -> Iterator[npt.NDArray[np.floating]]:
        return (self[index] for index in range(self.n_docs))

    def select(self, indices: npt.ArrayLike) -> TokenEmbeddings:
        """Copy of the texts at ``indices``, in that order; an index may repeat.

        Args:
            indices: (n,) whole numbers, where -1 is the last text; or a mask of (n_docs,) bools.

        Raises:
            InputError: an index out of range, a mask of another length, or other numbers.
        """
        places = as_places(indices, self.n_docs)
        lengths = self.lengths[places]
        offsets = offsets_of(lengths)
        rows = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1][places] - offsets[:-1], lengths)
        ids = None if self.token_ids is None else self.token_ids[rows]
        return self.unchecked(self.values[rows], offsets, ids, self.fingerprint)

    def chunks(
        self, max_tokens: int, max_docs: int = 1 << 62
    ) -> Iterator[tuple[int, TokenEmbeddings]]:
        """At most ``max_docs`` consecutive texts with at most ``max_tokens`` rows, as views.

        Yields (index of the first text, texts); a text longer than that comes alone. Raises
        InputError for limits that are no whole numbers of at least 1.
        """
        return self._chunks(
            checked_count("max_tokens", max_tokens), checked_count("max_docs", max_docs)
        )

    def _chunks(self, max_tokens: int, max_docs: int) -> Iterator[tuple[int, TokenEmbeddings]]:
        start = 0
        while start < self.n_docs:
            limit = min(int(self.offsets[start]) + max_tokens, _LARGEST)
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
