from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import unit_rows

from colmodern import ExactIndex, TokenEmbeddings
from colmodern.errors import InputError, StorageError
from colmodern.ragged import arrays
from colmodern.ragged.mapping import Mapping
from colmodern.ragged.offsets import offsets_of
from colmodern.ragged.store import EmbeddingStore, ShardWriter

WHOLE = unit_rows([3, 0, 5, 1, 40, 2], dim=16, seed=3)
IDS = ["a", "b", "c ö", "d", "e", "f"]


def write(folder: Path, *, dtype: str = "float32") -> EmbeddingStore:
    writer = ShardWriter(folder, fingerprint="x", dtype=dtype)
    writer.add(WHOLE[:2], IDS[:2], facts={"seconds": 1.5})
    writer.add(WHOLE[2:], IDS[2:], facts={"seconds": 2.0})
    return writer.finish(role="document")


def test_a_store_gives_back_what_was_written(tmp_path: Path) -> None:
    store = write(tmp_path / "store")
    memory = store.to_memory()
    assert np.array_equal(memory.values, WHOLE.values)
    assert np.array_equal(memory.offsets, WHOLE.offsets)
    assert np.array_equal(memory.token_ids, WHOLE.token_ids)
    assert store.doc_ids == IDS
    assert len(store) == 6
    assert all(doc_id in store for doc_id in IDS)
    assert "another" not in store
    assert 0 not in store
    assert (store.n_docs, store.n_tokens, store.dim) == (6, 51, 16)
    assert store.manifest["facts"] == {"seconds": 3.5}
    store.verify()


def test_chunks_run_over_shards_and_match_memory(tmp_path: Path) -> None:
    store = write(tmp_path / "store")
    texts = {}
    for first, chunk in store.chunks(6):
        texts |= {first + i: np.array(text) for i, text in enumerate(chunk)}
    assert sorted(texts) == list(range(6))
    assert all(np.array_equal(texts[i], WHOLE[i]) for i in texts)


def test_half_precision_rounds_and_says_so(tmp_path: Path) -> None:
    store = write(tmp_path / "store", dtype="float16")
    assert store.manifest["dtype"] == "float16"
    assert np.array_equal(store.to_memory().values, WHOLE.values.astype(np.float16))


def test_an_unfinished_folder_goes_on_after_its_last_shard(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    ShardWriter(folder, fingerprint="x", dtype="float32").add(
        WHOLE[:2], IDS[:2], facts={"seconds": 1.5}
    )
    with pytest.raises(
        StorageError, match=r"is unfinished .*run the command that encodes it again"
    ):
        EmbeddingStore(folder)
    resumed = ShardWriter(folder, fingerprint="x", dtype="float32")
    assert resumed.n_docs == 2
    resumed.add(WHOLE[2:], IDS[2:], facts={"seconds": 2.0})
    resumed.finish(role="document")
    fresh = tmp_path / "fresh"
    write(fresh)
    assert (folder / "manifest.json").read_bytes() == (fresh / "manifest.json").read_bytes()


def test_a_folder_of_another_encoder_is_refused_and_kept(tmp_path: Path) -> None:
    write(tmp_path / "store")
    before = sorted(p.name for p in (tmp_path / "store").rglob("*"))
    with pytest.raises(StorageError, match="another encoder, collection or dtype"):
        ShardWriter(tmp_path / "store", fingerprint="y", dtype="float32")
    assert sorted(p.name for p in (tmp_path / "store").rglob("*")) == before


def test_a_foreign_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StorageError, match="is not empty and holds no embeddings"):
        ShardWriter(tmp_path, fingerprint="x")
    with pytest.raises(StorageError, match="holds no embeddings"):
        EmbeddingStore(tmp_path)


