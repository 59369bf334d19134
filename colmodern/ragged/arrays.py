""".npy files: written without hiding what the system said; large ones are mapped, not read.

Of the format only what we write is read: version 1.0, plain numbers, rows one after another.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import re
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from colmodern.disk import open_regular
from colmodern.files import write_bytes
from colmodern.ragged.mapping import map_file

SMALL = 1 << 16  # bytes; up to there a file is read: that costs less memory than mapped pages do
_LARGEST_HEADER = 4096  # bytes; ours have 128
_AT_ONCE = 1 << 16  # rows; bounds the memory of a digest
_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00(?P<length>..)(?P<text>\{'descr': '(?P<dtype>[<|][biuf]\d)', "
    rb"'fortran_order': False, 'shape': \((?P<shape>(?:\d{1,18}, ?)*(?:\d{1,18})?)\), \} *\n)",
    re.DOTALL,
)


def header_of(dtype: npt.DTypeLike, shape: tuple[int, ...]) -> bytes:
    """What an .npy file of this dtype and shape begins with; its rows follow at once."""
    header = io.BytesIO()
    about = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
        "fortran_order": False,
        "shape": shape,
    }
    np.lib.format.write_array_header_1_0(header, about)
    return header.getvalue()


def write_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write an .npy file and wait until it is on disk; raises OSError with its errno."""
    # not np.save: on a full disk it raises an OSError without errno
    array = np.ascontiguousarray(array)
    rows = b"" if array.size == 0 else array.data.cast("B")
    write_bytes(path, header_of(array.dtype, array.shape), rows)


def map_array(path: Path) -> npt.NDArray[Any]:
    """A read-only array of an .npy file; of a large file only the header is read.

    No descriptor is kept. Raises OSError when the file cannot be opened, ValueError when it is no
    .npy file of numbers or is shorter or longer than its header says.
    """
    with open_regular(path) as stream:
        content = _beginning(stream)
        found = _HEADER.match(content[:_LARGEST_HEADER])
        if found is None or int.from_bytes(found["length"], "little") != len(found["text"]):
            raise ValueError(f"{path.name} does not begin as an .npy file of numbers")
        try:
            dtype = np.dtype(found["dtype"].decode())
        except TypeError as error:
            raise ValueError(f"{path.name} has an unknown dtype") from error
        shape = tuple(int(size) for size in found["shape"].split(b",") if size.strip())
        return _view(stream, path, content, dtype, shape, found.end())


def map_bytes(
    path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...], *, start: int = 0
) -> npt.NDArray[Any]:
    """A read-only array of the bytes of a file from ``start`` to its end; raises as map_array."""
    with open_regular(path) as stream:
        return _view(stream, path, _beginning(stream), np.dtype(dtype), shape, start)


def _beginning(stream: BinaryIO) -> bytes:
    """All of a small file, or enough of another for a header."""
    is_small = os.fstat(stream.fileno()).st_size <= SMALL
    return stream.read(SMALL if is_small else _LARGEST_HEADER)


def _view(
    stream: BinaryIO,
    path: Path,
    content: bytes,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    start: int,
) -> npt.NDArray[Any]:
    """content: what the file begins with, all of it when it is small."""
    expected = start + math.prod(shape) * dtype.itemsize
    if (size := os.fstat(stream.fileno()).st_size) != expected:
        raise ValueError(f"{path.name} has {size} bytes, not {expected}")
    if 0 in shape:  # cannot be mapped
        return np.empty(shape, dtype)
    if size <= SMALL:
        return np.frombuffer(content, dtype, offset=start).reshape(shape)
    return map_file(stream, dtype, shape, start)


def sha256_of_array(array: npt.NDArray[Any]) -> str:
    """Hex digest of an array's dtype, shape and values; a view is copied piece by piece."""
    digest = hashlib.sha256(f"{array.dtype} {array.shape}".encode())
    for start in range(0, len(array), _AT_ONCE):
        rows = np.ascontiguousarray(array[start : start + _AT_ONCE])
        digest.update(rows.data.cast("B") if rows.size else b"")
    return digest.hexdigest()
