"""Shards into a store in their order, whenever they are finished."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock

from colmodern.encoding.shards import EncodedShard, Shard
from colmodern.progress import Progress
from colmodern.ragged.store import ShardWriter


class ShardOrder:
    """Moves shards into the store when all before them are there; safe to use from threads."""

    def __init__(self, writer: ShardWriter, progress: Progress) -> None:
        self._writer = writer
        self._progress = progress
        self._finished: set[int] = set()  # shards that wait ahead
        self._lock = Lock()

    def unfinished(self, shards: Iterator[Shard]) -> Iterator[Shard]:
        """The shards that have to be encoded; those that an earlier call finished are taken over."""
        for shard in shards:
            if self._writer.has_ahead(shard.index, shard.doc_ids):
                self._progress.advance(len(shard.texts))
                self.finish(shard.index)
            else:
                yield shard

    def write(self, shard: EncodedShard) -> None:
        """Write a shard; all before it are written, or were finished by an earlier call."""
        with self._lock:
            self._writer.add(shard.embeddings, shard.doc_ids, facts=shard.facts)
            self._adopt()

    def finish(self, index: int) -> None:
        """Shard ``index`` is written, and waits ahead."""
        with self._lock:
            self._finished.add(index)
            self._adopt()

    def _adopt(self) -> None:
        while len(self._writer.shards) in self._finished:
            self._writer.adopt()