def test_a_run_folder_is_refused_with_the_folder_of_its_embeddings(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    record = {"embeddings": {"documents": "../cache/docs"}}
    (tmp_path / "run" / "environment.json").write_text(json.dumps(record))
    with pytest.raises(StorageError, match=rf"is a run; .* in {tmp_path / 'cache' / 'docs'}: give"):
        EmbeddingStore(tmp_path / "run")


def test_a_shard_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    writer = ShardWriter(folder, fingerprint="x")
    with pytest.raises(InputError, match=r"doc_ids\[0\] is object .*; pass strings"):
        writer.add(WHOLE[:1], [object()])  # type: ignore[list-item]
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_leftovers_of_the_dead_are_removed_and_never_counted(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    size = write(folder).n_bytes
    dead = subprocess.Popen(["true"])
    dead.wait()
    host = platform.node()
    names = [f"{host}.{dead.pid}", f"{host}.{os.getppid()}", "elsewhere.1"]
    leftovers = [folder / f".shard-0000{i}.{name}.tmp" for i, name in enumerate(names)]
    for path in leftovers:
        path.mkdir()
        (path / "values.npy").write_bytes(b"0" * 1000)
    assert EmbeddingStore(folder).n_bytes == size
    ShardWriter(folder, fingerprint="x", dtype="float32")
    assert {path.name[:6] for path in folder.iterdir()} == {"manife", "shard-"}


@pytest.mark.parametrize("name", ["elsewhere.7", f"{platform.node()}.{os.getppid()}"])
def test_what_was_killed_in_its_first_shard_goes_on_whatever_its_host(
    tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "store"
    for leftover in (f".shard-00000.{name}.tmp", f".ahead/.shard-00003.{name}.tmp"):
        (folder / leftover).mkdir(parents=True)
        (folder / leftover / "values.npy").write_bytes(b"0" * 1000)
    (folder / f".manifest.json.{name}.tmp").write_text("{")
    write(folder).verify()
    assert {path.name[:6] for path in folder.iterdir()} == {"manife", "shard-"}


def test_a_second_writer_is_refused_until_the_first_is_closed(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    with ShardWriter(folder, fingerprint="x") as first:
        first.add(WHOLE[:1], IDS[:1])
        with pytest.raises(StorageError, match="is being written by another process"):
            ShardWriter(folder, fingerprint="x")
    assert ShardWriter(folder, fingerprint="x").n_docs == 1


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("manifest.json", "[]"),
        ("manifest.json", '{"format": "colmodern-embeddings", "version": 1}'),
        ("shard-00000/doc_ids.json", "["),
    ],
)
def test_malformed_records_are_named(tmp_path: Path, file: str, content: str) -> None:
    write(tmp_path / "store")
    (tmp_path / "store" / file).write_text(content)
    with pytest.raises(StorageError, match=Path(file).name):
        EmbeddingStore(tmp_path / "store").doc_ids  # noqa: B018


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("mine")
    with pytest.raises(StorageError, match="is a file; choose a folder"):
        ShardWriter(tmp_path / "store", fingerprint="x")


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "manifest", "version", "format"])
def test_damage_is_named_and_never_served(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "store"
    write(folder)
    values, manifest = folder / "shard-00001" / "values.npy", folder / "manifest.json"
    if damage == "truncate":
        values.write_bytes(values.read_bytes()[:-8])
    elif damage == "flip":
        content = bytearray(values.read_bytes())
        content[-3] ^= 1
        values.write_bytes(content)
    elif damage == "remove":
        values.unlink()
    elif damage == "manifest":
        manifest.write_text(manifest.read_text()[:100])
    else:
        about = json.loads(manifest.read_text())
        about[damage] = 99
        manifest.write_text(json.dumps(about))
    with pytest.raises(StorageError, match=r"shard-00001|manifest\.json"):
        EmbeddingStore(folder).verify()


def test_pickles_are_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    write(folder)
    np.save(folder / "shard-00000" / "values.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(StorageError, match="cannot be read"):
        EmbeddingStore(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("kind", ["pipe", "link to nothing", "file"])
@pytest.mark.parametrize("name", [".ahead", ".ahead/shard-00001", "shard-00001", "shard-00007"])
def test_what_is_no_folder_of_a_shard_is_removed_without_waiting(
    tmp_path: Path, name: str, kind: str
) -> None:
    folder = write(tmp_path / "store").folder
    is_written_anew = name.startswith("shard")
    if not is_written_anew:
        (folder / "manifest.json").unlink()
    if name in ("shard-00001", ".ahead/shard-00001"):
        shutil.rmtree(folder / "shard-00001")
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    make = {"pipe": os.mkfifo, "file": Path.touch}
    make.get(kind, lambda path: path.symlink_to(tmp_path / "nothing"))(path)
    if is_written_anew:
        EmbeddingStore.write(folder, WHOLE, IDS, overwrite=True)
    elif (name, kind) == (".ahead", "link to nothing"):
        with pytest.raises(StorageError, match="is a link; delete it"):
            ShardWriter(folder, fingerprint="x", dtype="float32")
        return
    else:
        with ShardWriter(folder, fingerprint="x", dtype="float32") as writer:
            if name != ".ahead":
                assert not writer.has_ahead(1, IDS[2:])
                writer.add(WHOLE[2:], IDS[2:])
            writer.finish()
    assert EmbeddingStore(folder, verify="full").doc_ids == IDS
    assert not os.path.lexists(path) or name == "shard-00001"


def test_a_shard_of_empty_texts_is_read(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "store", fingerprint="x", dtype="float32")
    empty = TokenEmbeddings(np.zeros((0, 16), np.float32), offsets_of([0, 0]))
    writer.add(empty, ["a", "b"])
    writer.add(WHOLE[:1], ["c"])
    store = writer.finish()
    index = ExactIndex(store, store.doc_ids)
    assert [doc for doc, _ in index.search(WHOLE[0], k=3)] == ["c", "a", "b"]


def test_values_stay_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "SMALL", 0)
    store = write(tmp_path / "store")
    _, chunk = next(store.chunks(1000))
    base = chunk.values
    while isinstance(base, np.ndarray):
        base = base.base
    assert isinstance(base, Mapping)
    shutil.rmtree(tmp_path / "store")
