"""Reading with errors that name a cure; writing all or nothing.

A reader sees the old content of a file or folder or the new, never a half. When a call returns, what
it wrote is on disk, its name too (see disk.py). Temporary files and folders are always made anew: a
link in their place is removed, never followed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

from colmodern.disk import (
    create,
    kind_of,
    make_folder,
    remove,
    rename,
    sync,
    sync_file,
    sync_tree,
    synced_later,
    without_following,
)
from colmodern.errors import ColmodernError, InputError, ResourceError, StorageError
from colmodern.reading import read_text as read_text  # bounded; also called through this module
from colmodern.reading import user_path

PIECE = 1 << 20  # bytes that sha256_of_file reads at once

_MOST_NESTED = 100  # levels of lists and objects in a JSON file
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_OUT_OF_FILES = {errno.EMFILE, errno.ENFILE}
_NOT_ALLOWED = {errno.EACCES, errno.EPERM}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_UNWRITABLE = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.ENOENT,
    errno.ENAMETOOLONG,
    errno.ENXIO,
}


def read_json_object(path: Path, error: type[ColmodernError], *, cure: str) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        ColmodernError: an ``error``, with ``cure`` in its message; the file is missing or holds
            anything else.
    """
    value = parse_json(path, error, cure=cure)
    if not isinstance(value, dict):
        raise error(f"{path} holds {type(value).__name__}, not an object; {cure}")
    return value


def parse_json(path: Path, error: type[ColmodernError], *, cure: str) -> Any:
    """The value in a JSON file; raises as ``read_json_object`` does."""
    try:
        text = read_text(path, error)
        value = load_json(text)
        if _ESCAPED_SURROGATE.search(text):  # pairs are text; halves cannot be encoded
            json.dumps(value, ensure_ascii=False).encode()
    except ColmodernError as fault:
        if isinstance(fault.__cause__, UnicodeDecodeError):  # nobody writes JSON otherwise
            raise error(f"{path} is damaged, as it is not UTF-8; {cure}") from fault
        raise error(f"{fault}; {cure}") from fault
    except (ValueError, RecursionError) as fault:
        raise error(f"{path} is not JSON ({fault}); {cure}") from fault
    return value


def load_json(text: str | bytes) -> Any:
    """The value in a JSON text.

    Raises:
        ValueError: The text is not JSON, or nested too deep to be printed or validated.
    """
    value = json.loads(text)
    level = [value]
    for _ in range(_MOST_NESTED + 1):
        level = [item for item in level if isinstance(item, dict | list)]
        if not level:
            return value
        level = [*chain.from_iterable(x.values() if isinstance(x, dict) else x for x in level)]
    raise ValueError(f"nested more than {_MOST_NESTED} levels deep")


