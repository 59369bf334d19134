"""Shards that processes of a cluster hold, searched as one index."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy.typing as npt

from colmodern.arguments import checked_path
from colmodern.cluster.connection import NAMESPACE, connected
from colmodern.cluster.faults import death, error_here
from colmodern.cluster.holder import ShardHolder
from colmodern.cluster.room import Resources, Room
from colmodern.config.cluster import ClusterConfig
from colmodern.errors import ColmodernError, InputError, UnavailableError
from colmodern.files import sha256_of_json
from colmodern.index.base import closed_error
from colmodern.index.inputs import query_batch, query_values
from colmodern.index.sharded.folder import ShardsManifest, read_shards_manifest
from colmodern.index.sharded.index import ShardedIndex
from colmodern.progress import Progress, as_progress
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.ragged.store import EmbeddingStore
from colmodern.types import BatchResults, Explanation, Results, ScoredDoc

OWN_SHARE = 0.9  # share of the time of all shards: a late shard says why before it is given up
Actors = dict[str, Any]  # name of a shard -> Ray's handle of its process
# method, arguments, options, seconds or None -> answer
Ask = Callable[[str, tuple[object, ...], dict[str, object], float | None], object]


class HeldIndex:
    """A shard that another process holds, searched as an ``Index`` of a ``ShardedIndex``.

    Args:
        name: What messages call the shard.
        ask: Calls the process.
        patience_s: Seconds for what is no search; None: any time.
    """

    def __init__(self, name: str, ask: Ask, *, patience_s: float | None = None) -> None:
        self._name, self._patience_s = name, patience_s
        self._ask: Ask | None = ask
        self._dim: int | None = None
        self.end: Callable[[], object] | None = None  # ends the processes of all shards

    def __repr__(self) -> str:
        return f"HeldIndex({'closed' if self._ask is None else repr(self._name)})"

    def __len__(self) -> int:
        return self.n_docs

    def __contains__(self, doc_id: object) -> bool:
        return bool(self._answer("__contains__", doc_id))

    @property
    def n_docs(self) -> int:
        """Number of documents."""
        return int(self._answer("n_docs"))

    @property
    def dim(self) -> int:
        """Width of a token embedding."""
        if self._ask is None:
            raise closed_error()
        if self._dim is None:
            self._dim = int(self._answer("dim"))
        return self._dim

    @property
    def has_spans(self) -> bool:
        """Whether it keeps the characters of its tokens."""
        return bool(self._answer("has_spans"))

    @property
    def version(self) -> str:
        """Digest that changes with the index."""
        return str(self._answer("version"))

    def info(self) -> dict[str, Any]:
        """Describe the shard, as ``PlaidIndex.info``."""
        return dict(self._answer("info"))

    def known_ids(self, doc_ids: Sequence[str]) -> list[str]:
        """The ids of documents that it has, of those that are passed, with one call."""
        return list(self._answer("known_ids", list(doc_ids)))

    def search(
        self,
        query: npt.ArrayLike,
        k: int = 10,
        *,
        timeout_s: float | None = None,
        **options: Any,
    ) -> Results[ScoredDoc]:
        """The best ``k`` documents for one query.

        Args:
            query: (n_query_tokens, dim) floats.
            k: Number of documents, at most.
            timeout_s: Seconds that the process may take; None: no limit.
            **options: Other options of ``PlaidIndex.search``.

        Returns:
            The best documents with their scores.

        Raises:
            InputError: As from ``PlaidIndex.search``.
            UnavailableError: The process does not answer, or not in time.
            StorageError: The shard is damaged.
        """
        values = query_values(query, self.dim)
        results: Results[ScoredDoc] = self._answer(
            "search", values, k, timeout_s=timeout_s, **options
        )
        return results

    def search_batch(
        self,
        queries: TokenEmbeddings | EmbeddingStore,
        k: int = 10,
        *,
        timeout_s: float | None = None,
        progress: Progress | bool | None = None,
        **options: Any,
    ) -> BatchResults[ScoredDoc]:
        """The best ``k`` documents of each query.

        Args:
            queries: Embeddings as an encoder returns them.
            k: As in ``search``.
            timeout_s: Seconds for all queries together.
            progress: Receives the queries when all of them are answered.
            **options: As in ``search``.

        Returns:
            One list a query, best first.

        Raises:
            InputError: As from ``search``.
            UnavailableError: The process does not answer, or not in time.
            StorageError: The shard is damaged.
        """
        progress, batch = as_progress(progress), query_batch(queries, self.dim)
        progress.start("search", len(batch), unit="queries")
        results: BatchResults[ScoredDoc] = self._answer(
            "search_batch", batch, k, timeout_s=timeout_s, **options
        )
        progress.advance(len(batch))
        progress.finish()
        return results

    def explain(
        self, query: npt.ArrayLike, doc_id: str, k: int = 10, **options: Any
    ) -> Explanation:
        """Follow a document of the shard through a search, as ``PlaidIndex.explain``.

        Args:
            query: (n_query_tokens, dim) floats.
            doc_id: The document.
            k: Number of documents that the search looks for.
            **options: Other options of ``PlaidIndex.explain``.

        Returns:
            The explanation.

        Raises:
            InputError: The shard has no such document, or an option is wrong.
            UnavailableError: The process does not answer.
        """
        values = query_values(query, self.dim)
        explanation: Explanation = self._answer("explain", values, doc_id, k, **options)
        return explanation

    def close(self) -> None:
        """Let go of the process, which ends unless it has a name; later uses raise InputError."""
        self._ask = None
        if self.end is not None:
            self.end()

    def _answer(
        self, method: str, *arguments: object, timeout_s: float | None = None, **options: object
    ) -> Any:
        if self._ask is None:
            raise closed_error()
        seconds = timeout_s if method.startswith("search") else self._patience_s
        return self._ask(method, arguments, options, seconds)


def open_on_cluster(
    path: Path | str,
    config: ClusterConfig,
    *,
    name: str | None = None,
    timeout_s: float | None = None,
    allow_partial: bool = False,
) -> ShardedIndex:
    """Open a folder of shards on a cluster: one process for each, on as many machines as there are.

    Ray starts a process that dies again, on a machine with room; until it answers, searches lack its
    shard.

    Args:
        path: The folder, on disks that all machines mount at the same path.
        config: The cluster, and the CPUs of each process.
        name: The processes stay under this name until ``stop_on_cluster``, and a later call with the
            folder and the name uses them. None: the processes end with the returned index.
        timeout_s: As in ``ShardedIndex``.
        allow_partial: As in ``ShardedIndex``.

    Returns:
        The open shards.

    Raises:
        MissingExtraError: Ray is not installed.
        UnavailableError: There is no such cluster, or a shard does not answer.
        ResourceError: There is no room for a process for each shard.
        StorageError: The folder holds no shards, or one is damaged; the message names it.
    """
    connected(config.address)
    folder = Path(os.path.realpath(checked_path("path", path)))
    manifest = read_shards_manifest(folder)
    prefix = None if name is None else _prefix(name, folder, manifest)
    running = None if prefix is None else _running(prefix, manifest.shards)
    actors, room = running or _start(folder, manifest, config, prefix)
    shards = {
        shard: HeldIndex(shard, partial(ask_actor, actor, shard, room))
        for shard, actor in actors.items()
    }
    try:
        for shard, actor in actors.items():
            ask_actor(actor, shard, room, "n_docs", (), {}, None)
        index = ShardedIndex(
            shards, is_hashed=True, timeout_s=timeout_s, allow_partial=allow_partial
        )
    except BaseException:
        if running is None:
            _end(list(actors.values()), room)
        raise
    if name is None:
        end = weakref.finalize(index, _end, list(actors.values()), room)
        for held in shards.values():
            held.end = end
    return index


def stop_on_cluster(path: Path | str, config: ClusterConfig, name: str) -> bool:
    """End the processes that hold the shards of a folder under a name.

    Args:
        path: The folder.
        config: The cluster.
        name: The name that ``open_on_cluster`` was called with.

    Returns:
        Whether there were such processes.

    Raises:
        UnavailableError: There is no such cluster, or it does not answer.
        StorageError: The folder holds no shards.
    """
    connected(config.address)
    folder = Path(os.path.realpath(checked_path("path", path)))
    manifest = read_shards_manifest(folder)
    running = _running(_prefix(name, folder, manifest), manifest.shards)
    if running is None:
        return False
    actors, room = running
    _end(list(actors.values()), room)
    return True


def ask_actor(
    actor: Any,
    name: str,
    room: Room,
    method: str,
    arguments: tuple[object, ...],
    options: dict[str, object],
    timeout_s: float | None,
) -> object:
    """Call the process of a shard.

    Raises:
        ColmodernError: The index raised it.
        UnavailableError: The process does not answer, or not in time.
    """
    from ray.exceptions import GetTimeoutError, RayError, RayTaskError

    ray = connected("auto")
    seconds = None if timeout_s is None else timeout_s * OWN_SHARE
    try:
        return ray.get(actor.ask.remote(method, arguments, options), timeout=seconds)
    except RayTaskError as error:
        raise raised_there(error, name) from error
    except RayError as error:
        is_late = isinstance(error, GetTimeoutError)
        fault = f"did not answer within {seconds:g} s" if is_late else f"is gone ({death(error)})"
        outlook = room.outlook or ("" if is_late else "it is started again")
        raise UnavailableError("; ".join(filter(None, (f"{name} {fault}", outlook)))) from error


def raised_there(
    error: Any, name: str, *, failed: type[ColmodernError] = UnavailableError
) -> Exception:
    """The error to raise in this process for one that the process of a shard raised.

    Args:
        error: What Ray raised.
        name: What messages call the process.
        failed: The class of the error where it is none of colmodern's.
    """
    if isinstance(error.cause, InputError):  # a fault of the query, not of the shard
        return error.cause
    return error_here(
        error.cause,
        name,
        cure="give its machine more, or use more shards",
        out_of_memory=UnavailableError,
        failed=failed,
    )


def _prefix(name: str, folder: Path, manifest: ShardsManifest) -> str:
    """What the names of a folder's processes begin with."""
    return f"{name}/{sha256_of_json([str(folder), manifest.model_dump()])[:16]}"


