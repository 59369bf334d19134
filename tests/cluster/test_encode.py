"""Encoding on a cluster: the bytes of one machine, whatever dies meanwhile."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from cluster.nodes import (
    N_FREE,
    HeldEncoder,
    HungryEncoder,
    Nodes,
    Watch,
    encoded,
    files_of,
    go_on,
    waiting,
    within,
)

from colmodern import Encoder
from colmodern.cluster.encode import ClusterEncoders
from colmodern.errors import ResourceError
from colmodern.ragged.store import EmbeddingStore
from colmodern.types import Corpus

FACTS = ("shard.json", "manifest.json")  # they say how long it took


@pytest.fixture(autouse=True)
def _held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoders that still have work when a test takes one away."""
    monkeypatch.setattr("colmodern.cluster.encode.ShardEncoder", HeldEncoder)


@contextmanager
def encoding(
    corpus: Corpus, encoder: Encoder, folder: Path, workers: ClusterEncoders, watch: Watch
) -> Iterator[Future[EmbeddingStore]]:
    """An encoding into ``folder`` that goes on while the test does something to it."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(
            encoded, corpus, encoder, folder / "made", workers=workers, progress=watch
        )


def await_waiting(folder: Path, n: int, future: Future[EmbeddingStore]) -> None:
    """Wait until ``n`` encoders wait with work in hand."""
    assert within(60, lambda: len(waiting(folder)) == n or future.done())
    if future.done():
        future.result()  # raises why


def test_a_node_killed_while_it_encodes_changes_no_byte(
    nodes: Nodes, corpus: Corpus, encoder: Encoder, store: EmbeddingStore, tmp_path: Path
) -> None:
    watch = Watch()
    workers = ClusterEncoders(nodes.config.model_copy(update={"encoders": 3}))  # one on each node
    with encoding(corpus, encoder, tmp_path, workers, watch) as future:
        await_waiting(tmp_path, 3, future)
        node = nodes.kill()
        [lost] = (name for name in waiting(tmp_path) if name.startswith(node))
        go_on(tmp_path, but=lost)
        made = future.result()
    assert watch.done == len(corpus)
    [death] = [note for note in watch.said if "died" in note]
    assert "its machine is gone" in death
    assert made.doc_ids == store.doc_ids
    assert files_of(made.root, but=FACTS) == files_of(store.root, but=FACTS)


def test_an_encoder_that_the_system_kills_is_replaced(
    nodes: Nodes, corpus: Corpus, encoder: Encoder, store: EmbeddingStore, tmp_path: Path
) -> None:
    watch = Watch()
    workers = ClusterEncoders(nodes.config.model_copy(update={"encoders": 2}))
    with encoding(corpus, encoder, tmp_path, workers, watch) as future:
        await_waiting(tmp_path, 2, future)
        lost = waiting(tmp_path)[0]
        os.kill(int(lost.rpartition(".")[2]), signal.SIGKILL)
        go_on(tmp_path, but=lost)
        made = future.result()
    assert watch.done == len(corpus)
    [death] = [note for note in watch.said if "died" in note]
    assert "it was killed" in death
    assert "another one" in death
    assert files_of(made.root, but=FACTS) == files_of(store.root, but=FACTS)


def test_an_interrupted_encoding_is_resumed_by_one_machine(
    nodes: Nodes, corpus: Corpus, encoder: Encoder, store: EmbeddingStore, tmp_path: Path
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    folder = tmp_path / "made"
    workers = ClusterEncoders(nodes.config.model_copy(update={"encoders": 1}))
    with pytest.raises(KeyboardInterrupt):
        encoded(corpus, encoder, folder, workers=workers, progress=Watch(after=1, do=interrupt))
    kept = written(folder)
    made = encoded(corpus, encoder, folder)
    assert 0 < len(kept) <= N_FREE < len(written(folder))
    assert kept.items() <= written(folder).items()
    assert files_of(made.root, but=FACTS) == files_of(store.root, but=FACTS)


def test_an_encoder_out_of_memory_is_one_error_and_nothing_is_lost(
    nodes: Nodes,
    corpus: Corpus,
    encoder: Encoder,
    store: EmbeddingStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("colmodern.cluster.encode.ShardEncoder", HungryEncoder)
    folder = tmp_path / "made"
    workers = ClusterEncoders(nodes.config.model_copy(update={"encoders": 1}))
    memory = (
        r"the encoder on .* ran out of memory at shard-\d+; give it more, or make its work smaller"
    )
    with pytest.raises(ResourceError, match=memory):
        encoded(corpus, encoder, folder, workers=workers)
    kept = written(folder)
    made = encoded(corpus, encoder, folder)
    assert 0 < len(kept) <= N_FREE
    assert kept.items() <= written(folder).items()
    assert files_of(made.root, but=FACTS) == files_of(store.root, but=FACTS)


def written(folder: Path) -> dict[str, int]:
    """When each finished shard of a store was written, by its name: unchanged unless it is encoded again."""
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.rglob("shard.json")}


def test_too_many_encoders_are_refused_and_not_waited_for(
    nodes: Nodes,
    corpus: Corpus,
    encoder: Encoder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("colmodern.cluster.room._PATIENCE", 1.0)
    start = time.monotonic()
    workers = ClusterEncoders(nodes.config.model_copy(update={"encoders": 7}))
    with pytest.raises(ResourceError, match=r"cluster\.encoders=7: no room .* of 3 CPUs free"):
        encoded(corpus, encoder, tmp_path / "made", workers=workers)
    assert time.monotonic() - start < 30
