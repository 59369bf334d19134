from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from colmodern.errors import StorageError
from colmodern.files import sha256_of_file
from colmodern.ragged import mapped
from colmodern.ragged.arrays import write_array
from colmodern.ragged.mapped import (
    expect_checksum,
    fast_checksum,
    map_file,
    sha256_of_mapped,
)
from colmodern.threads import Threads


@pytest.mark.parametrize("kind", ["pipe", "folder", "endless device", "missing"])
@pytest.mark.parametrize("name", ["a.npy", "a.bin"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, kind: str, name: str) -> None:
    path = tmp_path / name
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "endless device":
        path.symlink_to("/dev/zero")
    with pytest.raises((OSError, ValueError), match=r"not a regular file|No such file"):
        map_file(path)


def test_an_array_through_a_link_is_mapped(tmp_path: Path) -> None:
    write_array(tmp_path / "a.npy", np.arange(5))
    (tmp_path / "b.npy").symlink_to("a.npy")
    assert map_file(tmp_path / "b.npy").tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("n", [0, 1, 4, 5, 9])
def test_a_fast_checksum_tells_values_shape_and_dtype_and_needs_no_order_of_threads(
    monkeypatch: pytest.MonkeyPatch, n: int
) -> None:
    monkeypatch.setattr(mapped, "CHUNK", 4 * 8)
    array = np.arange(n)
    known = fast_checksum(array)
    assert fast_checksum(array.copy(), Threads(3).map) == known
    others = [array.astype(np.uint64), array.reshape(1, n), np.arange(n + 1)]
    for place in range(n):
        changed = array.copy()
        changed[place] ^= 1 << 40
        others.append(changed)
    assert known not in {fast_checksum(other) for other in others}


def test_fast_checksums_stay_what_they_are() -> None:
    # they stand in the manifests of indexes
    assert fast_checksum(np.arange(3, dtype=np.int64)) == "9fcf648945388a5a"
    assert fast_checksum(np.empty((0, 4), np.uint8)) == "6e32f0327b357a1f"


@pytest.mark.parametrize("array", [np.arange(7.0), np.zeros((3, 2), np.uint8), np.empty((0, 3))])
def test_the_sha256_of_mapped_values_is_that_of_the_file(tmp_path: Path, array: np.ndarray) -> None:
    path = tmp_path / "a.npy"
    write_array(path, array)
    values, expected = map_file(path), sha256_of_file(path)
    assert sha256_of_mapped(path, values) == expected
    path.unlink()
    assert sha256_of_mapped(path, values) == expected  # the mapping outlives the file


def test_what_differs_from_either_checksum_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    write_array(path, np.arange(7))
    values, sha256 = map_file(path), sha256_of_file(path)
    expect_checksum(path, values, sha256=sha256, fast=None, cure="mend it")
    expect_checksum(path, values, sha256="", fast=fast_checksum(values), cure="mend it")
    for changed, fast in ((values + 1, None), (values, fast_checksum(values + 1))):
        with pytest.raises(StorageError, match=r"a\.npy differs from its checksum; mend it"):
            expect_checksum(path, changed, sha256=sha256, fast=fast, cure="mend it")
