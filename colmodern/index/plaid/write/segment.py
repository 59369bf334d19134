"""Writes a segment: ids and lengths, tokens encoded chunk by chunk, then their lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from colmodern.codecs.codec import Codec, CompressedDocuments
from colmodern.files import naming_write_errors
from colmodern.index.finite import expect_finite
from colmodern.index.inputs import Embeddings
from colmodern.index.plaid.disk.doc_ids import write_doc_ids
from colmodern.index.plaid.write.arrays import ArrayWriter
from colmodern.index.plaid.write.inverted_lists import write_inverted_lists
from colmodern.index.plaid.write.source import chunks
from colmodern.progress import Progress
from colmodern.ragged.arrays import write_array
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.offsets import offsets_of
from colmodern.threads import Threads


class EncodedChunk(NamedTuple):
    """Consecutive documents, compressed; lengths: (n_docs,) tokens of each."""

    lengths: npt.NDArray[np.int64]
    encoded: CompressedDocuments


class SegmentProgress(NamedTuple):
    """Progress of a segment: whole documents, their tokens, and checksums of the files so far."""

    n_docs: int
    n_tokens: int
    checksums: Mapping[str, str] = {}


def encode_chunks(
    embeddings: Embeddings, codec: Codec, max_tokens: int, threads: Threads, *, after: int = 0
) -> Iterator[EncodedChunk]:
    """Compress documents from number ``after`` on.

    A chunk is yielded when it has ``max_tokens`` tokens; threads do not wait for its end.
    Raises InputError that names a document with values that are not finite.
    """

    def work(batch: tuple[int, TokenEmbeddings]) -> EncodedChunk:
        first, documents = batch
        expect_finite(documents, first)
        return EncodedChunk(documents.lengths, codec.encode(documents))

    batches = (
        (max(first + start, after), batch[max(0, after - first - start) :])
        for first, chunk in chunks(embeddings, max_tokens)
        for start, batch in chunk.chunks(codec.batch_tokens)
        if first + start + batch.n_docs > after
    )
    done: list[EncodedChunk] = []
    for batch in threads.stream(work, batches):
        done.append(batch)
        if sum(len(batch.encoded.codes) for batch in done) >= max_tokens:
            yield _joined(done)
            done = []
    if done:
        yield _joined(done)


def _joined(batches: list[EncodedChunk]) -> EncodedChunk:
    lengths, encoded = zip(*batches, strict=True)
    arrays = (np.concatenate(same) for same in zip(*encoded, strict=True))
    return EncodedChunk(np.concatenate(lengths), CompressedDocuments(*arrays))


def write_segment(
    folder: Path,
    source: Iterator[EncodedChunk],
    doc_ids: Sequence[str],
    lengths: npt.NDArray[np.int64],
    codec: Codec,
    progress: Progress,
) -> None:
    """Fill an existing folder with the files of a segment.

    lengths: (n_docs,) tokens of each document

    Raises InputError for bad ids, before anything is written; StorageError for a full disk.
    """
    write_documents(folder, doc_ids, lengths)
    write_tokens(folder, source, SegmentProgress(len(lengths), int(lengths.sum())), codec, progress)
    write_inverted_lists(folder, len(codec.centroids.values), progress)


def write_documents(folder: Path, doc_ids: Sequence[str], lengths: npt.NDArray[np.int64]) -> None:
    """Write ids and lengths; raises as write_segment does."""
    write_doc_ids(folder, doc_ids)
    with naming_write_errors(folder):
        write_array(folder / "doc_offsets.npy", offsets_of(lengths))


def write_tokens(
    folder: Path,
    source: Iterator[EncodedChunk],
    whole: SegmentProgress,
    codec: Codec,
    progress: Progress,
    *,
    done: SegmentProgress | None = None,
    after_chunk: Callable[[SegmentProgress], None] = lambda written: None,
) -> None:
    """Write the compressed tokens and document vectors.

    whole: documents and tokens of the finished segment
    done: progress of an earlier call, whose documents ``source`` does not bring again
    after_chunk: called with the progress so far, when all of it is on disk

    Raises StorageError for a full disk, ResumeError when the files are not what ``done`` says.
    """
    written = done or SegmentProgress(0, 0)
    progress.start("compress", whole.n_tokens, unit="tokens", done=written.n_tokens)
    n_bytes, n_doc_bytes = len(codec.residuals.codebook), len(codec.documents.codebook)
    columns: tuple[
        tuple[str, npt.DTypeLike, tuple[int, ...], str], ...
    ] = (  # as in CompressedDocuments
        ("codes", codec.code_dtype, (), "n_tokens"),
        ("gains", np.uint8, (), "n_tokens"),
        ("residuals", np.uint8, (n_bytes,), "n_tokens"),
        ("doc_gains", np.uint8, (), "n_docs"),
        ("doc_vectors", np.uint8, (n_doc_bytes,), "n_docs"),
    )
    with ExitStack() as stack:
        writers = []
        for name, dtype, row_shape, unit in columns:
            resume_at = None if done is None else getattr(done, unit)
            path, n_rows = folder / f"{name}.npy", getattr(whole, unit)
            checksum = done.checksums.get(name, "") if done else None
            writer = ArrayWriter(
                path, dtype, row_shape, n_rows, resume_at=resume_at, checksum=checksum
            )
            writers.append(stack.enter_context(writer))
        for chunk in source:
            for writer, column in zip(writers, chunk.encoded, strict=True):
                writer.append(column)
            for writer in writers:
                writer.sync()
            n = len(chunk.encoded.codes)
            sums = {writer.path.stem: writer.checksum() for writer in writers}
            written = SegmentProgress(
                written.n_docs + len(chunk.lengths), written.n_tokens + n, sums
            )
            after_chunk(written)
            progress.advance(n)
    progress.finish()
