"""Reading of users' files: regular files only, bounded, and checked to be UTF-8."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from colmodern.disk import IrregularFileError, open_regular
from colmodern.errors import ColmodernError

MAX_TEXT = 1 << 30  # bytes of a file that is read whole
MAX_LINE = 64 << 20  # bytes of a line of a file that is read line by line
MAX_BLANK = 1_000_000  # blank lines in a row; a small gzip may hold endless ones

_PIECE = 1 << 20
_GZIP = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"

ErrorType = type[ColmodernError]


class Digest(Protocol):
    """A digest that bytes are added to, as those of hashlib."""

    def update(self, data: bytes, /) -> object:
        """Add bytes."""


def user_path(path: str | Path, error: ErrorType) -> Path:
    """A path as a user wrote it, with ``~`` replaced.

    Args:
        path: absolute or relative, of a file or folder that need not exist.
        error: the class to raise.

    Raises:
        ColmodernError: an ``error``; the path is empty, has a NUL, or names an unknown user's home.
    """
    text = os.fspath(path)
    if not text:
        raise error("a path is empty; give a file or folder, . for the current one")
    if "\0" in text:
        raise error(f"{text!a} is not a path: it has a NUL character; take it out")
    try:
        return Path(text).expanduser()
    except RuntimeError as fault:
        raise error(f"{text}: there is no such user; write the path without ~") from fault


def open_file(path: Path, error: ErrorType) -> BinaryIO:
    """Open a regular file for reading, never waiting for a pipe or a device.

    Raises:
        ColmodernError: an ``error``; the file is missing, unreadable or no regular file.
    """
    try:
        return open_regular(path, buffering=-1)
    except IrregularFileError as fault:
        raise error(f"cannot read {path}: it is {fault.kind}, not a file; give a file") from fault
    except (OSError, ValueError) as fault:  # ValueError: a NUL in the path
        raise _unreadable(path, error, fault) from fault


def read_text(path: Path, error: ErrorType, *, max_bytes: int = MAX_TEXT) -> str:
    """UTF-8 text of a file, with or without a byte order mark.

    Raises:
        ColmodernError: an ``error``; the file cannot be read, is longer than ``max_bytes`` or is
            not UTF-8.
    """
    pieces, n_bytes = [], 0
    with open_file(path, error) as stream:
        try:
            while piece := stream.read(_PIECE):
                pieces.append(piece)
                n_bytes += len(piece)
                if n_bytes > max_bytes:
                    raise error(f"{path} is longer than {_size(max_bytes)}; give a shorter file")
        except OSError as fault:
            raise _unreadable(path, error, fault) from fault
    try:
        return b"".join(pieces).decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        raise error(f"{path} is not UTF-8 text ({fault}); convert it") from fault


def read_lines(
    path: Path, error: ErrorType, *, digest: Digest | None = None
) -> Iterator[tuple[int, str]]:
    r"""Number and text of every line that is not blank, of a plain or gzipped file.

    Lines end with "\n" or "\r\n" and nothing else: a text may hold U+2028, U+0085 and other
    characters that ``str.splitlines`` splits at. The first bytes tell whether a file is gzipped. At
    most one line is in memory.

    Args:
        path: a regular file.
        error: the class to raise.
        digest: is fed the unpacked bytes of all lines.

    Raises:
        ColmodernError: an ``error`` that names file and line; the file is missing or damaged, or a
            line is longer than MAX_LINE or not UTF-8.
    """
    with open_file(path, error) as stream:
        number, n_blank, lines = 0, 0, stream
        try:
            if stream.peek(len(_GZIP)).startswith(_GZIP):  # type: ignore[attr-defined]
                lines = gzip.GzipFile(fileobj=stream)  # type: ignore[assignment]
        except OSError as fault:
            raise _unreadable(path, error, fault) from fault
        while line := _next_line(lines, path, number + 1, error):
            number += 1
            if digest is not None:
                digest.update(line)
            if number == 1:
                line = line.removeprefix(_BOM)
            if not line.strip():
                n_blank += 1
                if n_blank > MAX_BLANK:
                    raise error(f"{path}:{number}: more than {MAX_BLANK:,} blank lines in a row")
                continue
            n_blank = 0
            try:
                text = line.decode()
            except UnicodeDecodeError as fault:
                raise error(
                    f"{path}:{number}: not UTF-8 text ({fault.reason} at byte {fault.start}); "
                    "convert the file"
                ) from fault
            yield number, text.removesuffix("\n").removesuffix("\r")


def _next_line(lines: BinaryIO, path: Path, number: int, error: ErrorType) -> bytes:
    try:
        line = lines.readline(MAX_LINE + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as fault:
        raise error(
            f"cannot read {path}: it is gzipped and damaged at line {number} ({fault}); "
            "copy or compress it again"
        ) from fault
    except OSError as fault:
        raise _unreadable(path, error, fault) from fault
    if len(line) > MAX_LINE:
        raise error(
            f"{path}:{number}: the line is longer than {_size(MAX_LINE)}; "
            "give every record a line of its own"
        )
    return line


def _unreadable(path: Path, error: ErrorType, fault: Exception) -> ColmodernError:
    return error(f"cannot read {path}: {getattr(fault, 'strerror', None) or fault}")


def _size(n_bytes: int) -> str:
    return f"{n_bytes >> 20} MiB"
