"""Inverted lists: for each centroid, the documents that have a token there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from colmodern.files import naming_write_errors
from colmodern.index.plaid.write.arrays import ArrayWriter
from colmodern.kernels.cpu.encoding import count_postings, fill_postings
from colmodern.progress import Progress
from colmodern.ragged.arrays import map_array, write_array
from colmodern.ragged.mapping import release_pages

_MOST_DOCS = 1 << 16  # documents of a block: their numbers in it fit uint16
_MOST_TOKENS = 1 << 24  # tokens of a block, unless it is one document


def write_inverted_lists(folder: Path, n_centroids: int, progress: Progress) -> None:
    """Add the lists to a segment folder that has codes.npy and doc_offsets.npy.

    Raises StorageError for a full disk.
    """
    codes, doc_offsets = map_array(folder / "codes.npy"), map_array(folder / "doc_offsets.npy")
    block_docs = _cut_blocks(doc_offsets)
    n_blocks = len(block_docs) - 1
    progress.start("invert", len(doc_offsets) - 1, unit="documents")
    offsets = np.zeros((n_blocks, n_centroids + 1), np.uint32)
    block_starts = np.zeros(n_blocks + 1, np.int64)
    ends = np.empty(n_centroids + 1, np.int64)
    for block in range(n_blocks):
        count_postings(codes, doc_offsets, block_docs[block], block_docs[block + 1], ends)
        offsets[block] = ends
        block_starts[block + 1] = block_starts[block] + ends[-1]
        release_pages(codes)
    with ArrayWriter(folder / "list_docs.npy", np.uint16, (), int(block_starts[-1])) as writer:
        for block in range(n_blocks):
            docs = np.empty(int(np.diff(block_starts)[block]), np.uint16)
            ends = offsets[block].astype(np.int64)
            fill_postings(codes, doc_offsets, block_docs[block], block_docs[block + 1], ends, docs)
            writer.append(docs)
            release_pages(codes)
            progress.advance(int(block_docs[block + 1] - block_docs[block]))
    with naming_write_errors(folder):
        write_array(folder / "list_offsets.npy", offsets)
        write_array(folder / "block_starts.npy", block_starts)
        write_array(folder / "block_docs.npy", block_docs)
    progress.finish()


def _cut_blocks(doc_offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(n_blocks + 1,) first documents of blocks."""
    n_docs, starts = len(doc_offsets) - 1, [0]
    while starts[-1] < n_docs:
        first = starts[-1]
        last = (
            int(np.searchsorted(doc_offsets, doc_offsets[first] + _MOST_TOKENS, side="right")) - 1
        )
        starts.append(min(max(last, first + 1), first + _MOST_DOCS, n_docs))
    return np.array(starts, np.int64)
