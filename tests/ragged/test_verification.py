"""A store never lies: what is damaged is refused, by name, before it is used."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import unit_rows

from colmodern import ExactIndex
from colmodern.disk import expect_regular, open_regular
from colmodern.errors import ColmodernError, ResourceError, StorageError
from colmodern.files import sha256_of_json
from colmodern.ragged.blocks import BLOCK
from colmodern.ragged.manifest import DamageError
from colmodern.ragged.store import EmbeddingStore, ShardWriter

DIM = 64
WHOLE = unit_rows([300, 0, 500, 1, 700, 200], dim=DIM, seed=3)  # several blocks of float16 rows
IDS = ["a", "b", "c ö", "d", "e", "f"]
QUERIES = unit_rows([4, 2], dim=DIM, seed=5)
FILES = ("values.npy", "offsets.npy", "token_ids.npy", "doc_ids.json", "shard.json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with ShardWriter(tmp_path / "store", fingerprint="x") as writer:
        writer.add(WHOLE[:2], IDS[:2], facts={"seconds": 1.5})
        writer.add(WHOLE[2:], IDS[2:], facts={"seconds": 2.0})
        writer.finish(role="document", encoder={"fingerprint": "e"})
    return tmp_path / "store"


def flip(path: Path, at: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1 << bit
    path.write_bytes(content)


def answers(folder: Path, precision: Any = "float32") -> list:
    return ExactIndex.load(folder, precision=precision).search_batch(QUERIES, 6)


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_flipped_bit_is_refused_or_changes_nothing(folder: Path, name: str) -> None:
    truth = answers(folder)
    path = folder / (name if name == "manifest.json" else f"shard-00001/{name}")
    content, generator = path.read_bytes(), np.random.default_rng(len(name))
    for at in generator.integers(0, len(content), 6).tolist():
        flip(path, at, int(generator.integers(8)))
        with pytest.raises(StorageError, match=r"manifest|shard-00001"):
            EmbeddingStore(folder).verify()
        try:
            assert answers(folder) == truth
        except StorageError as error:
            assert str(path.parent) in str(error)  # noqa: PT017 # either is right
        path.write_bytes(content)


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("name", ["values.npy", "token_ids.npy"])
def test_exact_search_refuses_damaged_values(folder: Path, name: str, precision: str) -> None:
    flip(folder / "shard-00001" / name, 3000)
    with pytest.raises(DamageError, match=rf"{name} differs from its checksum in bytes 0 to"):
        answers(folder, precision)


def test_only_documents_in_the_damaged_block_are_refused(folder: Path) -> None:
    flip(folder / "shard-00001" / "values.npy", 128 + BLOCK + 5)  # in tokens 512 to 1023
    store = EmbeddingStore(folder)
    first, last = (store.select([place]) for place in (2, 5))  # tokens 0 to 499, 1201 to 1400
    assert np.array_equal(first.values, WHOLE[2].astype(np.float16))
    assert np.array_equal(last.values, WHOLE[5].astype(np.float16))
    with pytest.raises(DamageError, match=rf"values\.npy .* bytes {BLOCK} to {2 * BLOCK}"):
        store.select([4])
    for use in (store.to_memory, lambda: store.shards, lambda: list(store.chunks(100))):
        with pytest.raises(DamageError, match=r"values\.npy"):
            use()


def test_blocks_are_compared_once(folder: Path) -> None:
    store = EmbeddingStore(folder)
    store.to_memory()
    flip(folder / "shard-00001" / "values.npy", 3000)  # written through to the mapping
    store.verify_documents(np.arange(store.n_docs))
    with pytest.raises(DamageError, match=r"values\.npy"):
        EmbeddingStore(folder, verify="full")


def test_documents_are_selected_across_shards_in_order(folder: Path) -> None:
    store = EmbeddingStore(folder)
    expected = WHOLE.select([5, 0, 2, 0])
    selected = store.select([5, 0, 2, 0])
    assert np.array_equal(selected.values, expected.values.astype(np.float16))
    assert np.array_equal(selected.token_ids, expected.token_ids)
    assert selected.offsets.tolist() == expected.offsets.tolist()
    assert store.select(np.zeros(6, bool)).n_docs == 0
    assert store.lengths.tolist() == WHOLE.lengths.tolist()


def as_version_1(folder: Path) -> None:
    """Rewrite a store as the first format had it."""
    for path in [folder / "manifest.json", *folder.glob("shard-*/shard.json")]:
        fields = json.loads(path.read_text())
        del fields["checksum"]
        if path.name == "shard.json":
            del fields["version"], fields["blocks"]
        else:
            fields["version"] = 1
        path.write_text(json.dumps(fields, indent=2, ensure_ascii=False) + "\n")


def test_stores_of_the_first_format_are_read_and_verified(folder: Path) -> None:
    truth = answers(folder)
    as_version_1(folder)
    EmbeddingStore(folder, verify="full")
    assert answers(folder) == truth
    flip(folder / "shard-00001" / "values.npy", 3000)
    with pytest.raises(DamageError, match=r"values\.npy differs from its checksum"):
        answers(folder)
    with pytest.raises(DamageError, match=r"values\.npy differs from its checksum"):
        EmbeddingStore(folder).select([2])


def test_an_unfinished_store_of_the_first_format_goes_on(folder: Path) -> None:
    truth = answers(folder)
    as_version_1(folder)
    (folder / "manifest.json").unlink()
    shutil.rmtree(folder / "shard-00001")
    with ShardWriter(folder, fingerprint="x") as writer:
        assert writer.n_docs == 2
        writer.add(WHOLE[2:], IDS[2:])
        writer.finish()
    assert answers(folder) == truth


CHANGES: list[tuple[str, dict[str, Any], str]] = [
    ("manifest.json", {"shards": "x"}, "a wrong shards"),
    ("manifest.json", {"shards": [{}]}, r"a wrong shards\.0\.name"),
    ("manifest.json", {"dim": "128"}, "a wrong dim"),
    ("manifest.json", {"dim": 8}, "another dim"),
    ("manifest.json", {"dtype": "float32"}, "another dtype"),
    ("manifest.json", {"dtype": "float64"}, "a wrong dtype"),
    ("manifest.json", {"n_docs": 10**12}, "n_docs is not the 6 of its shards"),
    ("manifest.json", {"n_docs": True}, "a wrong n_docs"),
    ("manifest.json", {"encoder": {"settings": []}}, r"a wrong encoder\.settings"),
    ("manifest.json", {"encoder": "x"}, "a wrong encoder"),
    ("manifest.json", {"facts": {"seconds": "1"}}, r"a wrong facts\.seconds"),
    ("manifest.json", {"facts": {"seconds": 10**400}}, r"a wrong facts\.seconds"),
    ("manifest.json", {"role": "title"}, "a wrong role"),
    ("manifest.json", {"environment": 3}, "a wrong environment"),
    ("manifest.json", {"fingerprint": None}, "a wrong fingerprint"),
    ("manifest.json", {"about": "\ud800"}, "differs from its checksum"),
    ("manifest.json", {"version": 4}, "version=4; this colmodern reads versions up to 3"),
    ("manifest.json", {"version": [2]}, r"version=\[2\]"),
    ("manifest.json", {"format": "colmodern-plaid"}, "not 'colmodern-embeddings'"),
    ("shard-00001/shard.json", {"n_docs": 3}, "another n_docs than the manifest"),
    ("shard-00001/shard.json", {"blocks": {"values.npy": "00"}}, "other blocks than its checksums"),
    ("shard-00001/shard.json", {"name": "shard-00000"}, "is of shard-00000"),
    ("shard-00001/shard.json", {"sha256": {}}, "sha256 names other files"),
    ("shard-00001/shard.json", {"version": "2"}, "version='2'"),
]


@pytest.mark.parametrize(("file", "changes", "message"), CHANGES)
def test_a_wrong_field_is_named_with_its_file(
    folder: Path, file: str, changes: dict[str, Any], message: str
) -> None:
    fields = json.loads((folder / file).read_text())
    fields.pop("checksum")
    fields |= changes
    if "about" not in changes:  # half a surrogate has no checksum
        fields["checksum"] = sha256_of_json(fields)
    (folder / file).write_text(json.dumps(fields))
    with pytest.raises(StorageError, match=rf"store/.*{message}"):
        EmbeddingStore(folder)


@pytest.mark.parametrize("name", ["../other/shard-00000", "/tmp/shard-00000", "shard-1", ".."])
def test_a_shard_elsewhere_is_not_served(folder: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(folder, tmp_path / "other")
    fields = json.loads((folder / "manifest.json").read_text())
    fields.pop("checksum")
    fields["shards"][0]["name"] = name
    fields["checksum"] = sha256_of_json(fields)
    (folder / "manifest.json").write_text(json.dumps(fields))
    with pytest.raises(StorageError, match=r"a wrong shards\.0\.name"):
        EmbeddingStore(folder)


def test_shards_of_another_store_are_refused(folder: Path, tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "other", fingerprint="x") as writer:
        writer.add(WHOLE[:2], ["A", "B"])
        writer.finish()
    shutil.rmtree(folder / "shard-00000")
    shutil.copytree(tmp_path / "other" / "shard-00000", folder / "shard-00000")
    with pytest.raises(DamageError, match=r"another sha256 than the manifest"):
        EmbeddingStore(folder)


@pytest.mark.parametrize("name", [*(f"shard-00001/{name}" for name in FILES), "manifest.json"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "missing"])
def test_what_is_no_file_is_refused_at_once(folder: Path, name: str, kind: str) -> None:
    path = folder / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(StorageError, match=path.name):
        EmbeddingStore(folder)


@pytest.mark.parametrize("name", FILES)
def test_limits_of_the_machine_are_not_called_damage(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(function: Callable[[Path], object]) -> Callable[[Path], object]:
        def refuse(path: Path) -> object:
            if path.name == name:
                raise OSError(24, "Too many open files")
            return function(path)

        return refuse

    monkeypatch.setattr("colmodern.ragged.shard.expect_regular", refusing(expect_regular))
    for module in ("manifest", "arrays"):
        monkeypatch.setattr(f"colmodern.ragged.{module}.open_regular", refusing(open_regular))
    with pytest.raises(ResourceError, match="nothing is damaged"):
        EmbeddingStore(folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(ColmodernError, match="nothing is damaged"):
        ShardWriter(folder, fingerprint="x")
    assert (folder / "shard-00001" / "values.npy").is_file()


def test_a_damaged_finished_shard_is_written_again_and_those_behind_it_wait(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    flip(folder / "shard-00000" / "values.npy", 1000)
    notes: list[str] = []
    with ShardWriter(folder, fingerprint="x", note=notes.append) as writer:
        assert writer.shards == []
        assert writer.has_ahead(1, IDS[2:])
        writer.add(WHOLE[:2], IDS[:2])
        writer.adopt()
        writer.finish()
    assert "shard-00000/values.npy differs" in notes[0]
    assert notes[0].endswith("it is encoded again")
    assert np.array_equal(EmbeddingStore(folder).to_memory().values, WHOLE.values.astype("f2"))


@pytest.mark.parametrize("name", ["values.npy", "doc_ids.json", "shard.json"])
def test_a_damaged_shard_ahead_is_not_taken(folder: Path, name: str) -> None:
    (folder / "manifest.json").unlink()
    (folder / ".ahead").mkdir()
    (folder / "shard-00001").rename(folder / ".ahead" / "shard-00001")
    flip(folder / ".ahead" / "shard-00001" / name, 30)
    with ShardWriter(folder, fingerprint="x") as writer:
        assert not writer.has_ahead(1, IDS[2:])
    assert not (folder / ".ahead" / "shard-00001").exists()


def test_a_shard_whose_record_is_damaged_is_refused_and_kept(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    flip(folder / "shard-00000" / "shard.json", 30)
    with pytest.raises(StorageError, match=r"shard-00000/shard\.json"):
        ShardWriter(folder, fingerprint="x")
    assert (folder / "shard-00000" / "values.npy").is_file()


def test_a_store_is_read_where_it_was_after_the_process_went_elsewhere(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    store = EmbeddingStore("store")
    monkeypatch.chdir(folder)
    assert store.doc_ids == IDS
    store.verify()
