from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from index.plaid.tiny_index import (
    FILES,
    N_BYTES,
    N_CENTROIDS,
    replace_array,
    write_index,
)

from colmodern.codecs.codec import code_dtype
from colmodern.errors import StorageError
from colmodern.files import sha256_of_json, write_json
from colmodern.index.plaid.disk import storage
from colmodern.index.plaid.disk.check import check_index
from colmodern.index.plaid.disk.doc_ids import write_doc_ids
from colmodern.index.plaid.disk.manifest import Manifest, building_folder, commit, read_manifest
from colmodern.index.plaid.disk.storage import open_index, remove_leftovers


def rewrite(folder: Path, **changes: Any) -> None:
    """Change fields of a manifest and seal it again."""
    fields = json.loads((folder / "manifest.json").read_text()) | changes
    body = {key: fields[key] for key in fields.keys() - {"format", "version", "sha256"}}
    write_json(folder / "manifest.json", fields | {"sha256": sha256_of_json(body)})


def test_what_was_committed_is_opened(index: Path) -> None:
    opened = open_index(index)
    assert (opened.folder, opened.codec_folder) == (index, index / "codec")
    assert [segment.name for segment in opened.segments] == ["segment-00000", "segment-00001"]
    assert (opened.manifest.n_docs, opened.manifest.n_tokens) == (6, 16)
    first, second = opened.segments
    assert (first.n_docs, first.n_tokens, first.n_blocks) == (4, 9, 2)
    assert second.arrays.doc_offsets.tolist() == [0, 1, 7]
    assert second.arrays.residuals.shape == (7, N_BYTES)
    assert list(second.ids) == ["doc 4", "doc 5"]
    assert opened.deleted.dtype == np.int64
    assert opened.deleted.tolist() == [1]
    check_index(index)


def test_the_manifest_comes_back_as_it_was(index: Path) -> None:
    manifest = read_manifest(index)
    before = (index / "manifest.json").read_bytes()
    commit(index, manifest)
    assert read_manifest(index) == manifest
    assert (index / "manifest.json").read_bytes() == before


@pytest.mark.parametrize("lengths", [[], [[]], [[0]], [[], [1]], [[0, 0, 0], [2]]])
def test_small_and_empty_segments_are_opened_and_right(
    tmp_path: Path, lengths: list[list[int]]
) -> None:
    write_index(tmp_path / "index", lengths)
    check_index(tmp_path / "index")
    assert len(open_index(tmp_path / "index").segments) == len(lengths)


def test_code_dtype_is_the_smallest_that_holds_every_centroid() -> None:
    assert [code_dtype(n).name for n in (1, 65536, 65537)] == ["uint16", "uint16", "uint32"]


def test_a_missing_folder_a_file_and_a_foreign_folder_each_get_their_message(
    tmp_path: Path,
) -> None:
    with pytest.raises(StorageError, match=r"there is no index .*none; build it first"):
        open_index(tmp_path / "none")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StorageError, match="is a file; choose the folder"):
        open_index(tmp_path / "file")
    with pytest.raises(StorageError, match=r"holds no PLAID index: there is no manifest\.json"):
        open_index(tmp_path)
    write_json(tmp_path / "manifest.json", {"format": "colmodern-embeddings", "version": 1})
    with pytest.raises(StorageError, match="format='colmodern-embeddings', not 'colmodern-plaid'"):
        open_index(tmp_path)


@pytest.mark.parametrize("spelling", ["index", "index/", "other/../index"])
def test_an_unfinished_build_is_named(tmp_path: Path, spelling: str) -> None:
    building_folder(tmp_path / spelling).mkdir()
    assert (tmp_path / ".index.building").is_dir()
    message = "is unfinished; run the same build again to resume it"
    with pytest.raises(StorageError, match=message):
        open_index(tmp_path / spelling)
    (tmp_path / "index").mkdir()
    with pytest.raises(StorageError, match=message):
        open_index(tmp_path / "index")


def test_a_finished_index_is_served_while_another_is_built(index: Path) -> None:
    building_folder(index).mkdir()
    assert len(open_index(index).segments) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 1}, r"version=1; this colmodern reads versions 2 to 5"),
        ({"version": None}, r"version=None"),
        ({"dim": 0}, r"wrong dim"),
        ({"n_centroids": "5"}, r"wrong n_centroids"),
        ({"extra": 1}, r"wrong extra"),
        ({"codec": {}}, r"wrong codec\.files"),
        (
            {"segments": [{"name": "../x", "n_docs": 0, "n_tokens": 0, "files": {}}]},
            r"wrong segments\.0\.name",
        ),
        (
            {"segments": [{"name": "segment-00000", "n_docs": 0, "n_tokens": 0, "files": {}}]},
            r"names no block_docs\.npy, block_starts\.npy",
        ),
        ({"codec": {"files": {"../../secret": "0" * 64}}}, r"wrong codec\.files"),
    ],
)
def test_a_manifest_with_a_wrong_field_is_refused(
    index: Path, changes: dict[str, Any], message: str
) -> None:
    rewrite(index, **changes)
    with pytest.raises(StorageError, match=message):
        open_index(index)


