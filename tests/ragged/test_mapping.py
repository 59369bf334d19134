from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from colmodern.ragged import arrays, mapping
from colmodern.ragged.arrays import map_array, map_bytes, write_array
from colmodern.ragged.mapping import release_pages

ROWS = np.arange(120_000, dtype=np.float32).reshape(-1, 3)  # a file that is mapped, not read
needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")


def mapped_files(folder: Path) -> int:
    return Path("/proc/self/maps").read_text().count(str(folder))


@needs_proc
@pytest.mark.parametrize("rows", [ROWS, ROWS[:3]])
def test_an_array_keeps_no_descriptor_and_its_mapping_ends_with_the_last_view(
    tmp_path: Path, rows: np.ndarray
) -> None:
    write_array(tmp_path / "a.npy", rows)
    before = sorted(os.listdir("/proc/self/fd"))
    array = map_array(tmp_path / "a.npy")
    assert sorted(os.listdir("/proc/self/fd")) == before
    view = array[1:].T[0].data
    (tmp_path / "a.npy").unlink()
    del array
    gc.collect()
    assert np.array_equal(view, rows[1:, 0])
    assert mapped_files(tmp_path) == (rows is ROWS)
    del view
    gc.collect()
    assert mapped_files(tmp_path) == 0


@pytest.mark.parametrize("small", [0, 1 << 30])
def test_read_and_mapped_arrays_are_the_same_and_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: int
) -> None:
    monkeypatch.setattr(arrays, "SMALL", small)
    for name, array in {
        "rows": ROWS,
        "one": np.array([7], np.int64),
        "none": np.empty((0, 3), np.uint8),
        "bytes": np.arange(7, dtype=np.uint8),
    }.items():
        write_array(tmp_path / f"{name}.npy", array)
        back = map_array(tmp_path / f"{name}.npy")
        assert (back.dtype, back.shape) == (array.dtype, array.shape)
        assert np.array_equal(back, array)
        assert back.flags.c_contiguous
        assert back.flags.aligned
        if array.size:
            with pytest.raises(ValueError, match="read-only"):
                back[...] = 1
    (tmp_path / "ids.bin").write_bytes(b"abc")
    assert map_bytes(tmp_path / "ids.bin", np.uint8, (3,)).tobytes() == b"abc"
    with pytest.raises(ValueError, match="has 3 bytes, not 4"):
        map_bytes(tmp_path / "ids.bin", np.uint8, (4,))


def test_pages_that_were_let_go_are_read_again(tmp_path: Path) -> None:
    write_array(tmp_path / "a.npy", ROWS)
    array = map_array(tmp_path / "a.npy")
    release_pages(array[5:])
    assert np.array_equal(array, ROWS)
    release_pages(np.zeros(3))


@pytest.mark.skipif(sys.platform == "win32", reason="needs mmap of the C library")
def test_where_addresses_are_short_numpy_maps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapping, "_is_supported", lambda: False)
    write_array(tmp_path / "a.npy", ROWS)
    array = map_array(tmp_path / "a.npy")
    assert type(array) is np.ndarray
    release_pages(array)
    assert np.array_equal(array, ROWS)
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def test_a_mapping_that_the_system_refuses_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with (tmp_path / "empty").open("rb") as stream, pytest.raises(OSError, match="Invalid"):
        mapping.Mapping(stream.fileno(), 0)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_in_the_place_of_an_array_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.npy")
    with pytest.raises(ValueError, match=r"a\.npy is not a regular file"):
        map_array(tmp_path / "a.npy")
