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
    as_indices,
    as_offsets,
    as_texts,
    as_token_ids,
    as_values,
    refuse_infinite,
)
from colmodern.ragged.offsets import offsets_of, rows_of_texts
from colmodern.ragged.spans import TokenSpans, fault_of_spans, joined_spans

if TYPE_CHECKING:
    from colmodern.ragged.write_store import DescribedEncoder


_LARGEST = (1 << 63) - 1  # limit of an offset


@dataclass(frozen=True, eq=False, repr=False)
class TokenEmbeddings:
    """The token embeddings of ``n_docs`` texts in one array, one text after another.

    Arrays, tensors and lists are converted and checked; views and selections are not checked
    again.

    Attributes:
        values: (n_tokens, dim) float32 or float16 unit rows; other floats become float32.
        offsets: (n_docs + 1,) int64; text i owns rows offsets[i] to offsets[i + 1].
        token_ids: (n_tokens,) int32 vocabulary id of each row, None when unknown.
        fingerprint: Fingerprint of the encoder, ``Encoder.fingerprint("document")`` for queries
            too, None when unknown. An index refuses embeddings of another encoder.
        spans: The characters that each token covers, None when unknown.

    Raises:
        InputError: The shapes do not fit each other, or a value is not finite.
    """

    values: npt.NDArray[np.floating]
    offsets: npt.NDArray[np.int64]
    token_ids: npt.NDArray[np.int32] | None = None
    fingerprint: str | None = None
    spans: TokenSpans | None = None

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
        self._set(values, offsets, ids, self.fingerprint, expect_spans(self.spans, offsets))

    def _set(
        self,
        values: npt.NDArray[np.floating],
        offsets: npt.NDArray[np.int64],
        token_ids: npt.NDArray[np.int32] | None,
        fingerprint: str | None,
        spans: TokenSpans | None,
    ) -> None:
        fields = {"values": values, "offsets": offsets, "token_ids": token_ids}
        for name, value in {**fields, "fingerprint": fingerprint, "spans": spans}.items():
            object.__setattr__(self, name, value)

    @classmethod
    def unchecked(
        cls,
        values: npt.NDArray[np.floating],
        offsets: npt.NDArray[np.int64],
        token_ids: npt.NDArray[np.int32] | None = None,
        fingerprint: str | None = None,
        spans: TokenSpans | None = None,
    ) -> TokenEmbeddings:
        """Wrap arrays without checks: views of checked arrays, or mapped files.

        Args:
            values: (n_tokens, dim) float32 or float16, finite.
            offsets: (n_docs + 1,) int64, rising from 0 to n_tokens.
            token_ids: (n_tokens,) int32, or None.
            fingerprint: Fingerprint of the encoder, or None.
            spans: The characters of each token, or None.

        Returns:
            Embeddings that share the arrays.
        """
        embeddings = object.__new__(cls)
        embeddings._set(values, offsets, token_ids, fingerprint, spans)
        return embeddings

    @classmethod
    def from_list(
        cls, texts: Iterable[npt.ArrayLike], *, dim: int | None = None
    ) -> TokenEmbeddings:
        """Join one (n_tokens, dim) array, tensor or list of rows per text.

        Args:
            texts: The arrays, or one (n_docs, n_tokens, dim) array; ``[]`` is a text without
                tokens.
            dim: Width of a row; needed only when no text has a token.

        Returns:
            Embeddings of the texts, in a new array.

        Raises:
            InputError: A text is not such an array, has another dim, or a value that is not
                finite; the message names it.
        """
        arrays, width = as_texts(texts, dim)
        if not arrays:
            return cls(np.zeros((0, width), np.float32), np.zeros(1, np.int64))
        return cls(np.concatenate(arrays), offsets_of([len(array) for array in arrays]))

    @classmethod
    def load(cls, path: Path | str) -> TokenEmbeddings:
        """Read a store of ``save`` or ``colmodern encode`` into memory.

        ``EmbeddingStore(path)`` has the document ids too, and leaves the values on disk.

        Args:
            path: The store's folder.

        Returns:
            Embeddings of all documents, in their stored dtype.

        Raises:
            StorageError: The folder is damaged, unfinished or not a store.
        """
        from colmodern.ragged.store import EmbeddingStore  # the store imports this module

        return EmbeddingStore(path).to_memory(dtype=None)

    def save(
        self,
        path: Path | str,
        doc_ids: Sequence[str] | None = None,
        *,
        encoder: DescribedEncoder | None = None,
        overwrite: bool = False,
    ) -> None:
        """Write an embedding store, all or nothing.

        Args:
            path: A folder that does not exist, or is empty.
            doc_ids: (n_docs,) unique texts; default "0", "1", ...
            encoder: The Encoder that made the embeddings; with it ``colmodern search`` can encode
                queries without ``--model``.
            overwrite: Whether to replace a store at ``path``.

        Raises:
            InputError: The ids are not one unique text a document.
            StorageError: ``path`` exists, or cannot be written.
        """
        from colmodern.ragged.store import EmbeddingStore  # the store imports this module

        EmbeddingStore.write(path, self, doc_ids, encoder=encoder, overwrite=overwrite)

    @property
    def n_docs(self) -> int:
        """Number of texts."""
        return len(self.offsets) - 1

    @property
    def n_tokens(self) -> int:
        """Number of token embeddings, one row each."""
        return len(self.values)

    @property
    def dim(self) -> int:
        """Width of a token embedding."""
        return int(self.values.shape[1])

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """(n_docs,) int64 number of tokens of each text."""
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
        """View of one text's rows, or of consecutive texts."""
        if isinstance(key, slice):
            return self._slice(key)
        index = self._index(key)
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def _slice(self, key: slice) -> TokenEmbeddings:
        try:
            start, stop, step = key.indices(self.n_docs)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{shown(key)} is not a slice of texts ({error}); pass whole numbers"
            ) from error
        if step != 1:
            raise InputError(f"slice step is {step}; only consecutive texts can be sliced")
        offsets = self.offsets[start : max(start, stop) + 1]
        tokens = slice(offsets[0], offsets[-1])
        ids = None if self.token_ids is None else self.token_ids[tokens]
        spans = None if self.spans is None else self.spans.docs(start, stop)
        rows = self.values[tokens]
        return self.unchecked(rows, offsets - offsets[0], ids, self.fingerprint, spans)

    def _index(self, key: Any) -> int:
        if isinstance(key, bool | np.bool_) or not hasattr(key, "__index__"):
            raise InputError(
                f"{shown(key)} is not an index of texts; pass a whole number or a slice, or use select"
            )
        try:
            return range(self.n_docs)[operator.index(key)]
        except (TypeError, ValueError, RuntimeError) as error:  # for an array of several numbers
            raise InputError(f"{shown(key)} is not one text; use select for several") from error
        except IndexError as error:
            raise InputError(
                f"text {shown(key)} is out of range for {self.n_docs}; pass 0 to {self.n_docs - 1}"
            ) from error

    def __iter__(self) -> Iterator[npt.NDArray[np.floating]]:
        return (self[index] for index in range(self.n_docs))

    def select(self, indices: npt.ArrayLike) -> TokenEmbeddings:
        """Copy texts.

        Args:
            indices: (n,) whole numbers, where -1 is the last text and numbers may repeat; or a
                mask of (n_docs,) bools.

        Returns:
            Embeddings of the n texts, in the order of ``indices``.

        Raises:
            InputError: An index is out of range, a mask has another length, or the value is not
                whole numbers.
        """
        texts = as_indices(indices, self.n_docs)
        lengths = self.lengths[texts]
        tokens = rows_of_texts(self.offsets[:-1][texts], lengths)
        ids = None if self.token_ids is None else self.token_ids[tokens]
        spans = None if self.spans is None else self.spans.select(texts)
        return self.unchecked(
            self.values[tokens], offsets_of(lengths), ids, self.fingerprint, spans
        )

    def chunks(
        self, max_tokens: int, max_docs: int = 1 << 62
    ) -> Iterator[tuple[int, TokenEmbeddings]]:
        """Views of consecutive texts, in chunks.

        Args:
            max_tokens: Most tokens in a chunk; a longer text comes alone.
            max_docs: Most texts in a chunk.

        Yields:
            Index of a chunk's first text, and the chunk's embeddings.

        Raises:
            InputError: A limit is not a whole number of at least 1.
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


def joined_embeddings(runs: Sequence[TokenEmbeddings], dtype: str | None = None) -> TokenEmbeddings:
    """The texts of several runs, one run after another, with what all of them have.

    Args:
        runs: At least one, of one encoder.
        dtype: Of the values; None for their own.
    """
    ids = [run.token_ids for run in runs if run.token_ids is not None]
    spans = [run.spans for run in runs if run.spans is not None]
    return TokenEmbeddings.unchecked(
        np.concatenate([np.asarray(run.values, dtype=dtype) for run in runs]),
        offsets_of(np.concatenate([run.lengths for run in runs])),
        np.concatenate(ids) if len(ids) == len(runs) else None,
        runs[0].fingerprint,
        joined_spans(spans) if len(spans) == len(runs) else None,
    )


def expect_spans(spans: object, offsets: npt.NDArray[np.int64]) -> TokenSpans | None:
    """The same spans; raises InputError for those of other texts than the embeddings."""
    if spans is None:
        return None
    if not isinstance(spans, TokenSpans):
        raise InputError(f"spans is a {type(spans).__name__}; pass TokenSpans, or None")
    if fault := fault_of_spans(spans, np.diff(offsets)):
        raise InputError(f"spans {fault}; pass the spans of these embeddings, or None")
    return spans
