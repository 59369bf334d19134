"""Mapped files that may be damaged: regular files only, compared with their checksums.

Checksums are computed from the mapped memory, so the compared values are the ones used later, even
when the file has been removed or replaced in between.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from colmodern.disk import open_regular
from colmodern.errors import StorageError
from colmodern.ragged.arrays import header_of, map_array, map_bytes

CHUNK = 1 << 22  # bytes under one digest; a thread takes whole chunks

Bytes = npt.NDArray[np.uint8]
Map = Callable[[Callable[[Bytes], bytes], Iterable[Bytes]], Iterable[bytes]]


def map_file(path: Path) -> npt.NDArray[Any]:
    """A read-only view of an .npy file, or of all bytes of another file.

    Raises:
        OSError: The file cannot be opened.
        ValueError: It is not a regular file, or not what ``map_array`` takes.
    """
    if path.suffix == ".npy":
        return map_array(path)
    return map_bytes(path, np.uint8, (path.stat().st_size,))


def fast_checksum(array: npt.NDArray[np.generic], map_chunks: Map = map) -> str:
    """16 hex digits that tell an array from a damaged copy, but not from a forged one.

    They are the XXH3 of the dtype, the shape and the XXH3 of every 4 MiB, so that threads can share
    the work.

    Args:
        array: A contiguous array of any size.
        map_chunks: The built-in ``map``, or ``Threads().map`` for several threads.
    """
    digest = xxhash.xxh3_64(f"{array.dtype.str} {array.shape}".encode())
    for chunk in map_chunks(_digest, chunks_of(array)):
        digest.update(chunk)
    return digest.hexdigest()


def chunks_of(array: npt.NDArray[np.generic]) -> list[Bytes]:
    """The bytes of a contiguous array in chunks of at most CHUNK bytes."""
    flat = array.reshape(-1).view(np.uint8) if array.size else np.empty(0, np.uint8)
    return [flat[start : start + CHUNK] for start in range(0, len(flat), CHUNK)]


def sha256_of_mapped(path: Path, array: npt.NDArray[np.generic]) -> str:
    """Hex digest of the file that ``map_file`` mapped, with the values in memory."""
    digest = hashlib.sha256(_header(path, array))
    for chunk in chunks_of(array):
        digest.update(chunk.data)
    return digest.hexdigest()


def expect_checksum(
    path: Path,
    array: npt.NDArray[np.generic],
    *,
    sha256: str,
    fast: str | None,
    cure: str,
    map_chunks: Map = map,
) -> None:
    """Compare an array that ``map_file`` mapped with the checksum of its file.

    Args:
        path: The file.
        array: Its values in memory.
        sha256: Hex digest of the whole file.
        fast: The ``fast_checksum`` of the values, or None when only ``sha256`` is known.
        cure: The cure for a damaged file, for the message.
        map_chunks: As in ``fast_checksum``.

    Raises:
        StorageError: The values differ from their checksum.
    """
    if fast is None:
        is_same = sha256_of_mapped(path, array) == sha256
    else:
        is_same = fast_checksum(array, map_chunks) == fast
    if not is_same:
        raise StorageError(f"{path} differs from its checksum; {cure}")


def _digest(chunk: Bytes) -> bytes:
    return xxhash.xxh3_64_digest(chunk.data)


def _header(path: Path, array: npt.NDArray[np.generic]) -> bytes:
    """The bytes before the values; for a file that is gone, the header that we write today."""
    if path.suffix != ".npy":
        return b""
    try:
        with open_regular(path) as stream:
            return stream.read(max(0, path.stat().st_size - array.nbytes))
    except (OSError, ValueError):
        return header_of(array.dtype, array.shape)
