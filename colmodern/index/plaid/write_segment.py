"""Making a segment: ids and lengths, tokens encoded piece by piece, then their lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from colmodern.codecs.codec import Codec, Encoded
from colmodern.files import naming_write_errors
from colmodern.index.finite import expect_finite
from colmodern.index.plaid.arrays import ArrayWriter
from colmodern.index.plaid.doc_ids import write_doc_ids
from colmodern.index.plaid.inverted_lists import write_inverted_lists
from colmodern.index.plaid.source import Embeddings, pieces
from colmodern.progress import Progress
from colmodern.ragged.arrays import write_array
from colmodern.ragged.embeddings import TokenEmbeddings, offsets_of
from colmodern.threads import Threads

_AT_ONCE = 8192  # tokens that a thread encodes at a time


class Piece(NamedTuple):
    """Consecutive documents, compressed; lengths: (n_docs,) tokens of each."""

    lengths: npt.NDArray[np.int64]
    encoded: Encoded


class Place(NamedTuple):
    """How far a segment is: whole documents, their tokens, and checksums of the files so far."""

    n_docs: int
    n_tokens: int
    checksums: Mapping[str, str] = {}


def encode_pieces(
    embeddings: Embeddings, codec: Codec, max_tokens: int, threads: Threads, *, after: int = 0
) -> Iterator[Piece]:
    """Compress documents, those after the first ``after``, which end a piece.

    A piece is given when it has ``max_tokens`` tokens; threads do not wait for its end.
    Raises InputError that names a document with values that are not finite.
    """

    def work(part: tuple[int, TokenEmbeddings]) -> Piece:
        first, texts = part
        expect_finite(texts, first)
        return Piece(texts.lengths, codec.encode(texts))

    parts = (
        (first + start, part)
        for first, piece in pieces(embeddings, max_tokens)
        for start, part in piece.chunks(_AT_ONCE)
        if first + start >= after
    )
    done: list[Piece] = []
    for part in threads.stream(work, parts):
        done.append(part)
        if sum(len(one.encoded.codes) for one in done) >= max_tokens:
            yield _joined(done)
            done = []
    if done:
        yield _joined(done)


def _joined(parts: list[Piece]) -> Piece:
    lengths, encoded = zip(*parts, strict=True)
    arrays = (np.concatenate(same) for same in zip(*encoded, strict=True))
    return Piece(np.concatenate(lengths), Encoded(*arrays))


def write_segment(
    folder: Path,
    source: Iterator[Piece],
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
    write_tokens(folder, source, Place(len(lengths), int(lengths.sum())), codec, progress)
    write_inverted_lists(folder, len(codec.centroids.values), progress)


def write_documents(folder: Path, doc_ids: Sequence[str], lengths: npt.NDArray[np.int64]) -> None:
    """Write ids and lengths; raises as write_segment does."""
    write_doc_ids(folder, doc_ids)
    with naming_write_errors(folder):
        write_array(folder / "doc_offsets.npy", offsets_of(lengths))


def write_tokens(
    folder: Path,
    source: Iterator[Piece],
    whole: Place,
    codec: Codec,
    progress: Progress,
    *,
    done: Place | None = None,
    after_piece: Callable[[Place], None] = lambda place: None,
) -> None:
    """Write the compressed tokens and document vectors.

    whole: how much the segment will have
    done: what an earlier call wrote and ``source`` does not bring again
    after_piece: told how far the files are, all on disk

    Raises StorageError for a full disk, ResumeError when the files are not what ``done`` says.
    """
    place = done or Place(0, 0)
    progress.start("compress", whole.n_tokens, unit="tokens", done=place.n_tokens)
    n_bytes, n_doc_bytes = len(codec.residuals.codebook), len(codec.documents.codebook)
    parts: tuple[tuple[str, npt.DTypeLike, tuple[int, ...], str], ...] = (  # as in Encoded
        ("codes", codec.code_dtype, (), "n_tokens"),
        ("gains", np.uint8, (), "n_tokens"),
        ("residuals", np.uint8, (n_bytes,), "n_tokens"),
        ("doc_gains", np.uint8, (), "n_docs"),
        ("doc_vectors", np.uint8, (n_doc_bytes,), "n_docs"),
    )
    with ExitStack() as stack:
        writers = []
        for name, dtype, row_shape, rows in parts:
            resume_at = None if done is None else getattr(done, rows)
            path, n_rows = folder / f"{name}.npy", getattr(whole, rows)
            checksum = done.checksums.get(name, "") if done else None
            writer = ArrayWriter(
                path, dtype, row_shape, n_rows, resume_at=resume_at, checksum=checksum
            )
            writers.append(stack.enter_context(writer))
        for piece in source:
            for writer, part in zip(writers, piece.encoded, strict=True):
                writer.append(part)
            for writer in writers:
                writer.sync()
            n = len(piece.encoded.codes)
            sums = {writer.path.stem: writer.checksum() for writer in writers}
            place = Place(place.n_docs + len(piece.lengths), place.n_tokens + n, sums)
            after_piece(place)
            progress.advance(n)
    progress.finish()
