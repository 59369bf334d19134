"""The state of an open index that all searches share; a change replaces it as a whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from colmodern.codecs.codec import Codec
from colmodern.codecs.files import load_codec
from colmodern.errors import StorageError
from colmodern.index.plaid.disk.manifest import CURE, CodecRecord, read_manifest
from colmodern.index.plaid.disk.storage import IndexSnapshot, open_index
from colmodern.index.plaid.disk.verify import Verification, Verify
from colmodern.index.plaid.search.query_tables import SearchCodec
from colmodern.index.plaid.search.view import View
from colmodern.index.plaid.search.view_cache import ViewCache
from colmodern.ragged.mapped import expect_checksum
from colmodern.ragged.offsets import offsets_of


@dataclass(frozen=True, eq=False)
class State:
    """An open index with its codec.

    view: all documents but the deleted ones
    n_tokens: tokens of these documents; deleted ones do not count, so that a search does the same
    before and after a compaction
    views: what filters let through
    verification: must be called before tokens or lists are used
    """

    snapshot: IndexSnapshot
    view: View
    n_tokens: int
    verification: Verification
    views: ViewCache

    @property
    def codec(self) -> Codec:
        """The codec that compressed its tokens."""
        return self.view.codec.codec


def load_state(folder: Path, verify: Verify = "lazy") -> State:
    """Open an index folder and its codec.

    Args:
        folder: The index folder.
        verify: When tokens and lists are compared with their checksums; see verify.py.

    Raises:
        StorageError: As from open_index; or a file of the codec differs from its checksum; or codec
            and segments do not fit each other.
        InputError: Another ``verify``.
    """
    while True:
        snapshot = open_index(folder)
        codec = None
        try:
            codec = load_codec(snapshot.codec_folder, _comparing(snapshot.manifest.codec))
        except StorageError:
            if not _was_replaced(snapshot):
                raise
        if codec is not None and not _was_replaced(snapshot):
            _expect_fit(snapshot, codec)
            state = make_state(snapshot, SearchCodec(codec), verify)
            if verify == "full":
                state.verification()
            return state


def make_state(snapshot: IndexSnapshot, codec: SearchCodec, verify: Verify) -> State:
    """The state of a snapshot whose codec is loaded already."""
    sizes = [segment.n_docs for segment in snapshot.segments]
    bases = offsets_of(sizes)
    deleted: list[npt.NDArray[np.bool_] | None] = [None] * len(sizes)
    n_tokens = snapshot.manifest.n_tokens
    for i, base in enumerate(bases[:-1]):
        start, stop = np.searchsorted(snapshot.deleted, [base, base + sizes[i]])
        if stop > start:
            mask, docs = np.zeros(sizes[i], np.bool_), snapshot.deleted[start:stop] - base
            mask[docs] = True
            deleted[i] = mask
            offsets = snapshot.segments[i].arrays.doc_offsets
            n_tokens -= int((offsets[docs + 1] - offsets[docs]).sum())
    n_open = int(bases[-1]) - len(snapshot.deleted)
    verification = Verification(
        snapshot.folder, snapshot.segments, snapshot.manifest.n_centroids, verify
    )
    return State(
        snapshot,
        View(codec, snapshot.segments, bases, deleted, n_open),
        n_tokens,
        verification,
        ViewCache(snapshot.manifest.n_docs),
    )


def _comparing(record: CodecRecord) -> Callable[[Path, npt.NDArray[np.generic]], None]:
    """A function that compares a file of the codec with the manifest."""

    def expect_file(path: Path, array: npt.NDArray[np.generic]) -> None:
        if (sha256 := record.files.get(path.name)) is None:
            raise StorageError(f"the manifest does not name {path}; {CURE}")
        expect_checksum(path, array, sha256=sha256, fast=record.fast.get(path.name), cure=CURE)

    return expect_file


def _was_replaced(snapshot: IndexSnapshot) -> bool:
    """Whether another index replaced it while its codec was read."""
    return read_manifest(snapshot.folder).codec != snapshot.manifest.codec


def _expect_fit(snapshot: IndexSnapshot, codec: Codec) -> None:
    manifest, path = snapshot.manifest, snapshot.codec_folder
    if (codec.dim, len(codec.centroids.values)) != (manifest.dim, manifest.n_centroids):
        raise StorageError(
            f"{path} has {len(codec.centroids.values)} centroids of dim {codec.dim}, the manifest "
            f"says {manifest.n_centroids} of {manifest.dim}; {CURE}"
        )
    for segment in snapshot.segments:
        for name, quantizer in (("residuals", codec.residuals), ("doc_vectors", codec.documents)):
            n_bytes = getattr(segment.arrays, name).shape[1]
            if n_bytes != len(quantizer.codebook):
                raise StorageError(
                    f"{snapshot.folder / segment.name}/{name}.npy has {n_bytes} bytes a row, "
                    f"the codec {len(quantizer.codebook)}; {CURE}"
                )