def test_a_manifest_that_was_edited_is_refused(index: Path) -> None:
    path = index / "manifest.json"
    path.write_text(path.read_text().replace('"nbits": 4', '"nbits": 2'))
    with pytest.raises(StorageError, match=r"manifest\.json differs from its checksum"):
        open_index(index)


@pytest.mark.parametrize("damage", ["shorter", "longer", "empty", "missing"])
@pytest.mark.parametrize("file", FILES)
def test_a_file_of_another_size_is_refused_at_open(index: Path, file: str, damage: str) -> None:
    path = index / file
    content = path.read_bytes()
    changed = {"shorter": content[:-3], "longer": content + b"\0", "empty": b""}
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(changed[damage])
    with pytest.raises(StorageError, match=re.escape(path.name)):
        open_index(index)


def test_ids_of_another_number_of_documents_are_refused_at_open(index: Path) -> None:
    write_doc_ids(index / "segment-00001", ["a", "b", "c"])
    with pytest.raises(StorageError, match=r"segment-00001/id_rows\.npy has 3 ids for 2 doc"):
        open_index(index)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("codes", np.zeros(7, np.uint32)),
        ("codes", np.zeros(6, np.uint16)),
        ("codes", np.array(0, np.uint16)),
        ("gains", np.zeros((7, 1), np.uint8)),
        ("residuals", np.zeros(7, np.uint8)),
        ("residuals", np.zeros((7, N_BYTES + 1), np.uint8)),
        ("residuals", np.array(0, np.uint8)),
        ("doc_offsets", np.array([0, 7])),
        ("doc_offsets", np.array([0, 1, 8])),
        ("block_docs", np.array([0, 3])),
        ("block_docs", np.array([0, 1, 2])),
        ("block_docs", np.array(0)),
        ("list_offsets", np.zeros((1, N_CENTROIDS), np.uint32)),
        ("block_starts", np.array([0, 1])),
        ("list_docs", np.zeros(100, np.uint16)),
        ("list_docs", np.zeros((2, 2), np.uint16)),
        ("id_rows", np.zeros(3, np.int32)),
        ("id_rows", np.array(0, np.int32)),
        ("id_hashes", np.zeros(2, np.int64)),
    ],
)
def test_arrays_of_another_shape_or_dtype_are_refused_at_open(
    index: Path, name: str, array: np.ndarray
) -> None:
    replace_array(index, name, array)
    with pytest.raises(StorageError, match="segment-00001"):
        open_index(index)


def test_leftovers_are_removed_and_everything_else_stays(index: Path) -> None:
    before = {path.name for path in index.iterdir()}
    for name in ("segment-00007", ".segment-00008.host.1.tmp", "mine", "segment-00009-mine"):
        (index / name).mkdir()
        (index / name / "codes.npy").write_bytes(b"")
    for name in ("deleted-00009.npy", ".manifest.json.host.1.tmp", "notes.txt", ".lock"):
        (index / name).write_text("")
    remove_leftovers(index, read_manifest(index))
    names = {path.name for path in index.iterdir()}
    assert names == before | {"mine", "segment-00009-mine", "notes.txt", ".lock"}
    check_index(index)


def test_what_was_opened_outlives_its_files(index: Path) -> None:
    opened = open_index(index)
    shutil.rmtree(index)
    assert opened.segments[1].arrays.codes.max() < N_CENTROIDS
    assert opened.segments[1].ids.docs_of(["doc 5"]).tolist() == [1]


def test_a_reader_that_meets_a_commit_opens_the_new_state(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = read_manifest(index)
    opens = []

    def commit_meanwhile(folder: Path, read: Manifest, known: Any) -> storage.IndexSnapshot:
        opens.append(read)
        if len(opens) == 1:
            commit(folder, manifest.model_copy(update={"segments": manifest.segments[:1]}))
            shutil.rmtree(folder / "segment-00001")
        return whole_open(folder, read, known)

    whole_open = storage._open
    monkeypatch.setattr(storage, "_open", commit_meanwhile)
    assert [segment.name for segment in open_index(index).segments] == ["segment-00000"]
    assert len(opens) == 2
