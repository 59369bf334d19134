"""Texts encoded by processes on the machines of a cluster, into one store on shared disks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from threading import Condition, Thread

from colmodern.cluster.connection import connected
from colmodern.cluster.crew import Crew, counted_from_first
from colmodern.cluster.room import Resources, Room, gpus_of_each, n_fitting
from colmodern.cluster.shared import await_file, expect_shared, node_name, share
from colmodern.config.cluster import ClusterConfig
from colmodern.encoder.encoder import Encoder
from colmodern.encoder.pickling import loading_options
from colmodern.encoder.text.settings import Role
from colmodern.encoding.shard_order import ShardOrder
from colmodern.encoding.shards import Shard
from colmodern.encoding.worker import WorkerTask, encode_inbox, load_encoder
from colmodern.files import remove_leftovers
from colmodern.progress import Progress, Silent
from colmodern.ragged.shard import shard_name
from colmodern.ragged.store import ShardWriter

_AT_ONCE = 2  # shards that an encoder has: one is tokenized while the other is encoded


class ClusterEncoders:
    """Encodes shards on a cluster; the argument ``workers`` of ``colmodern.encoding.store.encode_corpus``.

    Shards are written to the store's folder, which all machines mount at the same path; each is
    renamed into place when it is whole, so that a machine may die at any moment.

    Args:
        config: The cluster, and what an encoder takes of it.
    """

    def __init__(self, config: ClusterConfig) -> None:
        self._config = config

    def __call__(
        self,
        shards: Iterator[Shard],
        encoder: Encoder,
        role: Role,
        writer: ShardWriter,
        *,
        spans: bool = False,
        passages: bool = False,
        progress: Progress,
    ) -> None:
        """Encode the shards that ``writer`` lacks.

        Args:
            shards: Texts and their ids, in the order of the store.
            encoder: The encoder of this process; those of the cluster load the same checkpoint.
            role: "query" or "document".
            writer: Writes the store.
            spans: Whether to keep the characters that each token covers.
            passages: Whether to keep the passages of each text apart.
            progress: Receives the texts that are encoded, and the deaths of processes.

        Raises:
            MissingExtraError: Ray is not installed.
            UnavailableError: There is no such cluster, or it does not answer.
            ResourceError: The cluster has no room for the encoders, or one ran out of memory.
            WorkerError: The encoders die again and again; finished shards stay.
            ColmodernError: An encoder raised it.
        """
        config = self._config
        connected(config.address)
        resources = Resources(config.cpus_per_worker, gpus_of_each(config.gpus_per_encoder))
        order = ShardOrder(writer, progress)
        wanted = config.encoders or n_fitting(resources)
        n, waiting = counted_from_first(order.unfinished(shards), wanted)
        if not n:
            return
        folder = Path(os.path.abspath(writer.ahead))
        share(folder)
        task = WorkerTask(
            encoder={
                "name_or_path": encoder.checkpoint.lasting_name,
                "revision": encoder.checkpoint.revision,
                "device": "cuda" if resources.gpus else "cpu",
                **loading_options(encoder),
            },
            encoder_fingerprint=encoder.fingerprint(role),
            role=role,
            spans=spans,
            passages=passages,
            folder=folder,
            fingerprint=writer.fingerprint,
            dtype=writer.dtype,
            n_threads=config.cpus_per_worker,
            n_workers=n,
        )
        room = Room.reserve(resources, n, "encoders", setting="cluster.encoders")
        crew = Crew[Shard](
            worker=ShardEncoder,
            arguments=(task,),
            room=room,
            resources=resources,
            noun="encoder",
            name_of=lambda shard: shard_name(shard.index),
            is_done=lambda shard: writer.has_ahead(shard.index, shard.doc_ids),
            progress=progress,
            at_once=_AT_ONCE,
        )
        try:
            for shard in crew.do(waiting):
                await_file(folder / shard_name(shard.index))
                order.finish(shard.index)
                progress.advance(len(shard.texts))
        finally:
            room.close()
            remove_leftovers(folder, is_locked=True)  # this process holds the lock of the store


class ShardEncoder:
    """A process of the cluster that encodes; see CrewWorker."""

    def __init__(self, task: WorkerTask) -> None:
        self._task = task
        self._inbox: SimpleQueue[Shard | None] = SimpleQueue()
        self._changed = Condition()
        self._written: set[int] = set()
        self._error: BaseException | None = None

    def load(self) -> str:
        """Load the model, begin to wait for shards, and return the name of the machine."""
        expect_shared(self._task.folder)
        encoder = load_encoder(self._task)
        Thread(target=self._encode, args=(encoder,), name="colmodern-encode", daemon=True).start()
        return node_name()

    def do(self, job: Shard) -> None:
        """Encode and write a shard."""
        self._inbox.put(job)
        with self._changed:
            self._changed.wait_for(lambda: job.index in self._written or self._error is not None)
            if job.index not in self._written and self._error is not None:
                raise self._error

    def _encode(self, encoder: Encoder) -> None:
        try:
            encode_inbox(self._inbox, encoder, self._task, written=self._finish, progress=Silent())
        except BaseException as error:  # raised by the calls that wait
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _finish(self, index: int) -> None:
        with self._changed:
            self._written.add(index)
            self._changed.notify_all()
