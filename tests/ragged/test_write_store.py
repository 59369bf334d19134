"""Writing embeddings from memory: all of it or nothing."""

from __future__ import annotations

import os
import pickle
import resource
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import unit_rows

from colmodern import Encoder, ExactIndex, PlaidIndex, TokenEmbeddings
from colmodern.errors import InputError, ResourceError, StorageError
from colmodern.ragged import write_store as write_store_module
from colmodern.ragged.store import EmbeddingStore, ShardWriter

ROWS = unit_rows([3, 0, 5, 1, 40, 2], dim=16, seed=3)
WHOLE = TokenEmbeddings(ROWS.values, ROWS.offsets, ROWS.token_ids, "f" * 64)
IDS = ["a", "b", "c ö", "d", "e", "f"]


class _Described:
    def __init__(self, fingerprint: str) -> None:
        self.fingerprint = fingerprint

    def describe(self) -> dict[str, Any]:
        return {"model": "colmodern/tiny", "fingerprint": self.fingerprint}


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_what_is_saved_is_loaded(tmp_path: Path, dtype: type) -> None:
    embeddings = TokenEmbeddings(ROWS.values.astype(dtype), ROWS.offsets, ROWS.token_ids, "ab")
    embeddings.save(tmp_path / "e", IDS)
    loaded = TokenEmbeddings.load(tmp_path / "e")
    assert loaded.values.dtype == dtype
    assert np.array_equal(loaded.values, embeddings.values)
    assert np.array_equal(loaded.offsets, embeddings.offsets)
    assert np.array_equal(loaded.token_ids, embeddings.token_ids)
    assert loaded.fingerprint == "ab"
    assert EmbeddingStore(tmp_path / "e").doc_ids == IDS
    assert {path.name for path in (tmp_path / "e").iterdir()} == {"manifest.json", "shard-00000"}


def test_embeddings_without_ids_documents_or_token_ids_are_saved(tmp_path: Path) -> None:
    TokenEmbeddings(ROWS.values, ROWS.offsets).save(tmp_path / "e")
    store = EmbeddingStore(tmp_path / "e")
    assert store.doc_ids == [str(i) for i in range(6)]
    assert (store.to_memory().token_ids, store.fingerprint) == (None, None)
    TokenEmbeddings.from_list([], dim=16).save(tmp_path / "none")
    assert TokenEmbeddings.load(tmp_path / "none").values.shape == (0, 16)


def test_a_written_store_has_what_indexes_need(tmp_path: Path) -> None:
    store = EmbeddingStore.write(
        tmp_path / "e", WHOLE, IDS, shard_tokens=10, dtype="float16", encoder=_Described("f" * 64)
    )
    assert len(store.shards) == 3
    assert store.manifest["encoder"]["model"] == "colmodern/tiny"
    store.verify()
    assert {d for d, _ in ExactIndex.load(tmp_path / "e").search(ROWS[0], 6)} == set(IDS)
    index = PlaidIndex.build(tmp_path / "e", tmp_path / "i")
    assert index.info()["fingerprint"] == "f" * 64


