"""An .npy file that grows by rows, up to a size known beforehand."""

from __future__ import annotations

import math
import os
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
import xxhash

from colmodern.disk import sync, without_following
from colmodern.errors import StorageError
from colmodern.files import PIECE, naming_write_errors
from colmodern.ragged.arrays import header_of


class ResumeError(StorageError):
    """Files of an interrupted writer are not what it wrote; they have to be written again."""


class ArrayWriter:
    """Appends rows to an .npy file; as a context manager it closes the file.

    Rows go through plain writes: through a mapping a full disk would kill the process (SIGBUS).

    Args:
        path: The file.
        dtype: Dtype of its numbers.
        row_shape: Shape of one row; () for numbers.
        n_rows: Rows of the finished file.
        resume_at: Rows of an earlier writer to keep; later ones are cut off. None makes a new file.
        checksum: The value of ``checksum()`` at ``resume_at``, to compare with the rows kept.

    Raises:
        StorageError: The file cannot be written.
        ResumeError: It cannot be resumed: it has another dtype or shape, fewer rows, or rows that
            differ from ``checksum``.
    """

    def __init__(
        self,
        path: Path,
        dtype: npt.DTypeLike,
        row_shape: tuple[int, ...],
        n_rows: int,
        *,
        resume_at: int | None = None,
        checksum: str | None = None,
    ) -> None:
        self.path = path
        self.dtype = np.dtype(dtype)
        self.row_shape = row_shape
        self.n_rows = n_rows
        self.n_written = resume_at or 0
        self._digest = xxhash.xxh3_64()
        header = header_of(self.dtype, (n_rows, *row_shape))
        with naming_write_errors(path):
            # unbuffered: what an append could not write is not tried again by close
            mode = "wb" if resume_at is None else "r+b"
            opener = without_following
            self._stream = open(path, mode, buffering=0, opener=opener)  # noqa: SIM115 (close)
            try:
                if resume_at is None:
                    self._write(header)
                else:
                    self._cut(header, resume_at, checksum)
            except BaseException:
                self._stream.close()
                raise

    def append(self, rows: npt.NDArray[np.generic]) -> None:
        """Write more rows.

        They are on disk after ``sync`` or ``close``, in a ``staging`` folder when that is finished.

        Args:
            rows: (n, *row_shape) numbers of the file's dtype.

        Raises:
            StorageError: The disk is full.
        """
        assert rows.dtype == self.dtype, (self.path, rows.dtype)
        assert rows.shape[1:] == self.row_shape, (self.path, rows.shape)
        assert self.n_written + len(rows) <= self.n_rows, (self.path, self.n_written, len(rows))
        if rows.size:
            with naming_write_errors(self.path):
                self._write(np.ascontiguousarray(rows).data.cast("B"))
        self.n_written += len(rows)

    def checksum(self) -> str:
        """XXH3 of all bytes so far, 16 hex digits; no protection against intent."""
        return str(self._digest.hexdigest())

    def sync(self) -> None:
        """Wait until all rows so far are on disk, so that a later writer can resume there."""
        with naming_write_errors(self.path):
            sync(self._stream.fileno(), self.path)

    def close(self) -> None:
        """Finish the file; raises StorageError when rows are missing."""
        try:
            if self.n_written != self.n_rows:
                raise StorageError(
                    f"{self.path} got {self.n_written} of {self.n_rows} rows: its source ended "
                    "early or changed meanwhile; start again"
                )
            self.sync()
        finally:
            self._stream.close()

    def __enter__(self) -> ArrayWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._stream.close()

    def _write(self, data: bytes | memoryview) -> None:
        self._digest.update(data)
        left = memoryview(data)
        while left:  # one write takes at most 2 GiB
            left = left[self._stream.write(left) :]

    def _cut(self, header: bytes, n_rows: int, checksum: str | None) -> None:
        n_bytes = len(header) + n_rows * math.prod(self.row_shape) * self.dtype.itemsize
        is_ours = n_rows <= self.n_rows and self._stream.read(len(header)) == header
        if not is_ours or os.fstat(self._stream.fileno()).st_size < n_bytes:
            raise ResumeError(
                f"{self.path} does not hold the {n_rows} rows to resume from; delete it, then "
                "start again"
            )
        self._digest.update(header)
        left = n_bytes - len(header)
        while left and (piece := self._stream.read(min(left, PIECE))):
            self._digest.update(piece)
            left -= len(piece)
        if left or checksum not in (None, self.checksum()):
            raise ResumeError(
                f"{self.path} differs from what was written to it; delete it, then start again"
            )
        self._stream.truncate(n_bytes)
        self._stream.seek(n_bytes)
