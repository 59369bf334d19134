from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from colmodern import reading
from colmodern.errors import ConfigError, DataError
from colmodern.reading import read_lines, read_text, user_path


def lines(path: Path) -> list[tuple[int, str]]:
    return list(read_lines(path, DataError))


def test_lines_end_at_line_feeds_only(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffa\u2028b\x85c\x0cd\x1ce\r\n \t\nf\rg\r\r\nlast".encode())
    assert lines(path) == [(1, "a\u2028b\x85c\x0cd\x1ce"), (3, "f\rg\r"), (4, "last")]


def test_gzip_is_seen_from_the_content_whatever_the_name(tmp_path: Path) -> None:
    packed, plain = tmp_path / "packed.txt", tmp_path / "plain.txt.gz"
    packed.write_bytes(gzip.compress(b"a\nb\n"))
    plain.write_bytes(b"a\nb\n")
    assert lines(packed) == lines(plain) == [(1, "a"), (2, "b")]
    digest = hashlib.sha256()
    list(read_lines(packed, DataError, digest=digest))
    assert digest.digest() == hashlib.sha256(b"a\nb\n").digest()


@pytest.mark.parametrize("change", [lambda b: b[:-9], lambda b: b[:40], lambda b: b[:12]])
def test_a_cut_gzip_is_named(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(change(gzip.compress(os.urandom(100).hex().encode() * 3)))
    with pytest.raises(
        DataError, match=r"cannot read .*a\.gz: it is gzipped and damaged at line 1"
    ):
        lines(path)


def test_a_damaged_gzip_never_raises_anything_else(tmp_path: Path) -> None:
    path, whole = tmp_path / "a.gz", gzip.compress(b"some words and some other words\n" * 9)
    outcomes = set()
    for position in range(2, len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        try:
            outcomes.add(len(lines(path)))
        except DataError as error:
            outcomes.add(str(error).partition(":")[0])
    assert outcomes == {
        9,
        f"cannot read {path}",
    }  # of the header, time and system are not looked at


def test_a_line_without_end_is_refused_before_it_fills_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_LINE", 1 << 20)
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(b"ok\n" + bytes(8 << 20), compresslevel=1))
    with pytest.raises(DataError, match=r"bomb\.gz:2: the line is longer than 1 MiB"):
        lines(path)


def test_blank_lines_without_end_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_BLANK", 100)
    (tmp_path / "a").write_bytes(b"x\n" + b"\n" * 100 + b"y\n" + b" \n" * 100 + b"z\n")
    assert [text for _, text in lines(tmp_path / "a")] == ["x", "y", "z"]
    (tmp_path / "a").write_bytes(b"x\n" + b"\r\n" * 101)
    with pytest.raises(DataError, match=r"a:102: more than 100 blank lines in a row"):
        lines(tmp_path / "a")


def test_bytes_that_are_not_utf8_are_named_by_line(tmp_path: Path) -> None:
    for content in (b"a\nd\xe9\n", b"a\n\xed\xa0\x80\n", b"a\n\xff\xfe\n"):
        (tmp_path / "a.txt").write_bytes(content)
        with pytest.raises(DataError, match=r"a\.txt:2: not UTF-8 text"):
            lines(tmp_path / "a.txt")


@pytest.mark.parametrize("read", [read_text, lambda path, error: list(read_lines(path, error))])
def test_only_regular_files_are_read(tmp_path: Path, read: Callable[..., object]) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    paths = {
        tmp_path / "pipe": "a named pipe",
        tmp_path / "folder": "a folder",
        Path("/dev/zero"): "a device",
        tmp_path / "none": "No such file",
        tmp_path / ("x" * 300): "name too long",
        tmp_path / "a\0b": "null byte",
    }
    for path, words in paths.items():
        with pytest.raises(ConfigError, match=f"cannot read .*{words}"):
            read(path, ConfigError)


def test_a_text_has_a_largest_size(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * (1 << 20))
    assert len(read_text(tmp_path / "a", ConfigError, max_bytes=1 << 20)) == 1 << 20
    (tmp_path / "a").write_bytes(b"x" * ((1 << 20) + 1))
    with pytest.raises(ConfigError, match="longer than 1 MiB"):
        read_text(tmp_path / "a", ConfigError, max_bytes=1 << 20)


def test_homes_of_nobody_nul_and_nothing_are_no_paths() -> None:
    with pytest.raises(DataError, match="a path is empty"):
        user_path("", DataError)
    assert user_path("~/a", DataError) == Path.home() / "a"
    with pytest.raises(DataError, match="~nosuchuser/x: there is no such user"):
        user_path("~nosuchuser/x", DataError)
    with pytest.raises(DataError, match="NUL"):
        user_path("a\0b", DataError)
