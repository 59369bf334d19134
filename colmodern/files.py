"""Writing files so that a reader sees the old content or the new, never a half."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from colmodern.errors import StorageError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; rename it into place if the block succeeds.

    Raises StorageError when the disk is full or the folder cannot be written; then the
    temporary file is removed and ``path`` is what it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with _naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """Give an empty temporary folder beside ``folder``; rename it into place on success.

    ``folder`` must not exist. Raises StorageError as ``replacing`` does.
    """
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    with _naming(folder):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            yield temporary
            os.replace(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, all or nothing."""
    with replacing(path) as temporary:
        write_bytes(temporary, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON, all or nothing."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_bytes(path: Path, *parts: bytes | memoryview) -> None:
    """Write the parts one after another and wait until they are on disk."""
    with path.open("wb") as stream:
        for part in parts:
            stream.write(part)
        stream.flush()
        os.fsync(stream.fileno())


def sha256_of_file(path: Path) -> str:
    """Hex digest of a file's bytes, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def sha256_of_json(value: Any) -> str:
    """Hex digest of a JSON value, the same whatever the order of its keys."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn the system's words for an unwritable place into ours."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        if error.errno in _FULL:
            raise StorageError(
                f"disk full while writing {path} ({_free(path)} free); nothing was left half-written: "
                "free some space or choose another output folder, then run again"
            ) from error
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}:
            raise StorageError(
                f"cannot write {path}: {error.strerror}; choose an output folder that you may write"
            ) from error
        raise


def _free(path: Path) -> str:
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    return f"{shutil.disk_usage(folder).free / 1e6:,.1f} MB"
