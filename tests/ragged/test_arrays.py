from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from colmodern.ragged.arrays import header_of, map_array, write_array


@given(st.integers(0, 127), st.integers(1, 255))
def test_a_changed_header_is_read_as_numbers_of_that_size_or_refused(at: int, flip: int) -> None:
    content = bytearray(header_of("uint32", (3, 2)) + bytes(24))
    content[at] ^= flip
    with TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        path.write_bytes(content)
        try:
            n_bytes = map_array(path).nbytes
        except ValueError:
            return
        assert n_bytes == 24


@pytest.mark.parametrize(
    "array",
    [
        np.array([{}]),
        np.asfortranarray(np.ones((2, 3))),
        np.ones(2, ">i4"),
        np.zeros(2, "i4,i4"),
        np.zeros(2, "U3"),
    ],
    ids=["objects", "fortran", "big-endian", "records", "text"],
)
def test_other_arrays_than_ours_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match=r"a\.npy does not begin as an \.npy file of numbers"):
        map_array(tmp_path / "a.npy")


def test_an_unknown_dtype_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(header_of("uint8", (2,)).replace(b"|u1", b"|u3") + bytes(6))
    with pytest.raises(ValueError, match=r"a\.npy has an unknown dtype"):
        map_array(tmp_path / "a.npy")


def test_a_mapped_array_cannot_be_written(tmp_path: Path) -> None:
    write_array(tmp_path / "a.npy", np.zeros(3))
    with pytest.raises(ValueError, match="read-only"):
        map_array(tmp_path / "a.npy")[0] = 1
