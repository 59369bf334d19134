"""Checksums of the blocks of an array, verified when a block is first used.

A search that touches a few documents reads and verifies their blocks only, so its cost does not
grow with the store; reading all of an array verifies it on the way, at some GB a second.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import xxhash

from colmodern.files import sha256_of_file
from colmodern.ragged.manifest import CURE, DamageError, unreadable
from colmodern.threads import ForkSafeLock

BLOCK = 1 << 16  # bytes: a few documents, and enough to outweigh the cost of a call
_DIGITS = 16  # hex digits of a checksum


def block_checksums(array: npt.NDArray[np.generic]) -> str:
    """64-bit XXH3 of each block of an array's bytes, as 16 hex digits each, joined."""
    data = _bytes_of(array)
    starts = range(0, len(data), BLOCK)
    return "".join(xxhash.xxh3_64_hexdigest(data[start : start + BLOCK]) for start in starts)


class BlockVerifier:
    """Compares the rows of a mapped array with their checksums, each block once."""

    def __init__(
        self, path: Path, array: npt.NDArray[np.generic], checksums: str | None, sha256: str
    ) -> None:
        """Prepare to verify; nothing is read yet.

        Args:
            path: The .npy file, for messages and for the checksum of the whole file.
            array: The mapped array.
            checksums: Result of ``block_checksums``; None verifies the whole file by ``sha256``.
            sha256: Hex digest of the file.

        Raises:
            DamageError: The number of checksums does not fit the array.
        """
        self._path = path
        self._data = _bytes_of(array)
        self._row_bytes = array.itemsize * int(np.prod(array.shape[1:]))
        self._checksums = checksums
        self._sha256 = sha256
        n_blocks = -(-len(self._data) // BLOCK)
        if checksums is not None and len(checksums) != n_blocks * _DIGITS:
            raise DamageError(f"{path} has other blocks than its checksums; {CURE}")
        self._is_verified = np.zeros(n_blocks if checksums is not None else 1, bool)
        self._lock = ForkSafeLock()

    def verify(self, start: int, stop: int) -> None:
        """Raise DamageError when rows ``start`` to ``stop`` are not what was written."""
        if start >= stop:
            return
        if self._checksums is None:
            self._verify_file()
            return
        first, last = start * self._row_bytes // BLOCK, -(-stop * self._row_bytes // BLOCK)
        for block in (first + np.flatnonzero(~self._is_verified[first:last])).tolist():
            begin = block * BLOCK
            checksum = xxhash.xxh3_64_hexdigest(self._data[begin : begin + BLOCK])
            if checksum != self._checksums[block * _DIGITS : (block + 1) * _DIGITS]:
                end = min(begin + BLOCK, len(self._data))
                raise DamageError(
                    f"{self._path} differs from its checksum in bytes {begin} to {end} of its "
                    f"rows; {CURE}"
                )
            self._is_verified[block] = True

    def trust(self) -> None:
        """Mark all rows as verified, for a caller that has verified the whole file."""
        self._is_verified[:] = True

    def _verify_file(self) -> None:
        with self._lock.held():  # so that only one of several threads reads the file
            if self._is_verified[0]:
                return
            try:
                sha256 = sha256_of_file(self._path)
            except OSError as error:
                raise unreadable(self._path, error) from error
            if sha256 != self._sha256:
                raise DamageError(f"{self._path} differs from its checksum; {CURE}")
            self._is_verified[0] = True


def _bytes_of(array: npt.NDArray[np.generic]) -> memoryview:
    return memoryview(b"") if array.size == 0 else array.data.cast("B")
