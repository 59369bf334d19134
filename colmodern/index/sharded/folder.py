"""A folder of shards: compressed indexes with one codec, under one manifest.

    FOLDER/shards.json      written last: its presence means that every shard is complete
    FOLDER/shard-00000/     a PLAID index of the documents whose id hashes to 0
    FOLDER/shard-00001/     ...

The manifest says how documents are placed and which codec the shards have. Documents are added to
and deleted from the shards later; the manifest does not change then.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from colmodern.errors import StorageError
from colmodern.files import read_json_object
from colmodern.sealed import unsealed, write_sealed

FORMAT = "colmodern-shards"
VERSION = 1
NAME = "shards.json"
CURE = "shard the index again, or bring a copy of the folder back"

_Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_Name = Annotated[str, Field(pattern=r"^shard-\d{5}$")]


class ShardsManifest(BaseModel):
    """What shards.json says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    placement: Literal["xxh3_64 of the doc_id, modulo the number of shards"]
    shards: tuple[_Name, ...] = Field(
        min_length=1, description="folders, by the number of the shard"
    )
    codec: _Sha256 = Field(description="digest of the checksums of the codec that all shards have")


def shard_name(number: int) -> str:
    """The folder of a shard."""
    return f"shard-{number:05d}"


def shard_folder(folder: Path, name: str) -> Path:
    """The folder of a shard; raises StorageError where it is not there."""
    if not (folder / name).is_dir():
        raise StorageError(f"{folder / name} is missing; {CURE}")
    return folder / name


def is_sharded(folder: Path) -> bool:
    """Whether a folder says that it holds shards, of whatever version and state."""
    return (folder / NAME).is_file()


def write_shards_manifest(folder: Path, manifest: ShardsManifest) -> None:
    """Write the manifest of finished shards.

    Raises:
        StorageError: It cannot be written.
    """
    fields = manifest.model_dump(mode="json")
    write_sealed(folder / NAME, fields, format=FORMAT, version=VERSION)


def read_shards_manifest(folder: Path) -> ShardsManifest:
    """The manifest of a folder of shards.

    Raises:
        StorageError: There is none, or it is damaged or of another format or version.
    """
    path = folder / NAME
    if not path.is_file():
        raise StorageError(_why_there_is_none(folder))
    return unsealed(
        path,
        read_json_object(path, StorageError, cure=CURE),
        ShardsManifest.model_validate,
        format=FORMAT,
        versions=(VERSION,),
        wrong_format=f"; {CURE}",
        wrong_version=f"version {VERSION}: shard the index again, or use the colmodern that wrote it",
        cure=CURE,
    )


def work_folder(folder: Path) -> Path:
    """The folder in which shards are made until all of them are finished."""
    return folder.parent / f".{folder.name}.sharding"


def _why_there_is_none(folder: Path) -> str:
    if work_folder(folder).is_dir():
        return f"{folder} is unfinished; run the same command again to resume it"
    if not folder.is_dir():
        return f"there is no folder {folder}; shard an index first, or mend the path"
    return (
        f"{folder} holds no shards: there is no {NAME} in it; choose the folder of a sharded index"
    )
