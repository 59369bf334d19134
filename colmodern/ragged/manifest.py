"""The JSON files of an embedding store, checked field by field when they are read."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    ValidationError,
    model_validator,
)

from colmodern.disk import open_regular
from colmodern.errors import ColmodernError, StorageError
from colmodern.files import load_json, read_error, sha256_of_json, write_json

FORMAT = "colmodern-embeddings"
VERSION = 2  # the version that is written
SPANS_VERSION = 3  # the version of stores with spans, which earlier readers would lose
_VERSIONS = (1, 2, 3)  # versions that are read; 1 has no checksum of its own and none of blocks
MANIFEST = "manifest.json"
RECORD = "shard.json"
_RUN_RECORD = "environment.json"  # a run's, which names its embeddings
CURE = "delete the folder and encode again"
_CHECKSUM = "checksum"

_Count = Annotated[int, Field(ge=0, le=1 << 62, strict=True)]
_Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_Number = (
    Annotated[int, Field(ge=-(1 << 62), le=1 << 62, strict=True)]
    | Annotated[float, Field(strict=True, allow_inf_nan=False)]
)
_BlockFile = Literal["values.npy", "token_ids.npy", "spans.npy", "span_rows.npy"]
_Model = TypeVar("_Model", bound=BaseModel)


class DamageError(StorageError):
    """Files of a store are missing or differ from what was written; writing them again helps."""


class _Record(BaseModel):
    """A frozen record that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ShardEntry(_Record):
    """A shard's entry in the manifest."""

    name: str = Field(pattern=r"^shard-\d{5,12}$", description="a folder beside the manifest")
    n_docs: _Count
    n_tokens: _Count
    has_token_ids: StrictBool
    sha256: dict[str, _Sha256] = Field(description="hex digest of each file but shard.json")
    spans: Literal["tokens", "pooled"] | None = Field(
        None, description="pooled: rows stand for several tokens; null, not written: no spans"
    )

    @model_validator(mode="after")
    def _names_its_files(self) -> ShardEntry:
        if self.sha256.keys() != set(files_of(self)):
            raise ValueError("sha256 names other files than a shard has")
        return self

    def entry(self) -> dict[str, object]:
        """The fields that the manifest has of a shard."""
        return self.model_dump(include=set(ShardEntry.model_fields), exclude_none=True)


class ShardRecord(ShardEntry):
    """shard.json, which is written last in a shard."""

    fingerprint: str = Field(description="digest of all that the embeddings depend on")
    dtype: Literal["float16", "float32"]
    dim: _Count
    facts: dict[str, _Number]
    blocks: dict[_BlockFile, str] | None = Field(
        None, description="checksums of the arrays' blocks, see blocks.py; null in version 1"
    )


class EncoderRecord(BaseModel):
    """The encoder that made the embeddings, as described by ``Encoder.describe``."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    fingerprint: str | None = None
    model: str | None = Field(None, description="null when only the fingerprint is known")
    revision: str | None = None
    path: str | None = None
    dtype: str = "float32"
    attention: str = "auto"
    projection_dim: int | None = None
    seed: int = 0
    settings: dict[str, object] = {}


class StoreManifest(BaseModel):
    """manifest.json, whose presence means that the store is finished."""

    model_config = ConfigDict(extra="allow", frozen=True)

    fingerprint: str = Field(description="digest of all that the embeddings depend on")
    dtype: Literal["float16", "float32"]
    dim: _Count = Field(description="width of a token embedding")
    n_docs: _Count
    n_tokens: _Count
    facts: dict[str, _Number] = Field(description="sums of the shards' facts")
    shards: tuple[ShardEntry, ...]
    encoder: EncoderRecord | None = None
    role: Literal["query", "document"] | None = None
    passages: StrictBool = Field(
        False, description="whether documents are passages of longer ones, which their ids name"
    )
    environment: dict[str, object] = {}

    @model_validator(mode="after")
    def _adds_up(self) -> StoreManifest:
        for name in ("n_docs", "n_tokens"):
            if getattr(self, name) != (total := sum(getattr(s, name) for s in self.shards)):
                raise ValueError(f"{name} is not the {total} of its shards")
        if len({shard.name for shard in self.shards}) != len(self.shards):
            raise ValueError("two shards have one name")
        return self


def files_of(shard: ShardEntry) -> tuple[str, ...]:
    """Names of a shard's files, without shard.json."""
    ids = ("token_ids.npy",) if shard.has_token_ids else ()
    spans: tuple[str, ...] = ("spans.npy",) if shard.spans else ()
    if shard.spans == "pooled":
        spans = ("spans.npy", "span_offsets.npy", "span_rows.npy")
    return ("values.npy", "offsets.npy", *ids, *spans, "doc_ids.json")


