"""Copies documents of segments to a new one, without the deleted; tokens stay as they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from colmodern.codecs.codec import CompressedDocuments
from colmodern.index.plaid.disk.segment import Segment
from colmodern.index.plaid.write.segment import EncodedChunk
from colmodern.ragged.offsets import rows_of_texts

CHUNK_TOKENS = 1 << 16  # tokens that are copied at a time; bounds the memory


class LiveDocuments(NamedTuple):
    """Documents of one segment that are not deleted; docs: (n,) ascending numbers in the segment."""

    segment: Segment
    docs: npt.NDArray[np.int64]


def live_documents(
    segments: Sequence[Segment], deleted: npt.NDArray[np.int64]
) -> list[LiveDocuments]:
    """The live documents of each segment; deleted: (n,) int64 doc_index, ascending."""
    live, base = [], 0
    for segment in segments:
        start, stop = np.searchsorted(deleted, [base, base + segment.n_docs])
        is_left = np.ones(segment.n_docs, np.bool_)
        is_left[deleted[start:stop] - base] = False
        live.append(LiveDocuments(segment, np.flatnonzero(is_left)))
        base += segment.n_docs
    return live


def ids_of(live: Sequence[LiveDocuments]) -> list[str]:
    """Ids of live documents, in order."""
    return [doc_id for documents in live for doc_id in documents.segment.ids.get(documents.docs)]


def lengths_of(live: Sequence[LiveDocuments]) -> npt.NDArray[np.int64]:
    """(n_docs,) tokens of each document."""
    lengths = [documents.segment.lengths[documents.docs] for documents in live]
    return np.concatenate([np.empty(0, np.int64), *lengths])


def copied_chunks(live: Sequence[LiveDocuments]) -> Iterator[EncodedChunk]:
    """The compressed tokens of live documents, in chunks of about CHUNK_TOKENS."""
    for segment, docs in live:
        lengths = segment.lengths[docs]
        ends = np.cumsum(lengths)
        start = 0
        while start < len(docs):
            before = ends[start] - lengths[start]
            stop = int(np.searchsorted(ends, before + CHUNK_TOKENS, side="right"))
            chunk = slice(start, max(stop, start + 1))
            yield EncodedChunk(lengths[chunk], _tokens_of(segment, docs[chunk], lengths[chunk]))
            start = chunk.stop


def _tokens_of(
    segment: Segment, docs: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
) -> CompressedDocuments:
    tokens = rows_of_texts(segment.arrays.doc_offsets[docs], lengths)
    return CompressedDocuments(
        segment.arrays.codes[tokens],
        segment.arrays.gains[tokens],
        segment.arrays.residuals[tokens],
        segment.arrays.doc_gains[docs],
        segment.arrays.doc_vectors[docs],
    )
