"""Writes the characters of a segment's tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from colmodern.disk import remove
from colmodern.files import naming_write_errors
from colmodern.index.inputs import Embeddings
from colmodern.index.plaid.disk.segment import SPAN_FILES
from colmodern.index.plaid.write.arrays import ArrayWriter
from colmodern.index.plaid.write.merge import LiveDocuments
from colmodern.ragged.arrays import write_array
from colmodern.ragged.offsets import offsets_of
from colmodern.ragged.spans import TokenSpans, explicit_rows, width_of
from colmodern.ragged.store import EmbeddingStore

_DOCS = 4096  # documents whose spans are copied at a time; bounds the memory

Runs = Callable[[], Iterable[TokenSpans]]


def write_spans(folder: Path, runs: Runs) -> None:
    """Write spans.npy, and where a row stands for several tokens the two files of that.

    They are a hundredth of a segment, so an interrupted build writes them again.

    Args:
        folder: Folder of the segment.
        runs: Gives the spans of all documents of the segment, in order, at every call.

    Raises:
        StorageError: The disk is full, or stored spans are damaged.
    """
    largest, last_row, is_pooled, lengths = 0, 0, False, [np.empty(0, np.int64)]
    for run in runs():
        largest = max(largest, int(run.steps.max(initial=0)))
        is_pooled = is_pooled or run.is_pooled
        last_row = max(last_row, int(explicit_rows(run).max(initial=0)))
        lengths.append(np.diff(run.offsets))
    offsets = offsets_of(np.concatenate(lengths))
    n_spans = int(offsets[-1])
    with naming_write_errors(folder), ExitStack() as stack:
        for name in SPAN_FILES:  # an interrupted build left them
            remove(folder / name)
        steps = stack.enter_context(
            ArrayWriter(folder / "spans.npy", width_of(largest), (2,), n_spans)
        )
        row_of_token = None
        if is_pooled:
            write_array(folder / "span_offsets.npy", offsets)
            row_of_token = stack.enter_context(
                ArrayWriter(folder / "span_rows.npy", width_of(last_row), (), n_spans)
            )
        for run in runs():
            steps.append(run.steps.astype(steps.dtype))
            if row_of_token is not None:
                row_of_token.append(explicit_rows(run).astype(row_of_token.dtype))


def spans_of_source(embeddings: Embeddings) -> Iterator[TokenSpans]:
    """The spans of embeddings, shard by shard; none where there are none."""
    if isinstance(embeddings, EmbeddingStore):
        yield from embeddings.span_shards()
    elif embeddings.spans is not None:
        yield embeddings.spans


def spans_of_live(live: Iterable[LiveDocuments]) -> Iterator[TokenSpans]:
    """The spans of live documents of segments."""
    for segment, docs in live:
        if segment.spans is not None:
            for start in range(0, len(docs), _DOCS):
                yield segment.spans.select(docs[start : start + _DOCS])


def has_spans(embeddings: Embeddings) -> bool:
    """Whether embeddings know which characters each token covers."""
    if isinstance(embeddings, EmbeddingStore):
        return embeddings.has_spans
    return embeddings.spans is not None
