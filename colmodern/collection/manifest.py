"""The manifest of a collection, which names its model, its texts and its index.

    COLLECTION/manifest.json   written last; what it does not name is not part of the collection
    COLLECTION/texts-00001/    documents (see texts.py)
    COLLECTION/index-00002/    a PlaidIndex
    COLLECTION/.lock           held by the one writer

Texts and index change together. A change writes its texts, then a manifest that names them as
``pending``, then the index, whose own manifest is replaced at one moment, then a manifest without
``pending``. The manifest has the checksum of the index's manifest. Where the index's manifest still has
it, a pending change did not happen; where it has another, the change happened, and the pending texts
count. So a process may be killed at any moment, and a reader needs to write nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from colmodern.collection.texts import CURE, TextsRecord
from colmodern.errors import StorageError
from colmodern.files import read_json_object
from colmodern.ragged.manifest import EncoderRecord
from colmodern.sealed import unsealed, write_sealed
from colmodern.types import PassageRank

FORMAT, VERSION = "colmodern-collection", 1
FIELDS_VERSION = 2  # the version of collections with fields, which earlier writers would lose
PASSAGES_VERSION = 3  # the version of collections of passages, whose ids earlier readers would show
FieldNames = bool | tuple[str, ...]
NAME = "manifest.json"


class _Record(BaseModel):
    """A frozen record that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class IndexRecord(_Record):
    """The collection's index."""

    name: str = Field(pattern=r"^index-\d{5,12}$", description="a folder beside the manifest")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="of the index's manifest.json")
    n_fitted: int = Field(ge=0, description="documents that its centroids were learnt from")


class CollectionManifest(_Record):
    """manifest.json."""

    change: int = Field(ge=0, description="rises with each manifest that is written")
    encoder: EncoderRecord
    spans: bool = Field(description="whether the index keeps the characters of its tokens")
    title_separator: str = Field(description="what stands between title and text")
    fields: FieldNames = Field(
        False, description="fields that the index keeps for filters: true for all, or their names"
    )
    passages: PassageRank | None = Field(
        None, description="how passages rank their documents; null, not written: whole documents"
    )
    index_settings: dict[str, Any] = Field(description="arguments of PlaidIndex.build")
    next_part: int = Field(1, ge=0, description="number of the next folder")
    next_number: int = Field(0, ge=0, description="id of the next text without one")
    texts: tuple[TextsRecord, ...] = ()
    index: IndexRecord | None = Field(None, description="null before the first document")
    pending: tuple[TextsRecord, ...] | None = Field(
        None, description="texts that count instead once the index's manifest has changed"
    )


def is_collection_folder(folder: Path) -> bool:
    """Whether a folder has the manifest of a collection, damaged or not."""
    path = folder / NAME
    try:
        return path.is_file() and f'"{FORMAT}"'.encode() in path.read_bytes()[:4096]
    except OSError:
        return False


def read_manifest(folder: Path) -> CollectionManifest:
    """The manifest of a collection.

    Raises:
        StorageError: There is none, or it is damaged or of another format or version.
    """
    path = folder / NAME
    if not path.is_file():
        raise StorageError(_why_there_is_none(folder))
    return unsealed(
        path,
        read_json_object(path, StorageError, cure=CURE),
        lambda content: CollectionManifest.model_validate_json(json.dumps(content)),
        format=FORMAT,
        versions=(VERSION, FIELDS_VERSION, PASSAGES_VERSION),
        wrong_format=f": {folder} holds no collection; choose the folder of one",
        wrong_version=f"versions {VERSION} to {PASSAGES_VERSION}: use the colmodern that wrote it",
        cure=CURE,
    )


def commit(folder: Path, manifest: CollectionManifest) -> None:
    """Make ``manifest`` the state of the collection; every file that it names must be in place."""
    content = manifest.model_dump(mode="json")
    version = PASSAGES_VERSION
    if manifest.passages is None:
        version = FIELDS_VERSION
        del content["passages"]  # earlier versions refuse the name, and that of fields
        if manifest.fields is False:
            version = VERSION
            del content["fields"]
    write_sealed(folder / NAME, content, format=FORMAT, version=version)


def _why_there_is_none(folder: Path) -> str:
    if not folder.exists():
        return f"there is no collection {folder}; create it first, or mend the path"
    if not folder.is_dir():
        return f"{folder} is a file; choose the folder of a collection"
    return f"{folder} holds no collection: there is no {NAME} in it; choose the folder of one"
