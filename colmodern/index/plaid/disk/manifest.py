"""The manifest of an index: its only file that ever changes, and always as a whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from colmodern.disk import expect_regular
from colmodern.errors import InputError, StorageError
from colmodern.files import load_json, read_error, sha256_of_json
from colmodern.index.fields.values import Kind
from colmodern.sealed import sum_of, unsealed, write_sealed

FORMAT = "colmodern-plaid"
VERSION = 3  # the version that is written; version 2 is the same without fast checksums
SPANS_VERSION = 4  # the version of indexes with spans, which earlier writers would lose
FIELDS_VERSION = 5  # the same of indexes whose documents have fields
_READ = (2, 3, 4, 5)
_LARGEST = 1 << 30  # bytes; a segment takes about 2,000
NAME = "manifest.json"
UNSYNCED = ".unsynced"  # an empty file, there when a change did not wait for the disk
CURE = "build the index again, or bring a copy of it back"

_Count = Annotated[int, Field(ge=0, strict=True)]
_Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_Fast = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
# a plain name, that cannot lead out of the folder
_FileName = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]


class _Record(BaseModel):
    """Frozen, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SegmentRecord(_Record):
    """A folder of documents that never changes.

    files: SHA-256 of each file; fast: of its values, as ragged.mapped makes it, {} in old indexes
    """

    name: str = Field(pattern=r"^segment-\d{5,}$")
    n_docs: _Count
    n_tokens: _Count
    files: dict[_FileName, _Sha256]
    fast: dict[_FileName, _Fast] = {}


class DeletionRecord(_Record):
    """A file of doc_index values of deleted documents."""

    name: str = Field(pattern=r"^deleted-\d{5,}\.npy$")
    sha256: _Sha256
    n: _Count


class CodecRecord(_Record):
    """The files of ``codec/`` as in SegmentRecord, and whatever else the codec wants to keep."""

    model_config = ConfigDict(extra="allow", frozen=True)

    files: dict[_FileName, _Sha256]
    fast: dict[_FileName, _Fast] = {}


class Manifest(_Record):
    """The state of an index; another state is another Manifest (``model_copy(update=...)``)."""

    settings: dict[str, Any] = Field(description="what the index was built with")
    dim: Annotated[int, Field(ge=1, strict=True)] = Field(description="width of a token embedding")
    fingerprint: str | None = Field(description="of the encoder, null when unknown")
    n_centroids: Annotated[int, Field(ge=1, strict=True)]
    codec: CodecRecord
    segments: tuple[SegmentRecord, ...] = ()
    deletions: tuple[DeletionRecord, ...] = ()
    next_segment: _Count = Field(0, description="number that no segment has had")
    fields: dict[str, tuple[Kind, ...]] = Field(
        {}, description="fields that documents have, or had before they were deleted"
    )

    @property
    def has_spans(self) -> bool:
        """Whether its segments keep the characters of each token."""
        return self.settings.get("spans") is True

    @property
    def n_docs(self) -> int:
        """Documents in all segments, with the deleted ones; above every doc_index."""
        return sum(segment.n_docs for segment in self.segments)

    @property
    def n_tokens(self) -> int:
        """Tokens in all segments, with those of deleted documents."""
        return sum(segment.n_tokens for segment in self.segments)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an index folder.

    Raises StorageError when there is none, or it is damaged or of another format or version.
    """
    path = folder / NAME
    return unsealed(
        path,
        _read_object(folder, path),
        Manifest.model_validate,
        format=FORMAT,
        versions=_READ,
        wrong_format=f": {folder} holds no PLAID index; choose the folder of one",
        wrong_version=f"versions {_READ[0]} to {_READ[-1]}: build the index again, or use the colmodern "
        "that wrote it",
        cure=CURE,
    )


def _read_object(folder: Path, path: Path) -> dict[str, Any]:
    """The object in a manifest; raises StorageError when there is none."""
    try:
        expect_regular(path)
        if (size := path.stat().st_size) > _LARGEST:
            raise ValueError(f"it has {size} bytes")
        fields = load_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StorageError(_why_there_is_none(folder)) from error
    except (OSError, MemoryError, ValueError, RecursionError) as error:
        raise read_error(path, error, cure=CURE) from error
    if not isinstance(fields, dict):
        raise StorageError(f"{path} holds {type(fields).__name__}, not an object; {CURE}")
    return fields


def building_folder(folder: Path) -> Path:
    """The folder in which the build of this index works until it is finished."""
    whole = Path(os.path.abspath(folder))  # "." has no name
    return whole.parent / f".{whole.name}.building"  # "/" has none, and nothing is built there


def codec_digest(manifest: Manifest) -> str:
    """Digest of the codec of an index: the same for indexes whose codecs have the same bytes."""
    return sha256_of_json(dict(manifest.codec.files))


def _why_there_is_none(folder: Path) -> str:
    if building_folder(folder).is_dir():
        return f"{folder} is unfinished; run the same build again to resume it"
    if not folder.exists():
        return f"there is no index {folder}; build it first, or mend the path"
    if not folder.is_dir():
        return f"{folder} is a file; choose the folder of an index"
    return f"{folder} holds no PLAID index: there is no {NAME} in it; choose the folder of one"


def commit(folder: Path, manifest: Manifest) -> None:
    """Make ``manifest`` the state of the index: readers that open it later see all of it.

    Every file it names must be in place. Raises StorageError when it cannot be written, InputError
    for text in it that has no UTF-8; then the index is what it was.
    """
    fields = manifest.model_dump()
    if not manifest.fields:
        del fields["fields"]  # earlier versions refuse the name
    for name, value in fields.items():
        if sum_of({name: value}) is None:
            raise InputError(
                f"{name}={value!r} has half a surrogate pair and cannot be written to "
                f"{folder / NAME}; correct the text"
            )
    version = SPANS_VERSION if manifest.has_spans else VERSION
    version = FIELDS_VERSION if manifest.fields else version
    write_sealed(folder / NAME, fields, format=FORMAT, version=version)