def _start(
    folder: Path, manifest: ShardsManifest, config: ClusterConfig, prefix: str | None
) -> tuple[Actors, Room]:
    """Start a process for each shard; prefix: of their names, None where they end with the index."""
    ray = connected("auto")
    resources = Resources(config.cpus_per_worker)
    n = len(manifest.shards)
    room = Room.reserve(resources, n, "shards", setting="index.shards", name=prefix)
    scratch = None if config.scratch is None else Path(config.scratch)
    actors = {
        shard: ray.remote(
            name=prefix and f"{prefix}/{shard}",
            namespace=NAMESPACE,
            lifetime=prefix and "detached",
            num_cpus=resources.cpus,
            max_restarts=-1,
            max_concurrency=config.cpus_per_worker + 1,
            **room.options(number),
        )(ShardHolder).remote(folder / shard, scratch, config.cpus_per_worker)
        for number, shard in enumerate(manifest.shards)
    }
    return actors, room


def _running(prefix: str, shards: tuple[str, ...]) -> tuple[Actors, Room] | None:
    """The processes under a name; None where there are none."""
    ray = connected("auto")
    room = Room.named(prefix)
    try:
        names = {shard: f"{prefix}/{shard}" for shard in shards}
        actors = {shard: ray.get_actor(name, namespace=NAMESPACE) for shard, name in names.items()}
    except ValueError:  # no such actor
        return None
    return None if room is None else (actors, room)


def _end(actors: list[Any], room: Room) -> None:
    """End processes and give their room back, where the cluster is still there."""
    ray = connected_already()
    if ray is None:
        return
    for actor in actors:
        ray.kill(actor, no_restart=True)
    room.close()


def connected_already() -> Any:
    """The module ray while this process is connected, else None."""
    import ray

    return ray if ray.is_initialized() else None
