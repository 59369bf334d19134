"""The codec of an index, taken over by another one: their documents are compressed alike.

Scores of such indexes are equal to those of one index of all their documents, and a segment of one
can be handed to another (attach.py).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from colmodern.arguments import checked_path
from colmodern.codecs.residuals import ResidualKind
from colmodern.errors import InputError, StorageError
from colmodern.files import naming_write_errors, read_error, sha256_of_file
from colmodern.index.inputs import Embeddings
from colmodern.index.plaid.disk.manifest import CURE, CodecRecord, Manifest, read_manifest
from colmodern.index.plaid.disk.storage import CODEC
from colmodern.index.plaid.search.queries import expect_encoder
from colmodern.index.plaid.write.settings import BuildSettings, settle, settle_for_codec

DEFAULT_NBITS = 4  # the default of PlaidIndex.build: its caller may have left it out


class SharedCodec(NamedTuple):
    """The codec of an index: its folder, and what the index's manifest says of its files."""

    folder: Path
    record: CodecRecord


def codec_of(path: Path | str) -> tuple[Manifest, SharedCodec]:
    """The manifest of an index and its codec, whose files are compared when they are copied.

    The index's manifest.json and codec/ are enough; its segments are not looked at.

    Raises StorageError when there is no index, or its manifest is damaged.
    """
    folder = Path(os.path.abspath(checked_path("codec_from", path, "the path of an index")))
    manifest = read_manifest(folder)
    return manifest, SharedCodec(folder / CODEC, manifest.codec)


def copy_codec(shared: SharedCodec, folder: Path) -> None:
    """Copy the files of a codec into an existing folder.

    Raises StorageError when one is missing, or differs from its checksum.
    """
    for name, expected in shared.record.files.items():
        source = shared.folder / name
        with naming_write_errors(folder):
            try:
                shutil.copyfile(source, folder / name)
            except FileNotFoundError as error:
                raise read_error(source, error, cure=CURE) from error
        if sha256_of_file(folder / name) != expected:
            raise StorageError(f"{source} differs from its checksum and was not copied; {CURE}")


def settle_with_codec(
    source: Embeddings,
    codec_from: Path | str | None,
    *,
    nbits: int,
    codec: ResidualKind | None,
    n_centroids: int | None,
    seed: int,
    max_memory: int,
) -> tuple[BuildSettings, SharedCodec | None]:
    """The settings of a build and the codec that it takes over, if any; max_memory: bytes.

    Raises InputError for a wrong value, or one that is not that of ``codec_from``; StorageError where
    that is no index; ResourceError for too little memory.
    """
    if codec_from is None:
        settings = settle(
            source.n_tokens,
            source.dim,
            n_docs=source.n_docs,
            nbits=nbits,
            codec=codec,
            n_centroids=n_centroids,
            seed=seed,
            max_memory=max_memory,
        )
        return settings, None
    manifest, shared = codec_of(codec_from)
    own = {"nbits": nbits if nbits != DEFAULT_NBITS else None, "seed": seed or None}
    _expect_same(manifest, source, n_centroids=n_centroids, codec=codec, **own)
    path = shared.folder.parent
    return settle_for_codec(manifest.settings, manifest.dim, max_memory, path), shared


def _expect_same(manifest: Manifest, source: Embeddings, **given: Any) -> None:
    """Raise InputError where embeddings or settings are not those of the codec's index.

    given: settings of a build that the codec decides; None where the caller left one out
    """
    if source.n_docs and source.dim != manifest.dim:
        raise InputError(
            f"embeddings have dim={source.dim}, the index of codec_from has dim={manifest.dim}; "
            "encode with its model"
        )
    expect_encoder(source.fingerprint, manifest.fingerprint)
    for name, value in given.items():
        if value is not None and value != manifest.settings.get(name):
            raise InputError(
                f"{name}={value!r}, but codec_from has {name}={manifest.settings.get(name)!r}; "
                f"leave {name} out"
            )
