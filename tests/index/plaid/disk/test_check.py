from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from index.plaid.tiny_index import (
    FILES,
    recommit,
    replace_array,
    write_index,
    write_segment,
)

from colmodern.errors import StorageError
from colmodern.index.plaid.disk import doc_ids
from colmodern.index.plaid.disk.check import check_index
from colmodern.index.plaid.disk.doc_ids import write_doc_ids
from colmodern.index.plaid.disk.manifest import commit, read_manifest
from colmodern.index.plaid.disk.storage import open_index
from colmodern.index.plaid.disk.tombstones import delete
from colmodern.progress import Silent
from colmodern.ragged.arrays import map_array


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, for tests that mend what they broke."""
    folder = tmp_path_factory.mktemp("template") / "index"
    delete(folder, write_index(folder), [1])
    return folder


@given(st.sampled_from(FILES), st.floats(0, 1, exclude_max=True), st.integers(1, 255))
def test_a_flipped_byte_anywhere_is_named(
    template: Path, file: str, where: float, flip: int
) -> None:
    path = template / file
    content = path.read_bytes()
    changed = bytearray(content)
    changed[int(where * len(content))] ^= flip
    path.write_bytes(changed)
    try:
        # white space of the manifest may have become other white space
        if file != "manifest.json" or not is_same_json(content, changed):
            with pytest.raises(StorageError) as caught:
                check_index(template)
            for part in Path(file).parts:
                assert part in str(caught.value)
            assert re.search("build the index again|choose the folder", str(caught.value))
    finally:
        path.write_bytes(content)


def is_same_json(one: bytes, other: bytes) -> bool:
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return False


def damaged(name: str, change: Callable[[np.ndarray], object]) -> Any:
    return pytest.param(name, change, id=f"{name}-{change.__name__}")


def falling(array: np.ndarray) -> None:
    array[1] = array[-1] + 1


def not_from_zero(array: np.ndarray) -> None:
    array.flat[0] = 1


def too_large(array: np.ndarray) -> None:
    array[-1] = 60000


def reversed_(array: np.ndarray) -> None:
    array[:] = array[::-1].copy()


def level(array: np.ndarray) -> None:
    array[1] = array[0]


def short(array: np.ndarray) -> None:
    array[0, -1] -= 1


@pytest.mark.parametrize(
    ("name", "change"),
    [
        damaged("doc_offsets", falling),
        damaged("doc_offsets", not_from_zero),
        damaged("codes", too_large),
        damaged("block_docs", not_from_zero),
        damaged("block_starts", not_from_zero),
        damaged("list_offsets", not_from_zero),
        damaged("list_offsets", short),
        damaged("list_docs", too_large),
        damaged("list_docs", reversed_),
        damaged("id_offsets", falling),
        damaged("id_offsets", not_from_zero),
        damaged("id_offsets", level),
        damaged("id_hashes", reversed_),
        damaged("id_rows", reversed_),
    ],
)
def test_arrays_that_contradict_each_other_are_named_by_check(
    index: Path, name: str, change: Callable[[np.ndarray], object]
) -> None:
    array = np.array(map_array(index / "segment-00001" / f"{name}.npy"))
    change(array)
    replace_array(index, name, array)
    message = rf"segment-00001/(list_docs|{name})\.npy .*build the"
    with pytest.raises(StorageError, match=message):
        check_index(index)
    if change in (too_large, reversed_) and name != "id_hashes":
        open_index(index)
        return
    with pytest.raises(StorageError, match=message):  # what leads into arrays is never opened
        open_index(index)


def test_an_id_may_come_again_only_after_its_deletion(index: Path) -> None:
    manifest = read_manifest(index)
    rng = np.random.default_rng(0)
    record = write_segment(index, 2, [2, 2], ["new", "doc 1"], rng)
    commit(index, manifest.model_copy(update={"segments": (*manifest.segments, record)}))
    check_index(index)
    record = write_segment(index, 3, [1], ["doc 5"], rng)
    commit(index, manifest.model_copy(update={"segments": (*manifest.segments, record)}))
    with pytest.raises(StorageError, match="two documents with the id 'doc 5', doc_index 5 and 6"):
        check_index(index)


def test_ids_that_are_no_text_or_come_twice_are_named(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = index / "segment-00001"
    monkeypatch.setattr(doc_ids, "first_repeated", lambda *_: None)
    write_doc_ids(folder, ["same", "same"])
    recommit(index)
    with pytest.raises(StorageError, match=r"segment-00001/ids\.bin has 'same' twice"):
        check_index(index)
    content = (folder / "ids.bin").read_bytes()
    (folder / "ids.bin").write_bytes(b"\xff" + content[1:])
    recommit(index)
    with pytest.raises(StorageError, match=r"segment-00001/ids\.bin is not UTF-8"):
        check_index(index)


def test_a_file_that_only_the_manifest_knows_is_missed(index: Path) -> None:
    manifest = read_manifest(index)
    first, second = manifest.segments
    first = first.model_copy(update={"files": {**first.files, "notes.txt": "0" * 64}})
    commit(index, manifest.model_copy(update={"segments": (first, second)}))
    with pytest.raises(StorageError, match=r"segment-00000/notes\.txt is missing"):
        check_index(index)


def test_progress_counts_pieces_of_files_then_documents(index: Path) -> None:
    class Heard(Silent):
        tasks: ClassVar[dict[str, list[int]]] = {}

        def start(self, task: str, total: int, *, unit: str, done: int = 0) -> None:
            self.tasks[unit] = [total, 0]
            self.unit = unit

        def advance(self, n: int) -> None:
            self.tasks[self.unit][1] += n

    heard = Heard()
    check_index(index, heard)
    assert heard.tasks == {"pieces": [30, 30], "documents": [6, 6]}
