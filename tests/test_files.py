from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from colmodern.errors import ResourceError, StorageError
from colmodern.files import (
    parse_json,
    read_error,
    remove_leftovers,
    replacing,
    sha256_of_file,
    sha256_of_json,
    staging,
    write_json,
    write_text,
)


def fail_after_half(path: Path, error: type[BaseException] = TypeError) -> None:
    path.write_text("half")
    raise error


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(TypeError), replacing(path) as temporary:
        fail_after_half(temporary)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_folder_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), staging(tmp_path / "folder") as temporary:
        fail_after_half(temporary / "part", KeyboardInterrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_finished_folder_appears_whole(tmp_path: Path) -> None:
    with staging(tmp_path / "new" / "folder") as temporary:
        (temporary / "part").write_text("all")
        assert not (tmp_path / "new" / "folder").exists()
    assert (tmp_path / "new" / "folder" / "part").read_text() == "all"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_with_its_cure(tmp_path: Path, code: int) -> None:
    with (
        pytest.raises(StorageError, match=r"disk full while writing .*a\.txt .*free some space"),
        replacing(tmp_path / "deep" / "a.txt"),
    ):
        raise OSError(code, "no room")


def test_a_limit_on_the_size_of_files_is_no_full_disk(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match=r"a file may not be that large \(ulimit -f"),
        replacing(tmp_path / "a"),
    ):
        raise OSError(errno.EFBIG, "File too large")


def test_an_unwritable_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot write .*file/a\.txt"):
        write_text(tmp_path / "file" / "a.txt", "x")


def test_other_system_errors_pass_through(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="strange"), replacing(tmp_path / "a"):
        raise OSError(errno.EIO, "strange")


def test_digests(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"ö": 1})
    assert (tmp_path / "a.json").read_text("utf-8") == '{\n  "ö": 1\n}\n'
    (tmp_path / "empty").write_bytes(b"")
    # the published digest of no bytes at all
    assert sha256_of_file(tmp_path / "empty").startswith("e3b0c44298fc1c14")
    assert sha256_of_json({"a": 1, "b": 2}) == sha256_of_json({"b": 2, "a": 1})
    assert sha256_of_json([1, 2]) != sha256_of_json([2, 1])


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (OSError(errno.EMFILE, "Too many open files"), ResourceError, "ulimit -n"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), ResourceError, "free memory"),
        (MemoryError(), ResourceError, "free memory"),
        (OSError(errno.EACCES, "Permission denied"), StorageError, "permission to read"),
        (ValueError("a.npy has 3 bytes"), StorageError, "3 bytes.*build again"),
        (OSError(errno.ENOENT, "No such file"), StorageError, "build again"),
    ],
)
def test_only_damage_is_called_damage(error: Exception, kind: type[Exception], words: str) -> None:
    made = read_error(Path("a.npy"), error, cure="build again")
    assert type(made) is kind
    with pytest.raises(kind, match=words):
        raise made
    assert ("build again" in str(made)) == ("build again" in words)


def test_leftovers_of_another_host_go_only_under_the_lock(tmp_path: Path) -> None:
    other = tmp_path / ".shard-00000.elsewhere.example.1.tmp"
    other.mkdir()
    (tmp_path / ".notes.tmp").write_text("somebody's")
    remove_leftovers(tmp_path)
    assert other.is_dir()
    remove_leftovers(tmp_path, is_locked=True)
    assert [path.name for path in tmp_path.iterdir()] == [".notes.tmp"]


@pytest.mark.parametrize("kind", ["folder", "device", "pipe", "stream"])
def test_what_is_no_file_is_not_replaced(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a"
    make = {
        "folder": path.mkdir,
        "device": lambda: path.symlink_to(os.devnull),
        "pipe": lambda: os.mkfifo(path),
        "stream": lambda: path.symlink_to("/proc/self/fd/0"),
    }
    make[kind]()
    with pytest.raises(StorageError, match="would be replaced by a file; choose another output"):
        write_text(path, "text")
    assert [one.name for one in tmp_path.iterdir()] == ["a"]
    assert not path.is_file() or path.is_symlink()


@pytest.mark.parametrize("opening", ["[", '{"a": '])
def test_json_that_is_nested_too_deep_to_be_shown_is_refused(tmp_path: Path, opening: str) -> None:
    closing = "]" if opening == "[" else "}"
    deep = tmp_path / "deep.json"
    deep.write_text(opening * 101 + "1" + closing * 101)
    with pytest.raises(StorageError, match=r"deep.json is not JSON \(nested more than 100 levels"):
        parse_json(deep, StorageError, cure="write it again")
    deep.write_text(opening * 100 + "1" + closing * 100)
    assert parse_json(deep, StorageError, cure="write it again")


def test_a_flipped_byte_is_damage_and_nothing_to_convert(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(StorageError, match=r"manifest\.json is damaged, .*; build again") as caught:
        parse_json(path, StorageError, cure="build again")
    assert "convert" not in str(caught.value)
