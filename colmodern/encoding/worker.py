"""What a process does that encodes shards for another one, on a device of its own.

It receives Shards and a closing None, and sends what ``Report`` lists. It exits at once when the main
process is gone. ``load_encoder`` and ``encode_inbox`` also serve workers of other kinds.
"""

from __future__ import annotations

import logging
import os
import pickle
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, Literal

import torch

from colmodern.encoder.encoder import Encoder
from colmodern.encoder.text.settings import Role
from colmodern.encoding.shards import EncodedShard, Shard, encode_shards
from colmodern.errors import CheckpointError
from colmodern.progress import Progress, Silent
from colmodern.ragged.shard import shard_name, write_shard

# ready; texts done; index of a shard that is written; (error, where it was raised)
Report = tuple[Literal["ready", "advance", "written", "failed"], object]


@dataclass(frozen=True)
class WorkerTask:
    """All that a worker needs to know before its first shard."""

    encoder: dict[str, Any]  # arguments of Encoder.from_pretrained
    encoder_fingerprint: str  # fingerprint for this role of the encoder in the main process
    role: Role
    spans: bool  # whether to keep the characters that each token covers
    passages: bool  # whether to keep the passages of each text apart
    folder: Path  # shards are written here
    fingerprint: str
    dtype: str
    n_threads: int  # torch threads of each worker
    n_workers: int


def run_worker(connection: Connection, task: WorkerTask) -> None:
    """Encode the shards that come and say how it goes, until None comes."""
    say = _speaker(connection)
    try:
        encoder = load_encoder(task)
        inbox = _listen(connection)
        say(("ready", None))
        encode_inbox(
            inbox,
            encoder,
            task,
            written=lambda index: say(("written", index)),
            progress=_ForwardingProgress(say),
        )
    except BaseException as error:  # raised again by the other process
        say(("failed", (_sendable(error), traceback.format_exc())))


def load_encoder(task: WorkerTask) -> Encoder:
    """The encoder of a task; raises CheckpointError where its checkpoint is another one by now."""
    torch.set_num_threads(task.n_threads)
    logging.getLogger("colmodern").setLevel(logging.ERROR)  # the main process has warned
    encoder = Encoder.from_pretrained(**task.encoder)
    if encoder.fingerprint(task.role) != task.encoder_fingerprint:
        raise CheckpointError(
            f"{task.encoder['name_or_path']} was saved anew after it was loaded, or this machine has "
            "another checkpoint of that name; bring the same one here, and run again"
        )
    logging.getLogger("colmodern").setLevel(logging.NOTSET)
    return encoder


def encode_inbox(
    inbox: SimpleQueue[Shard | None],
    encoder: Encoder,
    task: WorkerTask,
    *,
    written: Callable[[int], object],
    progress: Progress,
) -> None:
    """Encode the shards that arrive in a queue, until None arrives.

    Args:
        inbox: Shards in the order of the work.
        encoder: That of ``load_encoder``.
        task: Says where and how shards are written.
        written: Called in a thread with the index of each shard that is whole on disk.
        progress: Receives the texts that are encoded.
    """

    def write(shard: EncodedShard) -> None:
        # workers run side by side: together they take a part of this time
        seconds = shard.facts["seconds"] / task.n_workers
        write_shard(
            task.folder / shard_name(shard.index),
            shard.embeddings,
            shard.doc_ids,
            fingerprint=task.fingerprint,
            dtype=task.dtype,
            facts={**shard.facts, "seconds": seconds},
        )
        written(shard.index)

    encode_shards(
        _until_none(inbox),
        encoder,
        task.role,
        write,
        progress=progress,
        spans=task.spans,
        passages=task.passages,
        cancel=lambda: inbox.put(None),
    )


class _ForwardingProgress(Silent):
    """Passes on how many texts are done."""

    def __init__(self, say: Callable[[Report], None]) -> None:
        self._say = say

    def advance(self, n: int) -> None:
        self._say(("advance", n))


def _speaker(connection: Connection) -> Callable[[Report], None]:
    lock = Lock()  # two threads speak

    def say(report: Report) -> None:
        with lock:
            connection.send(report)

    return say


def _listen(connection: Connection) -> SimpleQueue[Shard | None]:
    """Shards as they come, received by a thread that waits for nothing else."""
    inbox: SimpleQueue[Shard | None] = SimpleQueue()

    def receive() -> None:
        try:
            while (shard := connection.recv()) is not None:
                inbox.put(shard)
        except (EOFError, OSError):  # the other process is gone, and nobody wants the rest
            os._exit(1)
        inbox.put(None)

    Thread(target=receive, name="colmodern-inbox", daemon=True).start()
    return inbox


def _until_none(inbox: SimpleQueue[Shard | None]) -> Iterator[Shard]:
    while (shard := inbox.get()) is not None:
        yield shard


def _sendable(error: BaseException) -> BaseException:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # an exception class may pickle and still not come back
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
