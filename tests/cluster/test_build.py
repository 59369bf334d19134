"""Shards built on a cluster: the bytes of one machine, whatever dies meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest
from cluster.nodes import Nodes, Watch, files_of

from colmodern import ShardedIndex
from colmodern.cluster.build import build_on_cluster
from colmodern.errors import ResourceError, StorageError
from colmodern.ragged.store import EmbeddingStore

N_SHARDS = 4
SETTINGS = {"nbits": 2}


@pytest.fixture(scope="session")
def shards(store: EmbeddingStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shards of the store, built by this process."""
    folder = tmp_path_factory.mktemp("shards") / "shards"
    ShardedIndex.build(store, folder, N_SHARDS, **SETTINGS).close()
    return folder


def test_a_node_killed_while_it_builds_changes_no_byte(
    nodes: Nodes, store: EmbeddingStore, shards: Path, tmp_path: Path
) -> None:
    watch = Watch(after=1, do=nodes.kill)
    build_on_cluster(store, tmp_path / "built", N_SHARDS, nodes.config, watch, **SETTINGS)
    assert watch.done == N_SHARDS
    assert files_of(tmp_path / "built") == files_of(shards)
    assert [path.name for path in tmp_path.iterdir()] == ["built"]


def test_too_many_builders_are_refused_and_an_interrupted_build_is_resumed(
    nodes: Nodes,
    store: EmbeddingStore,
    shards: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    path, many = tmp_path / "built", nodes.config.model_copy(update={"builders": 9})
    alone = nodes.config.model_copy(
        update={"builders": 1}
    )  # no other one finishes a shard meanwhile
    watch = Watch(after=1, do=interrupt)
    with pytest.raises(KeyboardInterrupt):
        build_on_cluster(store, path, N_SHARDS, alone, watch, **SETTINGS)
    assert not path.exists()
    with pytest.raises(StorageError, match="run the same command again to resume"):
        ShardedIndex.load(path)
    nodes.kill()
    monkeypatch.setattr("colmodern.cluster.room._PATIENCE", 1.0)
    with pytest.raises(ResourceError, match=r"cluster\.builders=3"):
        build_on_cluster(store, path, N_SHARDS, many, Watch(), **SETTINGS)
    monkeypatch.undo()
    nodes.complete()
    watch = Watch()
    build_on_cluster(store, path, N_SHARDS, nodes.config, watch, **SETTINGS)
    assert any("resuming" in note for note in watch.said)
    assert files_of(path) == files_of(shards)
