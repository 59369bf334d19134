"""Shards held by processes of a cluster: the results of one machine, and what happens when one dies."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from cluster.nodes import Nodes, within

from colmodern import Encoder, ShardedIndex
from colmodern.cluster.search import open_on_cluster, stop_on_cluster
from colmodern.errors import InputError, ResourceError, StorageError, UnavailableError
from colmodern.evaluation.measures import evaluate
from colmodern.index.base import Index
from colmodern.partial import ShardedResults
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.store import EmbeddingStore
from colmodern.types import ScoredDoc


@pytest.fixture(scope="session")
def shards(store: EmbeddingStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards of the store: a node of three is spare."""
    folder = tmp_path_factory.mktemp("held") / "shards"
    ShardedIndex.build(store, folder, 2, nbits=2).close()
    return folder


@pytest.fixture(scope="session")
def queries(encoder: Encoder) -> TokenEmbeddings:
    return encoder.encode_queries(
        ["sort a list of names", "read a file", "parse a date", "open a socket", "a"]
    )


def answers(shard: Index) -> bool:
    """Whether a shard answers when it alone is asked."""
    try:
        return len(shard) > 0
    except UnavailableError:
        return False


def test_a_killed_node_gives_flagged_parts_until_its_shard_is_back(
    nodes: Nodes, shards: Path, queries: TokenEmbeddings, tmp_path: Path
) -> None:
    whole = ShardedIndex.load(shards)
    index = open_on_cluster(shards, nodes.config, name="kill", timeout_s=10, allow_partial=True)
    options = {"nprobe": 8, "filter": lambda doc_id: len(doc_id) % 3 > 0}
    assert index.search_batch(queries, 5, **options) == whole.search_batch(queries, 5, **options)
    assert index.search_batch(queries, 5) == (expected := whole.search_batch(queries, 5))
    assert (len(index), index.dim, index.version) == (len(whole), whole.dim, whole.version)
    with pytest.raises(InputError, match="dim"):
        index.search(queries[0][:, :8], 5)
    with pytest.raises(InputError, match="nprobe"):
        index.search(queries[0], 5, nprobe=-1)

    nodes.kill(nodes.holder("kill"))
    partial: list[ShardedResults[ScoredDoc]] = []
    returned: list[float] = []  # moments at which the lost shard answered by itself

    def is_whole() -> bool:
        if partial and not returned and all(map(answers, index.shards.values())):
            returned.append(time.monotonic())
        results = index.search(queries[0], 5, timeout_s=1)
        if not results.is_complete:
            partial.append(results)
        return bool(returned) and results.is_complete

    assert within(40, is_whole)
    assert time.monotonic() - returned[0] < 5
    for results in partial:
        assert len(results.shards.missing) == 1
        assert len(results) <= 5
        with pytest.raises(InputError, match="shard"):
            evaluate({"q": results}, {"q": {"x": 1}}, ["nDCG@10"])
    assert index.search_batch(queries, 5) == expected

    nodes.kill(nodes.holder("kill"))  # the head has room for one shard
    missing: dict[str, str] = {}

    def is_said() -> bool:
        missing.update(index.search(queries[0], 5, timeout_s=2).shards.missing)
        return any("there is no room for it: 0 of 1 CPUs free" in why for why in missing.values())

    assert within(20, is_said), missing
    with pytest.raises(UnavailableError, match="there is no room for it: 0 of 1 CPUs free"):
        open_on_cluster(shards, nodes.config, name="kill")  # the processes are found by their name
    nodes.complete(2)
    assert within(40, lambda: index.search(queries[0], 5, timeout_s=1).is_complete)
    assert index.search_batch(queries, 5) == expected
    again = open_on_cluster(shards, nodes.config, name="kill")
    assert again.search_batch(queries, 5) == expected
    twin = shutil.copytree(shards, tmp_path / "twin")  # other shards of the same codec
    assert not stop_on_cluster(twin, nodes.config, "kill")
    assert stop_on_cluster(shards, nodes.config, "kill")
    assert not stop_on_cluster(shards, nodes.config, "kill")
    with pytest.raises(UnavailableError, match="it was stopped; open the index again"):
        again.search(queries[0], 5)


def test_a_damaged_shard_is_named_and_too_little_room_is_said_at_once(
    nodes: Nodes, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(shards, damaged)
    [codes] = (damaged / "shard-00001").rglob("codes.npy")
    content = bytearray(codes.read_bytes())
    content[-1] ^= 1
    codes.write_bytes(content)
    scratch = nodes.config.model_copy(update={"scratch": str(tmp_path / "scratch")})
    for config in (nodes.config, scratch):
        with pytest.raises(StorageError, match=r"shard-00001.*codes\.npy"):
            open_on_cluster(damaged, config)
    index = open_on_cluster(shards, scratch)
    assert len(list((tmp_path / "scratch").iterdir())) == 3  # of the damaged one, the other shard
    monkeypatch.setattr("colmodern.cluster.room._PATIENCE", 1.0)
    start = time.monotonic()
    with pytest.raises(ResourceError, match=r"no room for 2 shards of 1 CPU .* 1 of 3 CPUs free"):
        open_on_cluster(shards, nodes.config)
    assert time.monotonic() - start < 20
    index.close()
