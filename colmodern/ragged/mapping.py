"""Files mapped into memory without keeping a descriptor, of which a process has few.

Python's mmap keeps a copy of the descriptor for as long as the mapping lives (until Python 3.13 and
its ``trackfd=False``), and an index has fourteen files a segment.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import weakref
from functools import cache
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

_FAILED = ctypes.c_void_p(-1).value


class Mapping:
    """A whole file, mapped for reading as long as an array of it lives."""

    def __init__(self, descriptor: int, n_bytes: int) -> None:
        """Map the file of an open descriptor.

        Raises:
            OSError: The system refuses.
        """
        system = _system()
        address = system.mmap(None, n_bytes, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
        if address in (None, _FAILED):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        self._address, self._n_bytes = address, n_bytes
        # not at exit: other threads may still read then
        weakref.finalize(self, system.munmap, address, n_bytes).atexit = False

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """Lets ``np.asarray(self)`` make a read-only array of bytes that keeps the mapping alive."""
        data = (self._address, True)
        return {"version": 3, "shape": (self._n_bytes,), "typestr": "|u1", "data": data}

    def release_pages(self) -> None:
        """Release the mapping's pages from this process's memory; they stay on disk."""
        _system().madvise(self._address, self._n_bytes, mmap.MADV_DONTNEED)


def map_file(
    stream: BinaryIO, dtype: npt.DTypeLike, shape: tuple[int, ...], start: int
) -> npt.NDArray[Any]:
    """A read-only array of an open file, which may be closed, renamed or deleted afterwards.

    Args:
        stream: The open file.
        dtype: Dtype of the array.
        shape: Shape of the array, with at least one entry.
        start: Byte where the array begins; it ends with the file.

    Raises:
        OSError: The file cannot be mapped.
    """
    if not _is_supported():
        # a plain array, because slicing a np.memmap is slow
        return np.memmap(stream, dtype, "r", start, shape).view(np.ndarray)
    content = np.asarray(Mapping(stream.fileno(), os.fstat(stream.fileno()).st_size))
    return content[start:].view(dtype).reshape(shape)


def release_pages(array: npt.NDArray[np.generic]) -> None:
    """Release the pages of a mapped file from this process's memory; they stay on disk.

    Only for files mapped for reading: data written to a private mapping would be lost.
    """
    mapping = mapping_of(array)
    if mapping is None or not hasattr(mmap, "MADV_DONTNEED"):
        return
    if isinstance(mapping, Mapping):
        mapping.release_pages()
    else:
        mapping.madvise(mmap.MADV_DONTNEED)


def mapping_of(array: npt.NDArray[np.generic]) -> Mapping | mmap.mmap | None:
    """The mapped file that an array is a view of, None for an array in memory."""
    base: Any = array
    while base is not None and not isinstance(base, Mapping | mmap.mmap):
        base = getattr(base, "base", None)
    return base


def _is_supported() -> bool:
    """Whether addresses and offsets have 64 bits, as the calls below assume."""
    return sys.platform != "win32" and sys.maxsize > 2**32


@cache
def _system() -> ctypes.CDLL:
    library = ctypes.CDLL(None, use_errno=True)
    size, address, number = ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int
    library.mmap.restype = address
    library.mmap.argtypes = [address, size, number, number, number, ctypes.c_int64]
    library.munmap.argtypes = [address, size]
    library.madvise.argtypes = [address, size, number]
    return library
