"""Shards made one by one from a store, against one index that is split."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import unit_rows

from colmodern import EmbeddingStore, Encoder, PlaidIndex, ShardedIndex
from colmodern.encoding.store import encode_to_store
from colmodern.errors import InputError, ResourceError, StorageError
from colmodern.index.sharded.folder import shard_name
from colmodern.index.sharded.from_store import write_codec, write_shard
from colmodern.progress import Silent

N_SHARDS = 3


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "spans"])
def store(
    request: pytest.FixtureRequest, pylate_bert: Path, tmp_path_factory: pytest.TempPathFactory
) -> EmbeddingStore:
    encoder = Encoder.from_pretrained(pylate_bert)
    texts = [(f"d{i}", " ".join(["sort the list of names"] * (1 + i % 4))) for i in range(40)]
    folder = tmp_path_factory.mktemp("store") / "store"
    return encode_to_store(
        texts, len(texts), encoder, folder, role="document", fingerprint="f", dtype="float16",
        shard_tokens=120, progress=Silent(), spans=request.param,
    )[0]  # fmt: skip


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_bytes_are_those_of_one_index_that_is_split(
    store: EmbeddingStore, tmp_path: Path
) -> None:
    ShardedIndex.build(store, tmp_path / "split", N_SHARDS, nbits=2, n_centroids=16)
    write_codec(store, tmp_path / "codec", Silent(), nbits=2, n_centroids=16)
    for number in range(N_SHARDS):
        name = shard_name(number)
        write_shard(store, tmp_path / name, number, N_SHARDS, tmp_path / "codec")
        assert files_of(tmp_path / name) == files_of(tmp_path / "split" / name)


def test_a_shard_without_documents_is_an_index(tmp_path: Path) -> None:
    store = EmbeddingStore.write(tmp_path / "store", unit_rows([5, 6], 16, 0), ["a", "b"])
    write_codec(store, tmp_path / "codec", Silent())
    sizes = []
    for number in range(5):
        write_shard(store, tmp_path / str(number), number, 5, tmp_path / "codec")
        PlaidIndex.check(tmp_path / str(number))
        sizes.append(PlaidIndex.load(tmp_path / str(number)).n_docs)
    assert sum(sizes) == 2
    assert 0 in sizes


def test_wrong_settings_and_foreign_codecs_leave_nothing(tmp_path: Path) -> None:
    store = EmbeddingStore.write(tmp_path / "store", unit_rows([5, 6], 16, 0), ["a", "b"])
    with pytest.raises(InputError, match="nbits=3"):
        write_codec(store, tmp_path / "codec", Silent(), nbits=3)
    with pytest.raises(ResourceError, match="max_memory"):
        write_codec(store, tmp_path / "codec", Silent(), max_memory=1000)
    with pytest.raises(StorageError):
        write_shard(store, tmp_path / "shard", 0, 2, tmp_path / "codec")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
