"""OUTPUT/.cache, where finished stages of evaluations wait to be used again.

    OUTPUT/.cache/documents-KEY/   and queries-, index- (with .json and .building beside), search-
    OUTPUT/.cache/.lock            held for a moment by whoever begins to use the cache or prunes it
    OUTPUT/.cache/.uses/ID/        one for each evaluation at work: .lock, held by it, and its entries

What no living evaluation holds can be deleted: everything is made again by the evaluation that needs it.
"""

from __future__ import annotations

import errno
import fnmatch
import logging
import os
import platform
import re
import secrets
import shutil
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from colmodern.disk import expect_own_folder, make_own_folder
from colmodern.errors import InputError, StorageError
from colmodern.files import (
    naming_write_errors,
    read_json_object,
    remove_leftovers,
    temporary_beside,
)
from colmodern.writer_lock import writer_lock

logger = logging.getLogger(__name__)

FOLDER = ".cache"
_USES, _ENTRIES = ".uses", "entries"
_PATIENCE = 30.0  # seconds to wait for somebody who holds the lock for a moment
_TAKEN = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK}
_ENTRY = re.compile(
    r"\.?((documents|queries|index|search)-[0-9a-f]{16})(\.json|\.building|\.sharding|\.replaced)?"
)
_USE = re.compile(r".*\.\d+\.[0-9a-f]{8}")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True)
class Entry:
    """A finished or unfinished stage.

    Attributes:
        n_bytes: Size of its files.
        used: When it was used last, in seconds since 1970.
    """

    name: str
    kind: str  # "documents", "queries", "index" or "search"
    n_bytes: int
    used: float
    runs: tuple[str, ...]  # names of the runs that refer to it
    is_held: bool  # whether a running evaluation uses it
    paths: tuple[Path, ...]


class CacheUse:
    """What one evaluation uses of a cache; nobody prunes it as long as this object lives.

    Opening it deletes what killed evaluations left half-written, of whatever host, when no other
    evaluation is at work. Raises StorageError when the cache cannot be written.
    """

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._folder = cache / _USES / f"{platform.node()}.{os.getpid()}.{secrets.token_hex(4)}"
        held = ExitStack()
        with naming_write_errors(cache):
            cache.mkdir(parents=True, exist_ok=True)
        with _briefly_locked(cache), naming_write_errors(self._folder):
            make_own_folder(cache / _USES)
            remove_leftovers(cache, is_locked=not _living(cache))
            self._folder.mkdir()
            held.enter_context(writer_lock(self._folder))
        weakref.finalize(self, _release, held, self._folder)

    def hold(self, name: str) -> Path:
        """The path of an entry, which exists or is to be made, and is kept from now on."""
        path = self._cache / name
        with _briefly_locked(self._cache), naming_write_errors(self._folder):
            with (self._folder / _ENTRIES).open("a") as stream:
                stream.write(f"{name}\n")
            with suppress(OSError):  # not made yet, or another user's
                os.utime(path)
        return path


def list_entries(output: Path) -> list[Entry]:
    """What OUTPUT/.cache holds, the largest first.

    A warning names each run whose record cannot be read; what it needs counts as of no run.
    """
    with ExitStack() as lock:
        with suppress(StorageError):  # one that can only be read has nobody at work
            if (output / FOLDER).is_dir():
                lock.enter_context(_briefly_locked(output / FOLDER))
        return _entries(output, skips_damaged=True)


def _entries(output: Path, *, skips_damaged: bool = False) -> list[Entry]:
    """All entries of the cache; for the holder of its lock."""
    cache = output / FOLDER
    held, runs = _held(cache), _runs_by_entry(output, skips_damaged=skips_damaged)
    paths: dict[str, list[Path]] = {}
    for path in sorted(cache.iterdir()) if cache.is_dir() else ():
        if match := _ENTRY.fullmatch(path.name):
            paths.setdefault(match[1], []).append(path)
    entries = [
        Entry(
            name=name,
            kind=name.split("-")[0],
            n_bytes=sum(map(size_of, files)),
            used=max(path.lstat().st_mtime for path in files),
            runs=tuple(runs.get(name, ())),
            is_held=name in held,
            paths=tuple(files),
        )
        for name, files in paths.items()
    ]
    return sorted(entries, key=lambda entry: (-entry.n_bytes, entry.name))


