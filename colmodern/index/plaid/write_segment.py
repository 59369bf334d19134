"""Making a segment: ids and lengths, tokens encoded piece by piece, then their lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from colmodern.codecs.codec import Codec, Encoded
from colmodern.files import naming_write_errors
from colmodern.index.plaid.arrays import ArrayWriter
from colmodern.index.plaid.doc_ids import write_doc_ids
from colmodern.index.plaid.inverted_lists import write_inverted_lists
from colmodern.index.plaid.source import Embeddings, is_finite, pieces, refuse_infinite
from colmodern.index.plaid.threads import Threads
from colmodern.progress import Progress
from colmodern.ragged.arrays import write_array
from colmodern.ragged.embeddings import TokenEmbeddings, offsets_of

_FEWEST_TOKENS = 4096  # of a thread's share
_AT_ONCE = 16_384  # tokens that a thread encodes at a time; bounds the memory of long documents


class Piece(NamedTuple):
    """Consecutive documents, compressed; lengths: (n_docs,) tokens of each."""

    lengths: npt.NDArray[np.int64]
    encoded: Encoded


class Place(NamedTuple):
    """How far a segment is: whole documents and their tokens."""

    n_docs: int
    n_tokens: int


def encode_pieces(
    embeddings: Embeddings, codec: Codec, max_tokens: int, threads: Threads, *, after: int = 0
) -> Iterator[Piece]:
    """Compress documents, those after the first ``after``, which end a piece.

    Raises InputError that names a document with values that are not finite.
    """
    for first, piece in pieces(embeddings, max_tokens):
        if first >= after:
            encoded = _encode(piece, codec, threads)
            if encoded is None:
                refuse_infinite(piece, first)
            else:
                yield Piece(piece.lengths, encoded)


def _encode(piece: TokenEmbeddings, codec: Codec, threads: Threads) -> Encoded | None:
    """The compressed tokens, or None when some are not finite."""
    n = piece.n_tokens
    out = Encoded(
        np.empty(n, codec.code_dtype),
        np.empty(n, np.uint8),
        np.empty((n, len(codec.codebook)), np.uint8),
    )
    faults: list[int] = []

    def work(first: int, last: int) -> None:
        for start in range(first, last, _AT_ONCE):
            stop = min(start + _AT_ONCE, last)
            values = piece.values[start:stop]
            if not is_finite(values):
                faults.append(start)
                return
            ids = None if piece.token_ids is None else piece.token_ids[start:stop]
            for whole, part in zip(out, codec.encode(values, ids), strict=True):
                whole[start:stop] = part

    threads.split(work, n, least=_FEWEST_TOKENS)
    return None if faults else out


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
    write_tokens(folder, source, int(lengths.sum()), codec, progress)
    write_inverted_lists(folder, len(codec.centroids.rows), progress)


def write_documents(folder: Path, doc_ids: Sequence[str], lengths: npt.NDArray[np.int64]) -> None:
    """Write ids and lengths; raises as write_segment does."""
    write_doc_ids(folder, doc_ids)
    with naming_write_errors(folder):
        write_array(folder / "doc_offsets.npy", offsets_of(lengths))


def write_tokens(
    folder: Path,
    source: Iterator[Piece],
    n_tokens: int,
    codec: Codec,
    progress: Progress,
    *,
    done: Place | None = None,
    after_piece: Callable[[Place], None] = lambda place: None,
) -> None:
    """Write the compressed tokens.

    n_tokens: of the whole segment
    done: what an earlier call wrote and ``source`` does not bring again
    after_piece: told how far the files are, all on disk

    Raises StorageError for a full disk.
    """
    place = done or Place(0, 0)
    resume_at = place.n_tokens if done else None
    progress.start("compress", n_tokens, unit="tokens", done=place.n_tokens)
    with ExitStack() as stack:
        parts: tuple[tuple[str, npt.DTypeLike, tuple[int, ...]], ...] = (
            ("codes", codec.code_dtype, ()),
            ("gains", np.uint8, ()),
            ("residuals", np.uint8, (len(codec.codebook),)),
        )
        writers = [
            stack.enter_context(
                ArrayWriter(folder / f"{name}.npy", dtype, shape, n_tokens, resume_at=resume_at)
            )
            for name, dtype, shape in parts
        ]
        for piece in source:
            for writer, part in zip(writers, piece.encoded, strict=True):
                writer.append(part)
            for writer in writers:
                writer.sync()
            n = len(piece.encoded.codes)
            place = Place(place.n_docs + len(piece.lengths), place.n_tokens + n)
            after_piece(place)
            progress.advance(n)
    progress.finish()
