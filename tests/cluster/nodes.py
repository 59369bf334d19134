"""A Ray cluster of three nodes on this machine, one CPU each, whose nodes can be killed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from colmodern import Encoder
from colmodern.cluster.encode import ShardEncoder
from colmodern.config.cluster import ClusterConfig
from colmodern.encoding.shards import Shard
from colmodern.progress import Silent
from colmodern.ragged.store import EmbeddingStore
from colmodern.types import Corpus

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# processes of three nodes share the CPUs of this machine
os.environ.setdefault("OMP_NUM_THREADS", "1")
# they import this module
_PATHS = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
os.environ["PYTHONPATH"] = os.pathsep.join(_PATHS)

_OBJECTS = 80 << 20  # bytes of a node's object store, the smallest that Ray takes
N_DOCS = 240
SHARD_TOKENS = 1500
N_FREE = 3  # shards that a HeldEncoder encodes without waiting
_PATIENCE = 60.0  # seconds that a HeldEncoder waits
_SETTINGS = {
    "prestart_worker_first_driver": False,  # only processes that tests use share the CPUs
    # a dead node, which refuses connections, is noticed after 1 s; a slow one is waited for
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 200,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 5,
}


class Nodes:
    """The cluster; ``kill`` takes a node away as a power cut does."""

    def __init__(self) -> None:
        from ray._private import services
        from ray.cluster_utils import Cluster

        services.get_node = _noticed_soon(services.get_node)
        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 1,
                "object_store_memory": _OBJECTS,
                "include_dashboard": False,
                "_system_config": _SETTINGS,
            },
        )
        self._others: list[Any] = []
        self.complete()

    @property
    def config(self) -> ClusterConfig:
        """Settings of work on the cluster."""
        return ClusterConfig(address=self._cluster.address, gpus_per_encoder=0)

    def complete(self, n: int = 3, n_cpus: int = 1) -> None:
        """Add nodes until there are ``n``, all at a time; n_cpus: of a new one."""
        added = [
            self._cluster.add_node(wait=False, num_cpus=n_cpus, object_store_memory=_OBJECTS)
            for _ in range(n - 1 - len(self._others))
        ]
        self._others += added
        for node in added:
            self._cluster._wait_for_node(node)

    def kill_all(self) -> None:
        """Kill all nodes but the head."""
        while self._others:
            self.kill()

    def kill(self, node_id: str | None = None) -> str:
        """Kill a node, any but the head or the one with an id, and return its id."""
        matching = [node for node in self._others if node_id in (None, node.node_id)]
        self._others.remove(matching[0])
        self._cluster.remove_node(matching[0], allow_graceful=False)
        return str(matching[0].node_id)

    def kill_daemon(self, process: int) -> None:
        """Kill the node whose daemon a process is."""
        [node] = (each for each in self._others if _daemon_of(each) == process)
        self.kill(node.node_id)

    @property
    def daemons(self) -> list[int]:
        """The processes that start all others of a node, for each node but the head."""
        return [_daemon_of(node) for node in self._others]

    def holder(self, name: str) -> str:
        """The id of a node, but the head, with a process that holds a shard under a name."""
        from ray.util import placement_group_table

        groups = [
            group
            for group in placement_group_table().values()
            if group["name"].startswith(f"{name}/") and group["state"] == "CREATED"
        ]
        holders = groups[0]["bundles_to_node_id"].values()
        return next(node.node_id for node in self._others if node.node_id in holders)

    def stop(self) -> None:
        """End all processes of the cluster."""
        import ray

        ray.shutdown()
        self._cluster.shutdown()


def _noticed_soon(get_node: Callable[[str, str], Any]) -> Callable[[str, str], Any]:
    """Ray's wait for a new node, which looks once a second, with looks that are more frequent."""
    from ray._private import services
    from ray._private.state import GlobalState

    def noticed(address: str, node_id: str) -> Any:
        state = GlobalState()
        state._initialize_global_state(services._get_gcs_client_options(address))
        within(10, lambda: any(node["NodeID"] == node_id for node in state.node_table()))
        return get_node(address, node_id)

    return noticed


def _daemon_of(node: Any) -> int:
    return int(node.all_processes["raylet"][0].process.pid)


def encoded(corpus: Corpus, encoder: Encoder, folder: Path, **options: Any) -> EmbeddingStore:
    """The embeddings of a corpus."""
    from colmodern.encoding.store import encode_corpus

    values = {"join_titles": True, "dtype": "float16", "shard_tokens": SHARD_TOKENS}
    return encode_corpus(corpus, encoder, folder, **{"progress": Silent(), **values, **options})[0]


class HeldEncoder(ShardEncoder):
    """Encodes the first shards, and waits with each later one for ``go_on``, however fast the machine is.

    A waiting encoder leaves a file NODE.PID in the folder ``waiting`` beside the store.
    """

    def do(self, job: Shard) -> None:
        if job.index >= N_FREE:
            self._wait(self._task.folder.parents[1])
        super().do(job)

    def _wait(self, folder: Path) -> None:
        import ray

        name = f"{ray.get_runtime_context().get_node_id()}.{os.getpid()}"
        (folder / "waiting").mkdir(exist_ok=True)
        (folder / "waiting" / name).touch()
        if not within(_PATIENCE, lambda: _goes_on(folder, name)):
            raise TimeoutError(f"{name} waited {_PATIENCE:g} s for the test")


class HungryEncoder(ShardEncoder):
    """Encodes the first shards, and needs more memory for a later one than any machine has."""

    def do(self, job: Shard) -> None:
        if job.index >= N_FREE:
            np.ones(1 << 50)
        super().do(job)


def waiting(folder: Path) -> list[str]:
    """The encoders of a store in ``folder`` that wait, each as NODE.PID."""
    return [path.name for path in (folder / "waiting").glob("*")]


def go_on(folder: Path, *, but: str) -> None:
    """Let all encoders go on but one, which waits until it dies."""
    (folder / "lost.new").write_text(but)
    (folder / "lost.new").rename(folder / "lost")


def _goes_on(folder: Path, name: str) -> bool:
    lost = folder / "lost"
    return lost.exists() and lost.read_text() != name


class Watch(Silent):
    """Keeps what is said, and calls something once when so many units are done."""

    def __init__(self, after: int = 1 << 30, do: Callable[[], None] = lambda: None) -> None:
        self.done = 0
        self.said: list[str] = []
        self._after, self._do = after, do

    def advance(self, n: int) -> None:
        before, self.done = self.done, self.done + n
        if before < self._after <= self.done:
            self._do()

    def note(self, message: str) -> None:
        self.said.append(message)


def files_of(folder: Path, *, but: tuple[str, ...] = ()) -> dict[str, bytes]:
    """The contents of all files of a folder, by their paths in it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in but
    }


def within(seconds: float, claim: Callable[[], bool], *, every: float = 0.05) -> bool:
    """Whether a claim becomes true in time; every: seconds between looks."""
    end = time.monotonic() + seconds
    while not claim():
        if time.monotonic() > end:
            return False
        time.sleep(every)
    return True
