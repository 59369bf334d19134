"""Copying documents of segments into a new one, tokens as they are, without the deleted documents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from colmodern.codecs.codec import Encoded
from colmodern.index.plaid.segment import Segment
from colmodern.index.plaid.write_segment import Piece
from colmodern.ragged.embeddings import offsets_of

PIECE_TOKENS = 1 << 16  # that are copied at a time; bounds the memory of it


class Part(NamedTuple):
    """Documents of one segment that are not deleted; rows: (n,) ascending, inside the segment."""

    segment: Segment
    rows: npt.NDArray[np.int64]


def parts_of(segments: Sequence[Segment], deleted: npt.NDArray[np.int64]) -> list[Part]:
    """What is left of each segment; deleted: (n,) int64 doc_index, ascending."""
    parts, base = [], 0
    for segment in segments:
        start, stop = np.searchsorted(deleted, [base, base + segment.n_docs])
        is_left = np.ones(segment.n_docs, np.bool_)
        is_left[deleted[start:stop] - base] = False
        parts.append(Part(segment, np.flatnonzero(is_left)))
        base += segment.n_docs
    return parts


def ids_of(parts: Sequence[Part]) -> list[str]:
    """The ids of the documents, in order."""
    return [doc_id for part in parts for doc_id in part.segment.ids.get(part.rows)]


def lengths_of(parts: Sequence[Part]) -> npt.NDArray[np.int64]:
    """(n_docs,) tokens of each document."""
    lengths = [part.segment.lengths[part.rows] for part in parts]
    return np.concatenate([np.empty(0, np.int64), *lengths])


def copies(parts: Sequence[Part]) -> Iterator[Piece]:
    """Their compressed tokens, some documents at a time."""
    for segment, rows in parts:
        lengths = segment.lengths[rows]
        ends = np.cumsum(lengths)
        start = 0
        while start < len(rows):
            before = ends[start] - lengths[start]
            stop = int(np.searchsorted(ends, before + PIECE_TOKENS, side="right"))
            some = slice(start, max(stop, start + 1))
            yield Piece(lengths[some], _tokens_of(segment, rows[some], lengths[some]))
            start = some.stop


def _tokens_of(
    segment: Segment, rows: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
) -> Encoded:
    firsts = segment.arrays.doc_offsets[rows] - offsets_of(lengths)[:-1]
    tokens = np.arange(lengths.sum()) + np.repeat(firsts, lengths)
    return Encoded(
        segment.arrays.codes[tokens],
        segment.arrays.gains[tokens],
        segment.arrays.residuals[tokens],
        segment.arrays.doc_gains[rows],
        segment.arrays.doc_vectors[rows],
    )
