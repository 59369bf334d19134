""".npy files: written without hiding what the system said, mapped without reading them.

Of the format only what we write is read: version 1.0, plain numbers, rows one after another.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from colmodern.files import write_bytes

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
    """A read-only view of an .npy file; only its header is read.

    Raises OSError when it cannot be opened, ValueError when it is no .npy file of numbers or is
    shorter or longer than its header says.
    """
    with path.open("rb") as stream:
        found = _HEADER.match(stream.read(_LARGEST_HEADER))
    if found is None or int.from_bytes(found["length"], "little") != len(found["text"]):
        raise ValueError(f"{path.name} does not begin as an .npy file of numbers")
    try:
        dtype = np.dtype(found["dtype"].decode())
    except TypeError as error:
        raise ValueError(f"{path.name} has an unknown dtype") from error
    shape = tuple(int(size) for size in found["shape"].split(b",") if size.strip())
    return map_bytes(path, dtype, shape, start=found.end())


def map_bytes(
    path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...], *, start: int = 0
) -> npt.NDArray[Any]:
    """A read-only view of the bytes of a file from ``start`` to its end; raises as map_array."""
    expected = start + math.prod(shape) * np.dtype(dtype).itemsize
    if (size := path.stat().st_size) != expected:
        raise ValueError(f"{path.name} has {size} bytes, not {expected}")
    if 0 in shape:  # cannot be mapped
        return np.empty(shape, dtype)
    # a plain array: every slice of a np.memmap pays for being one
    return np.memmap(path, dtype, "r", start, shape).view(np.ndarray)


def sha256_of_array(array: npt.NDArray[Any]) -> str:
    """Hex digest of an array's dtype, shape and values; a view is copied piece by piece."""
    digest = hashlib.sha256(f"{array.dtype} {array.shape}".encode())
    for start in range(0, len(array), _AT_ONCE):
        rows = np.ascontiguousarray(array[start : start + _AT_ONCE])
        digest.update(rows.data.cast("B") if rows.size else b"")
    return digest.hexdigest()
