from __future__ import annotations

import errno
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from colmodern.errors import StorageError
from colmodern.index.plaid.write.arrays import ArrayWriter, ResumeError
from colmodern.ragged.arrays import map_array, write_array

DTYPES = ["uint8", "uint16", "uint32", "int32", "int64", "uint64", "float16", "float32"]


@given(
    dtype=st.sampled_from(DTYPES),
    row_shape=st.sampled_from([(), (1,), (3,), (2, 2)]),
    sizes=st.lists(st.integers(0, 5), max_size=5),
    cut=st.floats(0, 1),
)
def test_pieces_and_a_resumed_file_equal_one_write(
    dtype: str, row_shape: tuple[int, ...], sizes: list[int], cut: float
) -> None:
    n_rows = sum(sizes)
    rows = np.arange(n_rows * int(np.prod(row_shape))).reshape(n_rows, *row_shape).astype(dtype)
    keep = int(cut * n_rows)
    with TemporaryDirectory() as folder:
        path, whole = Path(folder) / "rows.npy", Path(folder) / "whole.npy"
        write_array(whole, rows)
        with ArrayWriter(path, dtype, row_shape, n_rows) as writer:
            for start, size in zip(np.cumsum([0, *sizes]), sizes, strict=False):
                writer.append(rows[start : start + size])
        assert path.read_bytes() == whole.read_bytes()
        with ArrayWriter(path, dtype, row_shape, n_rows, resume_at=keep) as writer:
            assert writer.n_written == keep
            writer.append(rows[keep:])
        assert path.read_bytes() == whole.read_bytes()
        mapped = map_array(path)
        assert mapped.dtype == rows.dtype
        assert np.array_equal(mapped, rows)
        assert np.array_equal(np.load(path), rows)


def write_and_die(path: Path, row_shape: tuple[int, ...], n_rows: int, rows: np.ndarray) -> None:
    with (
        suppress(KeyboardInterrupt),
        ArrayWriter(path, rows.dtype, row_shape, n_rows) as writer,
    ):
        writer.append(rows)
        raise KeyboardInterrupt


def test_resuming_cuts_what_came_after(tmp_path: Path) -> None:
    path = tmp_path / "rows.npy"
    write_and_die(path, (), 6, np.array([1, 2, 3, 9, 9], np.uint8))
    with ArrayWriter(path, "uint8", (), 6, resume_at=3) as again:
        again.append(np.array([4, 5, 6], np.uint8))
    assert map_array(path).tolist() == [1, 2, 3, 4, 5, 6]


def test_closing_early_is_refused_and_keeps_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.npy"
    writer = ArrayWriter(path, "uint8", (2,), 3)
    writer.append(np.ones((1, 2), np.uint8))
    with pytest.raises(StorageError, match=r"rows\.npy got 1 of 3 rows"):
        writer.close()
    with pytest.raises(ValueError, match="has 130 bytes, not 134"):
        map_array(path)
    with ArrayWriter(path, "uint8", (2,), 3, resume_at=1) as again:
        again.append(np.zeros((2, 2), np.uint8))
    assert map_array(path).tolist() == [[1, 1], [0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("dtype", "n_rows", "resume_at"), [("uint8", 4, 4), ("uint16", 4, 1), ("uint8", 5, 1)]
)
def test_a_file_that_cannot_be_resumed_is_refused(
    tmp_path: Path, dtype: str, n_rows: int, resume_at: int
) -> None:
    path = tmp_path / "rows.npy"
    write_and_die(path, (), 4, np.ones(3, np.uint8))
    with pytest.raises(StorageError, match=f"does not hold the {resume_at} rows to resume from"):
        ArrayWriter(path, dtype, (), n_rows, resume_at=resume_at)
    with pytest.raises(StorageError, match="cannot write"):
        ArrayWriter(tmp_path / "none.npy", "uint8", (), 4, resume_at=0)


def test_rows_that_differ_from_their_checksum_are_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "rows.npy"
    with suppress(KeyboardInterrupt), ArrayWriter(path, "uint8", (), 4) as writer:
        writer.append(np.ones(3, np.uint8))
        checksum = writer.checksum()
        raise KeyboardInterrupt
    with ArrayWriter(path, "uint8", (), 4, resume_at=3, checksum=checksum) as again:
        again.append(np.ones(1, np.uint8))
    path.write_bytes(path.read_bytes()[:-2] + b"\2\1")
    with pytest.raises(ResumeError, match=r"rows\.npy differs from what was written"):
        ArrayWriter(path, "uint8", (), 4, resume_at=3, checksum=checksum)


def test_an_error_inside_is_not_hidden_by_missing_rows(tmp_path: Path) -> None:
    with pytest.raises(KeyError), ArrayWriter(tmp_path / "rows.npy", "uint8", (), 4):
        raise KeyError


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_named() -> None:
    with pytest.raises(StorageError, match="disk full while writing /dev/full"):
        ArrayWriter(Path("/dev/full"), "uint8", (), 4)


def test_rows_that_a_disk_takes_in_parts_are_all_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = ArrayWriter(tmp_path / "rows.npy", "uint16", (), 50)
    stream = writer._stream

    class Slow:
        fileno, close = stream.fileno, stream.close

        def write(self, data: memoryview) -> int:
            return stream.write(data[:7])

    monkeypatch.setattr(writer, "_stream", Slow())
    writer.append(np.arange(50, dtype=np.uint16))
    writer.close()
    assert map_array(tmp_path / "rows.npy").tolist() == list(range(50))


def test_a_disk_that_fails_later_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(data: memoryview) -> None:
        raise OSError(errno.ENOSPC, "no room")

    with ArrayWriter(tmp_path / "rows.npy", "uint8", (), 4) as writer:
        with monkeypatch.context() as patch:
            patch.setattr(writer, "_write", fail)
            with pytest.raises(StorageError, match="disk full"):
                writer.append(np.zeros(4, np.uint8))
        assert writer.n_written == 0
        writer.append(np.zeros(4, np.uint8))
