"""Encoding on a cluster: the bytes of one machine, whatever dies meanwhile."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from cluster.nodes import Nodes, Watch, encoded, files_of, processes

from colmodern import Encoder
from colmodern.cluster.encode import ClusterEncoders
from colmodern.errors import ResourceError
from colmodern.ragged.store import EmbeddingStore
from colmodern.types import Corpus

FACTS = ("shard.json", "manifest.json")  # they say how long it took


def test_a_node_killed_while_it_encodes_changes_no_byte(
    nodes: Nodes, corpus: Corpus, encoder: Encoder, store: EmbeddingStore, tmp_path: Path
) -> None:
    watch = Watch(after=len(corpus) // 4, do=nodes.kill)
    workers = ClusterEncoders(nodes.config)
    made = encoded(corpus, encoder, tmp_path / "made", workers=workers, progress=watch)
    assert watch.done == len(corpus)
    [death] = [note for note in watch.said if "died" in note]
    assert "its machine is gone" in death
    assert made.doc_ids == store.doc_ids
    assert files_of(made.root, but=FACTS) == files_of(store.root, but=FACTS)


def test_an_encoder_that_the_system_kills_is_replaced(
    nodes: Nodes, corpus: Corpus, encoder: Encoder, store: EmbeddingStore, tmp_path: Path
) -> None:
    def kill_encoder() -> None:
        os.kill(processes("ray::ShardEncoder")[0], signal.SIGKILL)

    watch = Watch(after=len(corpus) // 4, do=kill_encoder)
    workers = ClusterEncoders(nodes.config.model_copy(update={"encoders": 2}))
    made = encoded(corpus, encoder, tmp_path / "made", workers=workers, progress=watch)
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

    workers, folder = ClusterEncoders(nodes.config), tmp_path / "made"
    with pytest.raises(KeyboardInterrupt):
        encoded(corpus, encoder, folder, workers=workers, progress=Watch(after=1, do=interrupt))
    watch = Watch()
    made = encoded(corpus, encoder, folder, progress=watch)
    assert 0 < watch.done < len(corpus)
    assert files_of(made.root, but=FACTS) == files_of(store.root, but=FACTS)


def test_too_many_encoders_are_refused_and_not_waited_for(
    nodes: Nodes, corpus: Corpus, encoder: Encoder, tmp_path: Path
) -> None:
    start = time.monotonic()
    workers = ClusterEncoders(nodes.config.model_copy(update={"encoders": 7}))
    with pytest.raises(ResourceError, match=r"cluster\.encoders=7: no room .* of 3 CPUs free"):
        encoded(corpus, encoder, tmp_path / "made", workers=workers)
    assert time.monotonic() - start < 30
