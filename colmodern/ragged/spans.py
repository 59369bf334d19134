"""Characters of its text that each token covers, in two to eight bytes a token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from colmodern.errors import InputError
from colmodern.ragged.offsets import offsets_of, rows_of_texts

Bounds = npt.NDArray[np.int64]
WIDTHS = (np.uint8, np.uint16, np.uint32)  # dtypes of steps and rows
_LARGEST = (1 << 32) - 1


@dataclass(frozen=True, eq=False, repr=False)
class TokenSpans:
    """The characters that the tokens of ``n_docs`` texts cover, one text after another.

    A span is (start, end) in code points, as indexes of a Python string. It is stored as a step
    from the start of the token before, or from 0, and a length: both fit one byte in most texts.
    Starts never fall within a text. A special token, a marker and a prompt cover nothing: their
    spans are empty and lie where they stand.

    Pooling replaces several tokens by one row of embeddings, and they may be anywhere in the text.
    The smallest span around them would claim words between them that the row knows nothing of, so
    spans stay those of the tokens, and ``row_of_token`` says which row each token became a part of.

    Attributes:
        steps: (n_spans, 2) uint8, uint16 or uint32; the step to each start, and each length.
        offsets: (n_docs + 1,) int64; text i owns spans offsets[i] to offsets[i + 1].
        row_of_token: (n_spans,) uint8, uint16 or uint32 row of its text that each token is a part
            of; None where each token has a row of its own.
    """

    steps: npt.NDArray[np.unsignedinteger]
    offsets: npt.NDArray[np.int64]
    row_of_token: npt.NDArray[np.unsignedinteger] | None = None

    @classmethod
    def from_bounds(
        cls,
        bounds: npt.ArrayLike,
        offsets: npt.NDArray[np.int64],
        row_of_token: npt.NDArray[np.integer] | None = None,
    ) -> TokenSpans:
        """Store spans in as few bytes as they need.

        Args:
            bounds: (n_spans, 2) starts and ends, counted from the beginning of each text.
            offsets: (n_docs + 1,) int64, rising from 0 to n_spans.
            row_of_token: (n_spans,) row that each token is a part of, or None.

        Returns:
            The spans.

        Raises:
            InputError: A span ends before it starts, or starts before the one before it.
        """
        bounds = np.asarray(bounds, np.int64).reshape(-1, 2)
        steps = np.empty((len(bounds), 2), np.int64)
        steps[:, 0] = np.diff(bounds[:, 0], prepend=0)
        firsts = offsets[:-1][np.diff(offsets) > 0]
        steps[firsts, 0] = bounds[firsts, 0]
        steps[:, 1] = bounds[:, 1] - bounds[:, 0]
        if len(steps) and (steps.min() < 0 or steps.max() > _LARGEST):
            raise InputError(
                "spans must be (start, end) with starts that do not fall within a text; "
                "pass those of the tokenizer"
            )
        width = width_of(int(steps.max(initial=0)))
        rows = None if row_of_token is None else _narrow(np.asarray(row_of_token))
        return cls(steps.astype(width), np.asarray(offsets, np.int64), rows)

    @property
    def n_docs(self) -> int:
        """Number of texts."""
        return len(self.offsets) - 1

    @property
    def n_spans(self) -> int:
        """Number of tokens, before any pooling."""
        return len(self.steps)

    @property
    def is_pooled(self) -> bool:
        """Whether a row can stand for several tokens."""
        return self.row_of_token is not None

    @property
    def n_bytes(self) -> int:
        """Bytes of steps and rows, without the offsets."""
        return self.steps.nbytes + (0 if self.row_of_token is None else self.row_of_token.nbytes)

    def __repr__(self) -> str:
        size = f"n_docs={self.n_docs}, n_spans={self.n_spans}"
        return f"TokenSpans({size}, dtype={self.steps.dtype}, is_pooled={self.is_pooled})"

    def __getitem__(self, document: int) -> Bounds:
        """(n_spans, 2) int64 starts and ends of the tokens of one text."""
        steps = self.steps[self.offsets[document] : self.offsets[document + 1]].astype(np.int64)
        starts = np.cumsum(steps[:, 0])
        return np.stack([starts, starts + steps[:, 1]], axis=1)

    def rows_of(self, document: int) -> npt.NDArray[np.int64]:
        """The rows of one text that its tokens are a part of.

        Args:
            document: Index of the text.

        Returns:
            (n_spans,) int64.
        """
        start, stop = self.offsets[document : document + 2].tolist()
        if self.row_of_token is None:
            return np.arange(stop - start)
        return self.row_of_token[start:stop].astype(np.int64)

    def docs(self, start: int, stop: int) -> TokenSpans:
        """View consecutive texts.

        Args:
            start: The first text.
            stop: After the last text.

        Returns:
            Their spans, which share the arrays.
        """
        offsets = self.offsets[start : max(start, stop) + 1]
        taken = slice(int(offsets[0]), int(offsets[-1]))
        row_of_token = None if self.row_of_token is None else self.row_of_token[taken]
        return TokenSpans(self.steps[taken], offsets - offsets[0], row_of_token)

    def select(self, documents: npt.NDArray[np.int64]) -> TokenSpans:
        """Copy texts.

        Args:
            documents: (n,) int64 indices from 0.

        Returns:
            Their spans, in this order.
        """
        lengths = np.diff(self.offsets)[documents]
        taken = rows_of_texts(self.offsets[:-1][documents], lengths)
        row_of_token = None if self.row_of_token is None else self.row_of_token[taken]
        return TokenSpans(self.steps[taken], offsets_of(lengths), row_of_token)

    def pooled(self, labels: npt.NDArray[np.int64], starts: npt.NDArray[np.int64]) -> TokenSpans:
        """The spans after rows were pooled.

        Args:
            labels: (n_rows,) new row of its text that each row becomes a part of.
            starts: (n_docs + 1,) first row of each text in ``labels``.

        Returns:
            The same tokens, with the rows that they are a part of now.
        """
        own = np.repeat(starts[:-1], np.diff(self.offsets))
        old = explicit_rows(self).astype(np.int64)
        return TokenSpans(self.steps, self.offsets, _narrow(labels[own + old]))


def joined_spans(runs: Sequence[TokenSpans]) -> TokenSpans:
    """Spans of several runs of texts, one after another; pooled where one of them is."""
    runs = [run for run in runs if run.n_docs] or list(runs)[:1]
    if not runs:
        return TokenSpans(np.empty((0, 2), np.uint8), np.zeros(1, np.int64))
    offsets = offsets_of(np.concatenate([np.diff(run.offsets) for run in runs]))
    steps = np.concatenate([run.steps for run in runs])
    row_of_token = None
    if any(run.is_pooled for run in runs):
        row_of_token = np.concatenate([explicit_rows(run) for run in runs])
    return TokenSpans(steps, offsets, row_of_token)


def explicit_rows(spans: TokenSpans) -> npt.NDArray[np.unsignedinteger]:
    """(n_spans,) row of its text that each token is a part of, also where nothing was pooled."""
    if spans.row_of_token is not None:
        return spans.row_of_token
    lengths = np.diff(spans.offsets)
    return _narrow(rows_of_texts(np.zeros_like(lengths), lengths))


def _narrow(rows: npt.NDArray[np.integer]) -> npt.NDArray[np.unsignedinteger]:
    return rows.astype(width_of(int(rows.max(initial=0))))


def width_of(largest: int) -> type[np.unsignedinteger]:
    """The narrowest dtype of numbers up to ``largest``."""
    return next(width for width in WIDTHS if largest <= np.iinfo(width).max)


def fault_of_spans(spans: TokenSpans, lengths: npt.NDArray[np.int64]) -> str | None:
    """What does not fit between spans and the rows of embeddings that they belong to, or None.

    Args:
        spans: The spans of n_docs texts.
        lengths: (n_docs,) rows of each text.
    """
    offsets, owned = spans.offsets, np.diff(spans.offsets)
    if len(owned) != len(lengths):
        return f"are of {len(owned)} texts for {len(lengths)}"
    if offsets[0] != 0 or offsets[-1] != spans.n_spans or (len(owned) and owned.min() < 0):
        return f"have offsets that do not rise from 0 to {spans.n_spans}"
    if spans.row_of_token is None:
        differs = owned != lengths
    else:
        differs = (owned == 0) != (lengths == 0)
        most = np.repeat(lengths, owned)
        if len(most) and bool(np.any(spans.row_of_token >= most)):
            return "belong to a row that its text does not have"
    if differs.any():
        document = int(np.argmax(differs))
        return f"are {owned[document]} for the {lengths[document]} rows of text {document}"
    return None


def extent(bounds: Bounds) -> tuple[int, int] | None:
    """Where the first token begins and the last one ends; None where no token covers anything."""
    covering = bounds[bounds[:, 0] < bounds[:, 1]]
    return (int(covering[0, 0]), int(covering[:, 1].max())) if len(covering) else None
