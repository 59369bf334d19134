"""Shards of an index built by processes on the machines of a cluster."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colmodern.cluster.connection import connected
from colmodern.cluster.copies import copy_index
from colmodern.cluster.crew import Crew
from colmodern.cluster.room import Resources, Room, n_fitting
from colmodern.cluster.shared import await_file, expect_shared, node_name, share, unshare
from colmodern.config.cluster import ClusterConfig, shared_folder
from colmodern.disk import make_own_folder, rename
from colmodern.files import naming_write_errors, remove_leftovers, sha256_of_json
from colmodern.index.plaid.disk.manifest import codec_digest, read_manifest
from colmodern.index.sharded.folder import (
    ShardsManifest,
    shard_name,
    work_folder,
    write_shards_manifest,
)
from colmodern.index.sharded.from_store import write_codec, write_shard
from colmodern.index.sharded.placement import PLACEMENT
from colmodern.index.sharded.split import SHARDS, begin, checked_n_shards, expect_free, is_whole
from colmodern.progress import Progress, Silent
from colmodern.ragged.store import EmbeddingStore
from colmodern.writer_lock import writer_lock

_FORMAT = 1  # bump when the same store gives other bytes
_CODEC = "codec"


def build_on_cluster(
    store: EmbeddingStore,
    path: Path,
    n_shards: int,
    config: ClusterConfig,
    progress: Progress,
    **settings: Any,
) -> None:
    """Build a folder of shards, each by one process, with the bytes of ``ShardedIndex.build``.

    The store and ``path`` are on disks that all machines mount at the same paths. Finished shards of
    an interrupted call are kept.

    Args:
        store: The documents.
        path: The new folder.
        n_shards: Number of shards.
        config: The cluster, and what a builder takes of it.
        progress: Receives the steps.
        **settings: Settings of ``PlaidIndex.build``: nbits, codec, n_centroids, seed, max_memory.

    Raises:
        InputError: A value is wrong.
        MissingExtraError: Ray is not installed.
        UnavailableError: There is no such cluster, or it does not answer.
        ResourceError: The cluster has no room, or a builder has too little memory.
        StorageError: ``path`` exists or is being written, a machine does not see its folder, or a copy
            differs from what was built.
        WorkerError: The builders die again and again; finished shards stay.
    """
    n_shards = checked_n_shards(n_shards)
    folder = Path(os.path.realpath(shared_folder("path", path)))
    expect_free(folder)
    connected(config.address)
    work = work_folder(folder)
    with naming_write_errors(work):
        make_own_folder(work)
    with naming_write_errors(work), writer_lock(work):
        expect_free(folder)
        setting_texts = {name: repr(value) for name, value in settings.items()}
        begin(
            work,
            sha256_of_json(
                ["cluster", _FORMAT, PLACEMENT, n_shards, store.manifest, setting_texts]
            ),
            progress,
            keep=(_CODEC,),
        )
        shards = work / SHARDS
        share(shards)
        task = BuildTask(store.root, work, n_shards, config, settings)
        if not is_whole(CodecLearner.output(task, 0)):
            progress.note("learning the codec of all shards")
            for _ in _work(CodecLearner, task, [0], progress):
                pass
        await_file(work / _CODEC)
        manifest = read_manifest(work / _CODEC)
        missing = [i for i in range(n_shards) if not is_whole(ShardBuilder.output(task, i))]
        progress.start("build shards", n_shards, unit="shards", done=n_shards - len(missing))
        for _ in _work(ShardBuilder, task, missing, progress):
            progress.advance(1)
        progress.finish()
        names = tuple(map(shard_name, range(n_shards)))
        for name in names:
            await_file(shards / name)
        remove_leftovers(shards, is_locked=True)
        unshare(shards)
        write_shards_manifest(
            shards,
            ShardsManifest(placement=PLACEMENT, shards=names, codec=codec_digest(manifest)),
        )
        expect_free(folder)
        rename(shards, folder)
    shutil.rmtree(work, ignore_errors=True)


@dataclass(frozen=True)
class BuildTask:
    """What a builder works from: the store, the work folder, and the settings of the index."""

    store: Path
    work: Path
    n_shards: int
    config: ClusterConfig
    settings: dict[str, Any]


class CodecLearner:
    """A process of the cluster that learns the codec of all shards; see CrewWorker."""

    def __init__(self, task: BuildTask) -> None:
        self._task = task

    @staticmethod
    def job_name(job: int) -> str:
        """What messages call a job."""
        return "the codec"

    @staticmethod
    def output(task: BuildTask, job: int) -> Path:
        """The folder that a job writes, which appears when it is whole."""
        return task.work / _CODEC

    def load(self) -> str:
        """Check that the machine sees the work folder, and return the name of the machine."""
        expect_shared(self._task.work / SHARDS)
        return node_name()

    def do(self, job: int) -> None:
        """Learn the codec and write it into the work folder."""
        store = EmbeddingStore(self._task.store)
        write_codec(store, self.output(self._task, job), Silent(), **self._task.settings)


class ShardBuilder(CodecLearner):
    """A process of the cluster that builds shards; see CrewWorker."""

    @staticmethod
    def job_name(job: int) -> str:
        """What messages call a job."""
        return shard_name(job)

    @staticmethod
    def output(task: BuildTask, job: int) -> Path:
        """The folder that a job writes, which appears when it is whole."""
        return task.work / SHARDS / shard_name(job)

    def do(self, job: int) -> None:
        """Build a shard on the machine's own disk, and copy it into the shared folder."""
        task, output = self._task, self.output(self._task, job)
        with tempfile.TemporaryDirectory(prefix="colmodern-", dir=task.config.scratch) as scratch:
            built = Path(scratch) / output.name
            write_shard(
                EmbeddingStore(task.store),
                built,
                job,
                task.n_shards,
                task.work / _CODEC,
                n_threads=task.config.cpus_per_worker,
            )
            copy_index(built, output)


def _work(
    worker: type[CodecLearner], task: BuildTask, jobs: list[int], progress: Progress
) -> Iterator[int]:
    """Do jobs with one class of workers, and yield each of them when it is done."""
    if not jobs:
        return
    resources = Resources(task.config.cpus_per_worker)
    n = min(task.config.builders or n_fitting(resources), len(jobs))
    room = Room.reserve(resources, n, "builders", setting="cluster.builders")
    crew = Crew[int](
        worker=worker,
        arguments=(task,),
        room=room,
        resources=resources,
        noun="builder",
        name_of=worker.job_name,
        is_done=lambda job: is_whole(worker.output(task, job)),
        progress=progress,
    )
    try:
        yield from crew.do(jobs)
    finally:
        room.close()