def prune(
    output: Path,
    *,
    older_than: float = 0.0,
    keep: Sequence[str] = (),
    with_runs: bool = False,
    dry_run: bool = False,
) -> list[Entry]:
    """Delete entries of OUTPUT/.cache that no evaluation at work holds; results are never touched.

    Args:
        output: folder of runs.
        older_than: seconds since an entry was used last; younger ones stay.
        keep: patterns of names, kinds or runs whose entries stay, as "index*" or "demo".
        with_runs: whether to delete also what finished runs refer to; to search such a run again,
            it has to be evaluated again.
        dry_run: delete nothing.

    Returns:
        What was, or would be, deleted.

    Raises:
        InputError: there is no such folder.
        StorageError: the cache cannot be written, or a run's record cannot be read.
    """
    cache = output / FOLDER
    if not output.is_dir():
        raise InputError(f"no folder {output}; give the folder of runs with --output")
    if not cache.is_dir():
        return []
    now = time.time()
    with _briefly_locked(cache):
        if not dry_run:
            remove_leftovers(cache, is_locked=not _living(cache))
        entries = [
            entry
            for entry in _entries(output)
            if not entry.is_held
            and now - entry.used >= older_than
            and (with_runs or not entry.runs)
            and not any(_matches(entry, pattern) for pattern in keep)
        ]
        # renamed under the lock, deleted after it: whoever comes next makes them anew
        doomed = [] if dry_run else [_set_aside(path) for entry in entries for path in entry.paths]
    for path in doomed:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return entries


def parse_age(text: str) -> float:
    """Seconds in "30d", "12h", "90m" or "2w".

    Raises InputError for anything else.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhdw])\s*", text.lower())
    if match is None:
        raise InputError(f"--older-than={text!r} is not an age; write it as 30d, 12h or 2w")
    return float(match[1]) * _SECONDS[match[2]]


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; links count as themselves."""
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with suppress(FileNotFoundError):  # renamed by a writer just now
                total += os.lstat(os.path.join(folder, name)).st_size
    return total


def _set_aside(path: Path) -> Path:
    target = temporary_beside(path)
    with naming_write_errors(path):
        os.replace(path, target)
    return target


def _matches(entry: Entry, pattern: str) -> bool:
    names = (entry.name, entry.kind, *entry.runs)
    return any(fnmatch.fnmatchcase(name, pattern) for name in names)


def _runs_by_entry(output: Path, *, skips_damaged: bool) -> dict[str, list[str]]:
    from colmodern.pipeline.run_folder import ENVIRONMENT, is_run

    runs: dict[str, list[str]] = {}
    cache = Path(os.path.realpath(output / FOLDER))
    for folder in sorted(output.iterdir()) if output.is_dir() else ():
        if not is_run(folder):
            continue
        cure = "delete that run, or mend the file"
        try:
            environment = read_json_object(folder / ENVIRONMENT, StorageError, cure=cure)
        except StorageError as error:
            if not skips_damaged:
                raise
            logger.warning("%s", error)
            continue
        embeddings = environment.get("embeddings")
        paths = list(embeddings.values()) if isinstance(embeddings, dict) else []
        paths += _leaves(environment.get("first_stages"))
        for relative in (*paths, environment.get("index")):
            if not isinstance(relative, str) or "\0" in relative:  # damaged: it names no entry
                continue
            path = Path(os.path.realpath(folder / relative))
            if path.parent == cache:
                runs.setdefault(path.name, []).append(folder.name)
    return runs


def _leaves(paths: object) -> list[object]:
    """The paths in lists of lists of paths, as searches made of others record them."""
    if isinstance(paths, list):
        return [leaf for inner in paths for leaf in _leaves(inner)]
    return [paths]


def _uses(cache: Path) -> list[Path]:
    """Records of evaluations; a link, or what has another name, is none of ours.

    Raises StorageError when the folder that holds them is a link: what it leads to is not ours.
    """
    expect_own_folder(cache / _USES)
    folders = (cache / _USES).iterdir() if (cache / _USES).is_dir() else ()
    return [path for path in folders if _USE.fullmatch(path.name) and not path.is_symlink()]


def _living(cache: Path) -> list[Path]:
    """Records of evaluations at work; those of killed ones are deleted."""
    living = []
    for folder in _uses(cache):
        try:
            with writer_lock(folder):
                shutil.rmtree(folder, ignore_errors=True)
        except StorageError:
            living.append(folder)
    return living


def _held(cache: Path) -> set[str]:
    names: set[str] = set()
    for folder in _uses(cache):
        try:
            with writer_lock(folder):
                continue  # its evaluation was killed
        except StorageError:
            with suppress(OSError):
                names.update((folder / _ENTRIES).read_text().split())
    return names


@contextmanager
def _briefly_locked(cache: Path) -> Iterator[None]:
    """Wait for the cache's lock, which nobody holds for long."""
    end = time.monotonic() + _PATIENCE
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(writer_lock(cache))
                break
            except StorageError as error:
                reason = getattr(error.__cause__, "errno", errno.EAGAIN)
                if reason not in _TAKEN or time.monotonic() > end:
                    raise
                time.sleep(0.01)
        yield


def _release(held: ExitStack, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    held.close()
