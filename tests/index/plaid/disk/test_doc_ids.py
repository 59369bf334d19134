from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from colmodern.errors import InputError
from colmodern.index.plaid.disk import doc_ids
from colmodern.index.plaid.disk.doc_ids import DocIds, hashes_of, write_doc_ids

IDS = st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=6), unique=True)


@pytest.fixture(params=["hash", "colliding hash", "one hash for all"])
def hashing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "colliding hash":
        monkeypatch.setattr(doc_ids, "_digest", lambda encoded: bytes(7) + bytes([len(encoded)]))
    elif request.param == "one hash for all":
        monkeypatch.setattr(doc_ids, "_digest", lambda encoded: b"\xff" * 8)


def round_trip(ids: list[str], others: list[str]) -> None:
    with TemporaryDirectory() as folder:
        write_doc_ids(Path(folder), ids)
        found = DocIds(Path(folder))
        assert len(found) == len(ids)
        assert list(found) == ids
        assert [found[row] for row in range(len(ids))] == ids
        rows = np.arange(len(ids))[::-1]
        assert found.get(rows) == ids[::-1]
        expected = [ids.index(one) if one in ids else -1 for one in ids + others]
        got = found.docs_of(ids + others)
        assert got.dtype == np.int64
        assert got.tolist() == expected


@given(ids=IDS, others=st.lists(st.text(max_size=3)))
def test_what_was_written_is_found_by_row_and_by_id(ids: list[str], others: list[str]) -> None:
    round_trip(ids, others)


@pytest.mark.usefixtures("hashing")
def test_ids_of_one_hash_are_told_apart() -> None:
    round_trip([f"{i}" for i in range(20)] + ["ö", "a b", "\x00"], ["x", "20", "", "aa"])


@pytest.mark.usefixtures("hashing")
def test_repeated_ids_are_named_before_anything_is_written(tmp_path: Path) -> None:
    ids = [f"doc {i}" for i in range(30)]
    ids[21] = ids[4]
    with pytest.raises(InputError, match=r"doc_ids\[4\] and doc_ids\[21\] are both 'doc 4'"):
        write_doc_ids(tmp_path, ids)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (7, r"doc_ids\[1\]: doc id 7 is int; pass strings"),
        (None, r"doc_ids\[1\]: doc id None is NoneType"),
        (b"x", r"doc_ids\[1\]: doc id b'x' is bytes"),
        ("", r"doc_ids\[1\] is empty"),
        ("a\ud800", r"doc_ids\[1\] is 'a\\ud800'"),
    ],
)
def test_unusable_ids_are_named(tmp_path: Path, wrong: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_doc_ids(tmp_path, ["fine", wrong])
    assert list(tmp_path.iterdir()) == []


def test_asking_for_what_cannot_be_there(tmp_path: Path) -> None:
    write_doc_ids(tmp_path, ["a", "b"])
    ids = DocIds(tmp_path)
    assert ids.docs_of(["\ud800", ""]).tolist() == [-1, -1]
    assert ids.docs_of(iter(["b"])).tolist() == [1]
    assert ids[-1] == "b"
    with pytest.raises(IndexError):
        ids[2]
    with pytest.raises(InputError, match="doc id 3 is int; pass strings"):
        ids.docs_of([3])  # type: ignore[list-item]
    with pytest.raises(InputError, match="'ab' is one string; pass a list"):
        ids.docs_of("ab")


def test_more_ids_than_are_handled_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doc_ids, "_CHUNK", 7)
    round_trip([f"{i:x}" for i in range(40)], [])


def test_hashes_are_the_same_on_every_machine() -> None:
    # blake2b is specified; python -c "hashlib.blake2b(b'a', digest_size=8).hexdigest()"
    expected = bytes.fromhex("40f89e395b66422f")
    assert hashes_of(["a"]).tolist() == [int.from_bytes(expected, "little")]


@pytest.mark.parametrize("name", doc_ids.ID_FILES)
def test_files_that_do_not_fit_are_refused(tmp_path: Path, name: str) -> None:
    write_doc_ids(tmp_path, ["a", "bc"])
    other = tmp_path / "other"
    other.mkdir()
    write_doc_ids(other, ["a", "bc", "d"])
    (tmp_path / name).write_bytes((other / name).read_bytes())
    with pytest.raises(ValueError, match=r"ids\.bin|id_"):
        DocIds(tmp_path)