def read_store_manifest(folder: Path) -> tuple[StoreManifest, dict[str, Any]]:
    """The manifest of a store, and the JSON object that it was read from.

    Raises:
        StorageError: The folder is unfinished or foreign.
        DamageError: The file is damaged.
    """
    path = folder / MANIFEST
    if not os.path.lexists(path):
        if os.path.isfile(folder / "shard-00000" / RECORD):
            raise StorageError(
                f"{folder} is unfinished (no {MANIFEST}); run the command that encodes it again to "
                "resume after the last finished shard"
            )
        if inside := _embeddings_of_run(folder):
            raise StorageError(
                f"{folder} is a run; its document embeddings are in {inside}: give that"
            )
        if os.path.isdir(folder):
            raise StorageError(f"{folder} holds no embeddings: there is no {MANIFEST} in it")
        fault = "is a file" if os.path.lexists(folder) else "does not exist"
        raise StorageError(f"{folder} {fault}; choose a folder of embeddings")
    fields = read_object(path)
    if fields.get("format") != FORMAT:
        raise StorageError(
            f"{path} has format={fields.get('format')!r}, not {FORMAT!r}; choose a folder of embeddings"
        )
    version = fields.get("version")
    if isinstance(version, bool) or version not in _VERSIONS:
        raise StorageError(
            f"{path} has version={version!r}; this colmodern reads versions up to {SPANS_VERSION}: "
            "encode again, or use the colmodern that wrote it"
        )
    _unseal(fields, path, is_sealed=version > 1)
    return _validated(StoreManifest, fields, path), fields


def _embeddings_of_run(folder: Path) -> Path | None:
    """The folder of a run's document embeddings; None where the folder is not a run."""
    try:
        path = read_object(folder / _RUN_RECORD)["embeddings"]["documents"]
        return (folder / str(path)).resolve()
    except (ColmodernError, LookupError, TypeError, OSError, ValueError):
        return None


def read_shard_record(folder: Path) -> ShardRecord:
    """The record of a shard's folder.

    Raises:
        DamageError: The record is missing or damaged.
        StorageError: Another version of colmodern wrote it.
    """
    path = folder / RECORD
    fields = read_object(path)
    version = fields.pop("version", 1)  # version 1 did not write its number
    if isinstance(version, bool) or version not in _VERSIONS:
        raise StorageError(
            f"{path} has version={version!r}; this colmodern reads versions up to {SPANS_VERSION}: "
            "use the colmodern that wrote it"
        )
    if version > 1:
        fields["version"] = version
    _unseal(fields, path, is_sealed=version > 1)
    fields.pop("version", None)
    record = _validated(ShardRecord, fields, path)
    if record.name != folder.name:
        raise DamageError(f"{path} is of {record.name}; {CURE}")
    return record


def write_store_manifest(folder: Path, fields: dict[str, Any]) -> None:
    """Write the manifest, which makes the shards that ``fields`` names a store, all or nothing."""
    has_spans = any("spans" in shard for shard in fields["shards"])
    version = SPANS_VERSION if has_spans else VERSION
    sealed = {"format": FORMAT, "version": version, **fields}
    write_json(folder / MANIFEST, {**sealed, _CHECKSUM: sha256_of_json(sealed)})


def write_shard_record(folder: Path, record: ShardRecord) -> None:
    """Write shard.json into ``folder``."""
    version = SPANS_VERSION if record.spans else VERSION
    sealed = {"version": version, **record.model_dump(exclude_none=True)}
    write_json(folder / RECORD, {**sealed, _CHECKSUM: sha256_of_json(sealed)})


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        DamageError: The file is missing or damaged, or holds another value.
        ResourceError: A limit of the machine was reached.
    """
    value = read_value(path)
    if not isinstance(value, dict):
        raise DamageError(f"{path} holds {type(value).__name__}, not an object; {CURE}")
    return value


def read_value(path: Path) -> object:
    """The value in a JSON file.

    Raises:
        DamageError: The file is missing or not a regular file, or does not hold JSON.
        ResourceError: A limit of the machine was reached.
    """
    try:
        with open_regular(path) as stream:
            content = stream.read()
    except (OSError, ValueError, MemoryError) as error:
        raise unreadable(path, error) from error
    try:
        return load_json(content.decode("utf-8-sig"))
    except RecursionError as error:
        raise DamageError(f"{path} is not JSON ({error}); {CURE}") from error
    except ValueError as error:
        raise DamageError(f"{path} is not JSON in UTF-8 ({error}); {CURE}") from error
    except MemoryError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> ColmodernError:
    """The error to raise from ``error``: a DamageError unless the machine is the cause."""
    code = error.errno if isinstance(error, OSError) else None
    if isinstance(error, ValueError) or code in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR):
        return DamageError(f"{path} cannot be read ({error}); {CURE}")
    return read_error(path, error, cure=CURE)


def _unseal(fields: dict[str, object], path: Path, *, is_sealed: bool) -> None:
    """Remove the checksum from ``fields``; raise DamageError when the fields differ from it."""
    checksum = fields.pop(_CHECKSUM, None)
    try:
        is_right = checksum == sha256_of_json(fields) or not (is_sealed or checksum is not None)
    except (UnicodeEncodeError, RecursionError):  # half a surrogate pair is never written
        is_right = False
    if not is_right:
        raise DamageError(f"{path} differs from its checksum; {CURE}")


def _validated(model: type[_Model], fields: Mapping[str, object], path: Path) -> _Model:
    content = {name: value for name, value in fields.items() if name not in ("format", "version")}
    try:
        return model.model_validate(content)
    except (ValidationError, RecursionError) as error:
        location, message = "", str(error)
        if isinstance(error, ValidationError):
            fault = error.errors(include_input=False, include_url=False)[0]
            location, message = ".".join(str(key) for key in fault["loc"]), fault["msg"]
        wrong = f"a wrong {location}" if location else "fields that do not fit each other"
        raise DamageError(f"{path} has {wrong} ({message}); {CURE}") from error