def test_a_store_pickles_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = EmbeddingStore.write("e", WHOLE, IDS)
    content = pickle.dumps(store)
    assert len(content) < 1000
    monkeypatch.chdir("/")
    assert pickle.loads(content).doc_ids == IDS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"doc_ids": IDS[:5]}, "doc_ids has 5 entries for 6 documents"),
        ({"doc_ids": [*IDS[:5], "a"]}, "doc_ids has repeated ids: .* are both 'a'"),
        ({"doc_ids": [1, 2, 3, 4, 5, 6]}, r"doc_ids\[0\] is int 1; pass strings"),
        ({"doc_ids": [*IDS[:5], "\ud800"]}, r"doc_ids\[5\] is .* half a surrogate"),
        ({"doc_ids": "abcdef"}, "doc_ids='abcdef' is one string"),
        ({"embeddings": [ROWS.values]}, "embeddings is a list; pass TokenEmbeddings"),
        ({"dtype": "int8"}, "dtype='int8'; choose one of 'float16', 'float32'"),
        ({"shard_tokens": 0}, "shard_tokens=0"),
        ({"encoder": "colmodern/tiny"}, "encoder is a str; pass the Encoder"),
        (
            {"encoder": _Described("0" * 64)},
            "embeddings have fingerprint=ffff.*the encoder has 0000",
        ),
        ({"progress": "yes"}, "progress is a str"),
    ],
)
def test_unusable_arguments_leave_nothing(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    arguments = {"embeddings": WHOLE, "doc_ids": IDS, **changes}
    with pytest.raises(InputError, match=message):
        EmbeddingStore.write(tmp_path / "e", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_values_that_float16_does_not_hold_are_refused(tmp_path: Path) -> None:
    large = TokenEmbeddings(ROWS.values * 1e6, ROWS.offsets)
    with pytest.raises(InputError, match="float16 values of text 0"):
        EmbeddingStore.write(tmp_path / "e", large, dtype="float16")
    assert list(tmp_path.iterdir()) == []


def test_a_store_is_replaced_only_when_asked_and_nothing_else_ever(tmp_path: Path) -> None:
    folder = tmp_path / "e"
    WHOLE.save(folder, IDS)
    before = sorted(path.relative_to(folder) for path in folder.rglob("*"))
    with pytest.raises(StorageError, match=r"e exists; choose another folder, or pass overwrite"):
        WHOLE[:2].save(folder)
    assert sorted(path.relative_to(folder) for path in folder.rglob("*")) == before
    WHOLE[:2].save(folder, ["x", "y"], overwrite=True)
    assert EmbeddingStore(folder, verify="full").doc_ids == ["x", "y"]
    assert len(list(folder.iterdir())) == 2
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for other in ("notes", "file"):
        with pytest.raises(StorageError, match=r"not empty and holds no embeddings|is a file"):
            WHOLE.save(tmp_path / other, overwrite=True)
    assert [path.name for path in (tmp_path / "notes").iterdir()] == ["mine.txt"]


def test_unfinished_embeddings_are_not_written_over_unasked(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "e", fingerprint="x") as writer:
        writer.add(WHOLE[:2], IDS[:2])
    with pytest.raises(StorageError, match="holds unfinished embeddings"):
        WHOLE.save(tmp_path / "e")
    WHOLE.save(tmp_path / "e", IDS, overwrite=True)
    assert EmbeddingStore(tmp_path / "e", verify="full").doc_ids == IDS


@pytest.mark.parametrize("is_there", [False, True], ids=["new", "overwrite"])
def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    folder = tmp_path / "e"
    if is_there:
        WHOLE[:2].save(folder, ["x", "y"])
    write_shard = write_store_module.write_shard

    def fail_in_the_second(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name in ("shard-00001", "shard-00002") and path.name != "shard-00001" * is_there:
            raise StorageError("disk full")
        return write_shard(path, *arguments, **options)

    monkeypatch.setattr(write_store_module, "write_shard", fail_in_the_second)
    with pytest.raises(StorageError, match="disk full"):
        EmbeddingStore.write(folder, WHOLE, IDS, shard_tokens=10, overwrite=True)
    if not is_there:
        assert list(tmp_path.iterdir()) == []
        return
    assert EmbeddingStore(folder, verify="full").doc_ids == ["x", "y"]
    assert {path.name for path in folder.iterdir()} == {"manifest.json", "shard-00000"}


def test_what_a_killed_overwriting_left_is_cleared_by_the_next(tmp_path: Path) -> None:
    folder = tmp_path / "e"
    WHOLE[:2].save(folder, ["x", "y"])
    WHOLE.save(tmp_path / "other", IDS)
    (tmp_path / "other" / "shard-00000").rename(folder / "shard-00001")  # before its manifest
    (folder / ".shard-00002.elsewhere.1.tmp").mkdir()
    assert EmbeddingStore(folder, verify="full").doc_ids == ["x", "y"]
    WHOLE.save(folder, IDS, overwrite=True)
    assert EmbeddingStore(folder, verify="full").doc_ids == IDS
    assert len(list(folder.iterdir())) == 2


def test_an_encoders_embeddings_carry_its_fingerprint(tmp_path: Path) -> None:
    encoder = Encoder.from_pretrained("colmodern/tiny", document_length=64)
    mine = encoder.fingerprint("document")
    documents = encoder.encode_documents(["parse a date", "sort a list of names"])
    queries = encoder.encode_queries(["order the items"])
    assert documents.fingerprint == queries.fingerprint == mine
    documents.save(tmp_path / "e", ["dates", "lists"], encoder=encoder)
    assert TokenEmbeddings.load(tmp_path / "e").fingerprint == mine
    index = PlaidIndex.build(documents, tmp_path / "i", ["dates", "lists"])
    assert index.info()["fingerprint"] == mine
    index.add(TokenEmbeddings.load(tmp_path / "e"), ["more dates", "more lists"])
    assert index.search_batch(queries, 1, rescore=None)[0][0].doc_id.endswith("lists")
    pooled = encoder.with_settings(document_length=64, pool_factor=2)
    with pytest.raises(InputError, match="another encoder or other encoder settings"):
        index.add(pooled.encode_documents(["other"]), ["other"])
    assert pooled.encode_documents(["other"]).fingerprint == pooled.fingerprint("document")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("kind", ["store", "shards", "index"])
def test_too_many_open_files_are_one_message_wherever_they_are_met(
    tmp_path: Path, kind: str
) -> None:
    make = {
        "store": lambda: EmbeddingStore.write(tmp_path / "x", WHOLE, IDS),
        "shards": lambda: ShardWriter(tmp_path / "x", fingerprint="x", dtype="float32").finish(),
        "index": lambda: PlaidIndex.build(WHOLE, tmp_path / "x", IDS),
    }
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 40, hard))
    filled, messages = [], []
    try:
        for n_free in range(20):
            with suppress(OSError):
                while True:
                    filled.append(os.open(os.devnull, os.O_RDONLY))
            for _ in range(n_free):
                os.close(filled.pop())
            try:
                make[kind]()
                break
            except (ResourceError, StorageError) as error:
                messages.append(str(error))
    finally:
        for descriptor in filled:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert messages
    assert all("too many open files" in message for message in messages)
    assert os.listdir(tmp_path) == ["x"]
