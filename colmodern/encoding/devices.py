"""Shards shared by several processes, each with a device and a model of its own."""

from __future__ import annotations

import itertools
import multiprocessing
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

import torch

from colmodern.encoder.encoder import Encoder
from colmodern.encoder.pickling import loading_options
from colmodern.encoder.text.settings import Role
from colmodern.encoding.shard_order import ShardOrder
from colmodern.encoding.shards import Shard
from colmodern.encoding.worker import WorkerTask, run_worker
from colmodern.errors import WorkerError
from colmodern.files import remove_leftovers
from colmodern.kernels.device import resolve_device
from colmodern.progress import Progress
from colmodern.ragged.store import ShardWriter

_AT_ONCE = 2  # shards that a worker has: one is tokenized while the other is encoded


def encode_on_devices(
    shards: Iterator[Shard],
    encoder: Encoder,
    role: Role,
    writer: ShardWriter,
    *,
    devices: Sequence[str],
    spans: bool = False,
    passages: bool = False,
    progress: Progress,
) -> None:
    """Encode shards in processes, one for each device; they end in ``writer`` in their order.

    A shard that an earlier call finished before its turn is taken over.

    Raises what a worker raised, or WorkerError when one died; finished shards stay.
    """
    picked = [resolve_device(device, kernels="torch").setting for device in devices]
    order = ShardOrder(writer, progress)
    waiting = order.unfinished(shards)
    first = list(itertools.islice(waiting, len(picked)))
    if not first:
        return
    waiting = itertools.chain(first, waiting)
    picked = picked[: len(first)]
    task = WorkerTask(
        encoder={
            "name_or_path": str(encoder.checkpoint.folder.resolve()),
            **loading_options(encoder),
        },
        encoder_fingerprint=encoder.fingerprint(role),
        role=role,
        spans=spans,
        passages=passages,
        folder=writer.ahead,
        fingerprint=writer.fingerprint,
        dtype=writer.dtype,
        n_threads=max(1, torch.get_num_threads() // len(picked)),
        n_workers=len(picked),
    )
    with _working(task, picked) as workers:
        while busy := {worker.connection: worker for worker in workers if worker.is_busy}:
            for line in wait(list(busy)):
                worker = busy[line]  # type: ignore[index]  # wait gives back what it was given
                kind, content = worker.receive()
                if kind == "advance":
                    progress.advance(content)
                elif kind == "written":
                    worker.n_shards -= 1
                    order.finish(content)
                elif kind == "failed":
                    error, where = content
                    raise error from WorkerError(f"in the worker on {worker.device}:\n{where}")
                else:
                    worker.is_ready = True
                worker.give(waiting)


class _Worker:
    """One process and the line to it."""

    def __init__(self, process: SpawnProcess, connection: Connection, device: str) -> None:
        self.process = process
        self.connection = connection
        self.device = device
        self.is_ready = False  # its model is loaded
        self.is_done = False  # there is nothing left to give it
        self.n_shards = 0  # shards sent and not yet finished

    @property
    def is_busy(self) -> bool:
        """Whether it will still say something."""
        return not self.is_done or self.n_shards > 0

    def receive(self) -> Any:
        """What it says next; raises WorkerError when it is dead."""
        try:
            return self.connection.recv()
        except (EOFError, OSError) as error:
            raise self._death() from error

    def give(self, waiting: Iterator[Shard]) -> None:
        """Send it as many shards as it should have."""
        while self.is_ready and not self.is_done and self.n_shards < _AT_ONCE:
            shard = next(waiting, None)
            self.is_done = shard is None
            self.n_shards += shard is not None
            try:
                self.connection.send(shard)
            except OSError as error:
                raise self._death() from error

    def _death(self) -> WorkerError:
        self.process.join(5)
        code = self.process.exitcode
        how, cause = f"exit status {code}", ""
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            how = f"killed by {name}"
            cause = "the system does that when memory ends; " if name == "SIGKILL" else ""
        if not self.is_ready:
            cause += 'a script that encodes on devices needs if __name__ == "__main__": around it; '
        return WorkerError(
            f"the worker on {self.device} died ({how}); {cause}finished shards are kept: "
            "run again to resume"
        )


@contextmanager
def _working(task: WorkerTask, devices: Sequence[str]) -> Iterator[list[_Worker]]:
    """A process for each device; none is left behind."""
    context = multiprocessing.get_context("spawn")
    workers: list[_Worker] = []
    try:
        with _no_interrupts():
            for device in devices:
                ours, theirs = context.Pipe()
                own = replace(task, encoder={**task.encoder, "device": device})
                process = context.Process(target=run_worker, args=(theirs, own), daemon=True)
                process.start()
                theirs.close()  # then the pipe closes when the process ends
                workers.append(_Worker(process, ours, device))
        yield workers
    except BaseException:
        for worker in workers:
            worker.process.terminate()
        raise
    finally:
        for worker in workers:
            worker.process.join()
            worker.connection.close()
        # this process holds the lock, and the workers are gone
        remove_leftovers(task.folder, is_locked=True)


@contextmanager
def _no_interrupts() -> Iterator[None]:
    """Let processes begin with Ctrl-C ignored: it goes to all, and this one ends the others."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
