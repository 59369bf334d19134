"""Mapped files that may be damaged: regular ones only, and the values compared with checksums.

Checksums are taken of the mapped memory, so what was compared is what is used afterwards, also
when the file has been removed or replaced meanwhile.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from colmodern.errors import StorageError
from colmodern.ragged.arrays import header_of, map_array, map_bytes

PIECE = 1 << 22  # bytes under one digest; threads take whole pieces

Bytes = npt.NDArray[np.uint8]
Map = Callable[[Callable[[Bytes], bytes], Iterable[Bytes]], Iterable[bytes]]


def map_file(path: Path) -> npt.NDArray[Any]:
    """A read-only view of an .npy file, or of all bytes of another file.

    Raises OSError when it cannot be opened, ValueError when it is not a regular file or not what
    ``map_array`` takes.
    """
    expect_regular(path)
    if path.suffix == ".npy":
        return map_array(path)
    return map_bytes(path, np.uint8, (path.stat().st_size,))


def expect_regular(path: Path) -> None:
    """Raise ValueError for what is no regular file: a pipe would be waited for without end.

    Raises OSError when there is nothing at ``path``.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(f"{path.name} is not a regular file")


def fast_checksum(array: npt.NDArray[Any], map_pieces: Map = map) -> str:
    """16 hex digits that tell an array from a damaged copy; no protection against intent.

    XXH3 of the dtype, the shape and the XXH3 of every 4 MiB, so that threads can share the work.

    Args:
        array: contiguous, of any size.
        map_pieces: as the built-in ``map``; pass ``Threads().map`` to use several threads.
    """
    digest = xxhash.xxh3_64(f"{array.dtype.str} {array.shape}".encode())
    for piece in map_pieces(_digest, pieces_of(array)):
        digest.update(piece)
    return digest.hexdigest()


def pieces_of(array: npt.NDArray[Any]) -> list[Bytes]:
    """The bytes of a contiguous array, PIECE of them at a time."""
    flat = array.reshape(-1).view(np.uint8) if array.size else np.empty(0, np.uint8)
    return [flat[start : start + PIECE] for start in range(0, len(flat), PIECE)]


def sha256_of_mapped(path: Path, array: npt.NDArray[Any]) -> str:
    """Hex digest of the file that ``map_file`` mapped, with the values in memory."""
    digest = hashlib.sha256(_header(path, array))
    for piece in pieces_of(array):
        digest.update(piece.data)
    return digest.hexdigest()


def expect_checksum(
    path: Path,
    array: npt.NDArray[Any],
    *,
    sha256: str,
    fast: str | None,
    cure: str,
    map_pieces: Map = map,
) -> None:
    """Compare what ``map_file`` mapped with the checksum of its file.

    Args:
        path: of the file, for the message.
        array: its values, as they are in memory.
        sha256: hex digest of the whole file.
        fast: the ``fast_checksum`` of the values, or None when only ``sha256`` is known.
        cure: what to do about a damaged file.
        map_pieces: as ``fast_checksum`` takes it.

    Raises:
        StorageError: when the values differ from their checksum.
    """
    if fast is None:
        is_same = sha256_of_mapped(path, array) == sha256
    else:
        is_same = fast_checksum(array, map_pieces) == fast
    if not is_same:
        raise StorageError(f"{path} differs from its checksum; {cure}")


def _digest(piece: Bytes) -> bytes:
    return xxhash.xxh3_64_digest(piece.data)


def _header(path: Path, array: npt.NDArray[Any]) -> bytes:
    """What stands before the values; of a file that is gone, what we write today."""
    if path.suffix != ".npy":
        return b""
    try:
        expect_regular(path)
        with path.open("rb") as stream:
            return stream.read(max(0, path.stat().st_size - array.nbytes))
    except (OSError, ValueError):
        return header_of(array.dtype, array.shape)
