"""One state of an open index: what every search of it shares, replaced whole when it changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from colmodern.codecs.codec import Codec
from colmodern.codecs.files import load_codec
from colmodern.errors import StorageError
from colmodern.index.plaid.manifest import CURE, CodecRecord, read_manifest
from colmodern.index.plaid.query_tables import SearchCodec
from colmodern.index.plaid.storage import Opened, open_index
from colmodern.index.plaid.verify import Verification, Verify
from colmodern.index.plaid.view import View
from colmodern.ragged.embeddings import offsets_of
from colmodern.ragged.mapped import expect_checksum


@dataclass(frozen=True, eq=False)
class State:
    """An opened index with its codec.

    everything: a view of all documents but the deleted ones
    n_tokens: tokens of these documents, so that a search does the same before and after deleted
    documents are left out of the files
    verification: to be called before tokens or lists are used
    """

    opened: Opened
    everything: View
    n_tokens: int
    verification: Verification

    @property
    def codec(self) -> Codec:
        """How its tokens are compressed."""
        return self.everything.codec.codec


def load_state(folder: Path, verify: Verify = "lazy") -> State:
    """Open an index folder and its codec.

    Args:
        folder: of the index.
        verify: when tokens and lists are compared with their checksums; see verify.py.

    Raises:
        StorageError: as open_index does, when a part of the codec differs from its checksum, and
            when codec and segments do not fit each other.
        InputError: for another ``verify``.
    """
    while True:
        opened = open_index(folder)
        codec = None
        try:
            codec = load_codec(opened.codec_folder, _comparing(opened.manifest.codec))
        except StorageError:
            if not _was_replaced(opened):
                raise
        if codec is not None and not _was_replaced(opened):
            _expect_fit(opened, codec)
            state = make_state(opened, SearchCodec(codec), verify)
            if verify == "full":
                state.verification()
            return state


def make_state(opened: Opened, codec: SearchCodec, verify: Verify) -> State:
    """An index opened anew, with the codec that it has had."""
    sizes = [segment.n_docs for segment in opened.segments]
    bases = offsets_of(sizes)
    deleted: list[npt.NDArray[np.bool_] | None] = [None] * len(sizes)
    n_tokens = opened.manifest.n_tokens
    for i, base in enumerate(bases[:-1]):
        start, stop = np.searchsorted(opened.deleted, [base, base + sizes[i]])
        if stop > start:
            gone, rows = np.zeros(sizes[i], np.bool_), opened.deleted[start:stop] - base
            gone[rows] = True
            deleted[i] = gone
            offsets = opened.segments[i].arrays.doc_offsets
            n_tokens -= int((offsets[rows + 1] - offsets[rows]).sum())
    n_open = int(bases[-1]) - len(opened.deleted)
    verification = Verification(opened.folder, opened.segments, opened.manifest.n_centroids, verify)
    return State(
        opened, View(codec, opened.segments, bases, deleted, n_open), n_tokens, verification
    )


def _comparing(record: CodecRecord) -> Callable[[Path, npt.NDArray[Any]], None]:
    """What compares a part of the codec with the manifest."""

    def expect_file(path: Path, array: npt.NDArray[Any]) -> None:
        if (sha256 := record.files.get(path.name)) is None:
            raise StorageError(f"the manifest does not name {path}; {CURE}")
        expect_checksum(path, array, sha256=sha256, fast=record.fast.get(path.name), cure=CURE)

    return expect_file


def _was_replaced(opened: Opened) -> bool:
    """Whether another index came to this place while its codec was read."""
    return read_manifest(opened.folder).codec != opened.manifest.codec


def _expect_fit(opened: Opened, codec: Codec) -> None:
    manifest, path = opened.manifest, opened.codec_folder
    if (codec.dim, len(codec.centroids.values)) != (manifest.dim, manifest.n_centroids):
        raise StorageError(
            f"{path} has {len(codec.centroids.values)} centroids of dim {codec.dim}, the manifest "
            f"says {manifest.n_centroids} of {manifest.dim}; {CURE}"
        )
    for segment in opened.segments:
        for name, quantizer in (("residuals", codec.residuals), ("doc_vectors", codec.documents)):
            n_bytes = getattr(segment.arrays, name).shape[1]
            if n_bytes != len(quantizer.codebook):
                raise StorageError(
                    f"{opened.folder / segment.name}/{name}.npy has {n_bytes} bytes a row, "
                    f"the codec {len(quantizer.codebook)}; {CURE}"
                )
