"""Valid indexes of a few random documents, put together without a codec or a build."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from colmodern.codecs.codec import code_dtype
from colmodern.files import sha256_of_file
from colmodern.index.plaid.disk.doc_ids import write_doc_ids
from colmodern.index.plaid.disk.manifest import CodecRecord, Manifest, commit, read_manifest
from colmodern.index.plaid.disk.segment import (
    SEGMENT_FILES,
    SegmentRecord,
    record_segment,
    segment_name,
)
from colmodern.ragged.arrays import write_array
from colmodern.ragged.offsets import offsets_of

N_CENTROIDS = 5
N_BYTES = 4
N_DOC_BYTES = 2
FILES = [
    "manifest.json",
    "codec/centroids.npy",
    "deleted-00000.npy",
    *(f"segment-00001/{name}" for name in SEGMENT_FILES),
]


def write_index(
    folder: Path, lengths: Sequence[Sequence[int]] = ((3, 0, 2, 4), (1, 6)), *, seed: int = 0
) -> Manifest:
    """Commit an index; lengths: tokens of each document, one list a segment.

    Ids are "doc 0", "doc 1", ...; a block has two documents.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    (folder / "codec").mkdir()
    centroids = rng.normal(size=(N_CENTROIDS, 8)).astype(np.float32)
    write_array(folder / "codec" / "centroids.npy", centroids)
    records = []
    n_docs = 0
    for number, tokens in enumerate(lengths):
        ids = [f"doc {n_docs + i}" for i in range(len(tokens))]
        records.append(write_segment(folder, number, list(tokens), ids, rng))
        n_docs += len(tokens)
    manifest = Manifest(
        settings={"nbits": 4},
        dim=8,
        fingerprint=None,
        n_centroids=N_CENTROIDS,
        codec=CodecRecord(
            files={"centroids.npy": sha256_of_file(folder / "codec" / "centroids.npy")}
        ),
        segments=tuple(records),
        next_segment=len(records),
    )
    commit(folder, manifest)
    return manifest


def write_segment(
    index: Path,
    number: int,
    lengths: list[int],
    ids: list[str],
    rng: np.random.Generator,
    docs_a_block: int = 2,
) -> SegmentRecord:
    """Write the files of a segment; its codes, gains and residuals are random."""
    folder = index / segment_name(number)
    folder.mkdir()
    n_docs, n_tokens = len(lengths), sum(lengths)
    codes = rng.integers(0, N_CENTROIDS, n_tokens).astype(code_dtype(N_CENTROIDS))
    offsets = offsets_of(lengths)
    block_docs = np.append(np.arange(0, n_docs, docs_a_block), n_docs)
    lists, sizes = [], []
    for first, stop in pairwise(block_docs.tolist()):
        for centroid in range(N_CENTROIDS):
            docs = [
                doc - first
                for doc in range(first, stop)
                if centroid in codes[offsets[doc] : offsets[doc + 1]]
            ]
            lists += docs
            sizes.append(len(docs))
    by_block = np.array(sizes, np.int64).reshape(-1, N_CENTROIDS)
    arrays = {
        "codes": codes,
        "gains": rng.integers(0, 256, n_tokens).astype(np.uint8),
        "residuals": rng.integers(0, 256, (n_tokens, N_BYTES)).astype(np.uint8),
        "doc_gains": rng.integers(0, 256, n_docs).astype(np.uint8),
        "doc_vectors": rng.integers(0, 256, (n_docs, N_DOC_BYTES)).astype(np.uint8),
        "doc_offsets": offsets,
        "block_docs": block_docs.astype(np.int64),
        "list_offsets": np.pad(np.cumsum(by_block, axis=1), ((0, 0), (1, 0))).astype(np.uint32),
        "block_starts": offsets_of(by_block.sum(axis=1)),
        "list_docs": np.array(lists, np.uint16),
    }
    for name, array in arrays.items():
        write_array(folder / f"{name}.npy", array)
    write_doc_ids(folder, ids)
    return record_segment(folder, folder.name, n_docs=n_docs, n_tokens=n_tokens)


def replace_array(folder: Path, name: str, array: np.ndarray) -> None:
    """Change an array of the second segment together with its checksum."""
    write_array(folder / "segment-00001" / f"{name}.npy", array)
    recommit(folder)


def recommit(folder: Path) -> None:
    """Give the second segment the checksums that its files have now."""
    manifest = read_manifest(folder)
    first, second = manifest.segments
    second = record_segment(
        folder / second.name, second.name, n_docs=second.n_docs, n_tokens=second.n_tokens
    )
    commit(folder, manifest.model_copy(update={"segments": (first, second)}))
