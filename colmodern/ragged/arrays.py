""".npy files: written so that errors keep their errno; large files are mapped, not read.

Only the subset of the format that we write is read: version 1.0, plain numbers, C order.
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

SMALL = 1 << 16  # bytes up to which a file is read: that takes less memory than mapped pages
_LARGEST_HEADER = 4096  # bytes; our headers have 128
_CHUNK = 1 << 16  # rows under a digest at a time, to bound its memory
_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00(?P<length>..)(?P<text>\{'descr': '(?P<dtype>[<|][biuf]\d)', "
    rb"'fortran_order': False, 'shape': \((?P<shape>(?:\d{1,18}, ?)*(?:\d{1,18})?)\), \} *\n)",
    re.DOTALL,
)


def header_of(dtype: npt.DTypeLike, shape: tuple[int, ...]) -> bytes:
    """The header of an .npy file of this dtype and shape; its data follow immediately."""
    header = io.BytesIO()
    fields = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
        "fortran_order": False,
        "shape": shape,
    }
    np.lib.format.write_array_header_1_0(header, fields)
    return header.getvalue()


def write_array(path: Path, array: npt.NDArray[np.generic]) -> None:
    """Write an .npy file and wait until it is on disk.

    Raises:
        OSError: The disk is full or the file cannot be written, with errno.
    """
    # not np.save: on a full disk it raises an OSError without errno
    array = np.ascontiguousarray(array)
    data = b"" if array.size == 0 else array.data.cast("B")
    write_bytes(path, header_of(array.dtype, array.shape), data)


def map_array(path: Path) -> npt.NDArray[Any]:
    """A read-only array of an .npy file; a large file is mapped, and only its header read.

    No descriptor is kept.

    Raises:
        OSError: The file cannot be opened.
        ValueError: It is not a regular file or not an .npy file of numbers, or its size is not
            what its header says.
    """
    with open_regular(path) as stream:
        content = _beginning(stream)
        header = _HEADER.match(content[:_LARGEST_HEADER])
        if header is None or int.from_bytes(header["length"], "little") != len(header["text"]):
            raise ValueError(f"{path.name} does not begin as an .npy file of numbers")
        try:
            dtype = np.dtype(header["dtype"].decode())
        except TypeError as error:
            raise ValueError(f"{path.name} has an unknown dtype") from error
        shape = tuple(int(size) for size in header["shape"].split(b",") if size.strip())
        return _view(stream, path, content, dtype, shape, header.end())


def map_bytes(
    path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...], *, start: int = 0
) -> npt.NDArray[Any]:
    """A read-only array of the bytes of a file from ``start`` to its end.

    Raises:
        OSError: The file cannot be opened.
        ValueError: It is not a regular file, or its size does not fit the shape.
    """
    with open_regular(path) as stream:
        return _view(stream, path, _beginning(stream), np.dtype(dtype), shape, start)


def _beginning(stream: BinaryIO) -> bytes:
    """All of a small file, or enough of a large one for its header."""
    is_small = os.fstat(stream.fileno()).st_size <= SMALL
    return stream.read(SMALL if is_small else _LARGEST_HEADER)


def _view(
    stream: BinaryIO,
    path: Path,
    content: bytes,
    dtype: np.dtype[np.generic],
    shape: tuple[int, ...],
    start: int,
) -> npt.NDArray[Any]:
    """The array in an open file, whose ``content`` is its beginning, or all of it if small."""
    expected = start + math.prod(shape) * dtype.itemsize
    if (size := os.fstat(stream.fileno()).st_size) != expected:
        raise ValueError(f"{path.name} has {size} bytes, not {expected}")
    if 0 in shape:  # cannot be mapped
        return np.empty(shape, dtype)
    if size <= SMALL:
        return np.frombuffer(content, dtype, offset=start).reshape(shape)
    return map_file(stream, dtype, shape, start)


def sha256_of_array(array: npt.NDArray[np.generic]) -> str:
    """Hex digest of an array's dtype, shape and values; a view is copied chunk by chunk."""
    digest = hashlib.sha256(f"{array.dtype} {array.shape}".encode())
    for start in range(0, len(array), _CHUNK):
        chunk = np.ascontiguousarray(array[start : start + _CHUNK])
        digest.update(chunk.data.cast("B") if chunk.size else b"")
    return digest.hexdigest()