def expect_replaceable(path: Path) -> None:
    """Raise StorageError if the path is a folder, device or pipe, which no file should replace.

    A link to one is refused too. A user who may write to /dev would otherwise lose /dev/null.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return  # nothing is there, or the write itself reports what is wrong
    kind = kind_of(mode)
    if kind is None and path.is_symlink() and os.readlink(path).startswith(("/proc/", "/dev/")):
        kind = "a link to a file that a process has open"  # as /dev/stdout
    if kind is not None:
        raise StorageError(
            f"cannot write {path}: it is {kind}, and would be replaced by a file; choose another "
            "output"
        )


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a new, empty temporary file beside ``path``; rename it to ``path`` on success.

    Raises:
        StorageError: the disk is full or the folder cannot be written; the temporary file is then
            removed and ``path`` is unchanged.
    """
    temporary = temporary_beside(path)
    with naming_write_errors(path):
        expect_replaceable(path)
        make_folder(path.parent)
        remove(temporary)
        create(temporary)
        try:
            with synced_later(temporary):
                yield temporary
            sync_file(temporary)
            rename(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """Give a new, empty temporary folder beside ``folder``; rename it to ``folder`` on success.

    ``folder`` must not exist.

    Raises:
        StorageError: as in ``replacing``.
    """
    temporary = temporary_beside(folder)
    with naming_write_errors(folder):
        make_folder(folder.parent)
        remove(temporary)
        temporary.mkdir()
        try:
            with synced_later(temporary):
                yield temporary
            sync_tree(temporary)
            rename(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, all or nothing."""
    with replacing(path) as temporary:
        write_bytes(temporary, text.encode())


def write_json(path: Path, value: object) -> None:
    """Write indented JSON, all or nothing."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_bytes(path: Path, *chunks: bytes | memoryview) -> None:
    """Write the chunks one after another and wait until they are on disk; follows no link."""
    with open(path, "wb", opener=without_following) as stream:
        for chunk in chunks:
            stream.write(chunk)
        stream.flush()
        sync(stream.fileno(), path)


def sha256_of_file(path: Path, *, on_piece: Callable[[], None] | None = None) -> str:
    """Hex digest of a file's bytes; ``on_piece`` is called after each PIECE of them."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(PIECE):
            digest.update(piece)
            if on_piece is not None:
                on_piece()
    return digest.hexdigest()


def sha256_of_json(value: object) -> str:
    """Hex digest of a JSON value, the same whatever the order of its keys."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def sha256_of_texts(texts: Iterable[str]) -> str:
    """Hex digest of texts in order; a text may hold characters that UTF-8 lacks."""
    digest = hashlib.sha256()
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()


def user_cache() -> Path:
    """The user's folder of what can be made or fetched again; COLMODERN_CACHE moves it."""
    if folder := os.environ.get("COLMODERN_CACHE"):
        return user_path(folder, InputError)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "colmodern"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "colmodern"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "colmodern"


def temporary_beside(path: Path, kind: str = "tmp") -> Path:
    """A hidden name beside ``path`` with the machine and process that it belongs to."""
    return path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}.{kind}")


def remove_leftovers(folder: Path, *, is_locked: bool = False) -> None:
    """Delete the temporary files that ended writers left in ``folder``.

    Files that were moved aside (".old") may be the only copy of somebody's results; they stay.

    Args:
        folder: where to look; subfolders are not searched.
        is_locked: whether the caller holds the writer's lock of ``folder``. Then every temporary
            file is a leftover, whatever host or process its name says; else only those of this
            machine's processes that have ended.
    """
    pattern = re.compile(r"\.(?P<name>.+)\.(?P<pid>\d+)\.tmp")
    for path in folder.iterdir() if folder.is_dir() else ():
        match = pattern.fullmatch(path.name)
        if match is None:
            continue
        is_ours = match["name"].endswith(f".{platform.node()}")
        if is_locked or (is_ours and not _is_running(int(match["pid"]))):
            with suppress(OSError):  # the next writer removes what is left
                remove(path)


def read_error(path: Path, error: Exception, *, cure: str) -> ColmodernError:
    """The error to raise from ``error`` when ``path`` of an index or a store cannot be read.

    A limit of the machine or a missing permission is no damage: the message says so and does not ask
    to build or encode again.

    Args:
        path: the file or folder that was read.
        error: an OSError, MemoryError, or a ValueError about the content.
        cure: what to do when the file is missing or damaged.
    """
    code = error.errno if isinstance(error, OSError) else None
    if code in _OUT_OF_FILES:
        return ResourceError(
            f"cannot open {path}: too many open files in this process or machine; nothing is "
            "damaged: raise the limit (ulimit -n) or close some, then try again"
        )
    if code == errno.ENOMEM or isinstance(error, MemoryError):
        return ResourceError(
            f"cannot read {path}: out of memory; nothing is damaged: free memory, then try again"
        )
    if code in _NOT_ALLOWED:
        return StorageError(
            f"cannot read {path}: {os.strerror(code or 0)}; get permission to read it"
        )
    return StorageError(f"{path} cannot be read ({error}); {cure}")


def exists_error(path: Path) -> StorageError:
    """The error of a folder that a command was to write and that is there already."""
    return StorageError(
        f"{path} exists; choose another folder, delete it, or pass overwrite=True (--overwrite on the "
        "command line)"
    )


class UnwritableError(StorageError):
    """A path cannot be written, now or later: it is not allowed, or something else is there."""


@contextmanager
def naming_write_errors(path: Path) -> Iterator[None]:
    """Turn the system's error for an unwritable path into a StorageError with a cure."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise StorageError(
                f"cannot write {path}: a file may not be that large (ulimit -f, or the file system); "
                "nothing was left half-written: raise the limit or choose another output folder"
            ) from error
        if error.errno in _FULL:
            raise StorageError(
                f"disk full while writing {path} ({_free(path)} free); nothing was left "
                "half-written: free some space or choose another output folder, then run again"
            ) from error
        if error.errno == errno.ENOTEMPTY:
            raise StorageError(
                f"{path} appeared while it was being made: another run writes the same; "
                "wait for it to end, then run again"
            ) from error
        if error.errno == errno.ELOOP:
            raise StorageError(
                f"cannot write {error.filename or path}: it is a link, and links are not written "
                "through; remove it, or choose another output"
            ) from error
        if error.errno == errno.EISDIR:
            raise UnwritableError(
                f"cannot write {path}: it is a folder; remove it, or choose another output"
            ) from error
        if error.errno in _OUT_OF_FILES:
            raise ResourceError(
                f"cannot write {path}: too many open files in this process or machine; raise the "
                "limit (ulimit -n) or close some, then run again"
            ) from error
        if error.errno in _UNWRITABLE:
            raise UnwritableError(
                f"cannot write {path}: {error.strerror}; choose an output that you may write"
            ) from error
        raise


def is_full(error: Exception) -> bool:
    """Whether an error says that a disk is full, or is caused by one that does."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _FULL:
            return True
        cause = cause.__cause__
    return False


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # another user's process
    return True


def _free(path: Path) -> str:
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    return f"{shutil.disk_usage(folder).free / 1e6:,.1f} MB"
