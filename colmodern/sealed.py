"""Manifests that hold a checksum of themselves: JSON with "format", "version" and "sha256"."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar

from colmodern.errors import StorageError
from colmodern.files import sha256_of_json, write_json

Record = TypeVar("Record")


def write_sealed(path: Path, fields: dict[str, object], *, format: str, version: int) -> None:
    """Write the fields of a manifest, sealed.

    Raises:
        StorageError: It cannot be written.
    """
    write_json(
        path, {"format": format, "version": version, "sha256": sha256_of_json(fields), **fields}
    )


def unsealed(
    path: Path,
    fields: dict[str, object],
    validate: Callable[[dict[str, object]], Record],
    *,
    format: str,
    versions: Collection[int],
    wrong_format: str,
    wrong_version: str,
    cure: str,
) -> Record:
    """The record of a manifest that was read.

    Args:
        path: Its file.
        fields: Its content, which loses what seals it.
        validate: Makes the record; raises pydantic's ValidationError.
        format: The format that it must have.
        versions: The versions that can be read.
        wrong_format: How the message about another format ends.
        wrong_version: How the message about another version ends.
        cure: What to do about a damaged file.

    Raises:
        StorageError: It is damaged, or of another format or version.
    """
    from pydantic import ValidationError

    if (named := fields.pop("format", None)) != format:
        raise StorageError(f"{path} has format={named!r}, not {format!r}{wrong_format}")
    if (version := fields.pop("version", None)) not in versions:
        raise StorageError(f"{path} has version={version!r}; this colmodern reads {wrong_version}")
    recorded = fields.pop("sha256", None)
    if recorded is None or recorded != sum_of(fields):
        raise StorageError(f"{path} differs from its checksum; {cure}")
    try:
        return validate(fields)
    except ValidationError as error:
        fault = error.errors()[0]
        location = ".".join(map(str, fault["loc"]))
        raise StorageError(f"{path} has a wrong {location} ({fault['msg']}); {cure}") from error


def sum_of(fields: dict[str, object]) -> str | None:
    """The checksum of a manifest's fields; None when they hold text that has no UTF-8."""
    try:
        return sha256_of_json(fields)
    except (UnicodeEncodeError, RecursionError):
        return None
