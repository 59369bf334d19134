"""Shards as deployments of Ray Serve: replicas on different machines, and versions side by side.

Every version of an index is an application NAME.000001, NAME.000002 ... with one deployment for each
shard, because the replicas of one deployment are interchangeable and shards are not.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from colmodern.arguments import checked_count, checked_path
from colmodern.cluster.connection import connected
from colmodern.cluster.entry import ShardsVersion
from colmodern.cluster.fault_log import FaultLog
from colmodern.cluster.holder import ShardHolder
from colmodern.cluster.room import Resources, free_room
from colmodern.cluster.search import OWN_SHARE, HeldIndex, raised_there
from colmodern.config.cluster import ClusterConfig
from colmodern.errors import ColmodernError, ResourceError, UnavailableError, WorkerError
from colmodern.index.base import Index
from colmodern.index.sharded.fan_out import FACTS_S, Answer, facts_timeout
from colmodern.index.sharded.folder import read_shards_manifest
from colmodern.index.sharded.index import ShardedIndex

_INGRESS = "version"
_TRIES = 2  # times that a search is sent to a replica that then dies
_STARTS = 2  # times that a replica is started before its fault is raised
_HEALTH_S = 2.0  # seconds between canary queries
_HEALTH_TIMEOUT_S = 10.0
_DRAIN_S = 5.0  # seconds that a replica may take for its last searches
DRAIN_LOOK_S = 0.2  # seconds between looks at whether they have ended
_LOOK = 0.5  # seconds until it is looked up again whether a lost shard is back
_TICK = 0.2  # seconds between looks at an application that is being started
_ROOM_PATIENCE = 5.0  # seconds until room that others gave back is seen
_PATIENCE = 1800.0  # seconds until all replicas have opened their shards
_faults = FaultLog(logging.getLogger(__name__))


class ShardReplica:
    """A replica of a shard; Ray Serve calls it in an event loop, and searches run in threads.

    Args:
        folder: As of ``ShardHolder``, like the arguments that follow.
        scratch: See there.
        n_threads: See there.

    Raises:
        StorageError: The shard is damaged.
    """

    def __init__(self, folder: Path, scratch: Path | None, n_threads: int) -> None:
        self._holder = ShardHolder(folder, scratch, n_threads)
        self._holder.check_health()

    async def ask(
        self, method: str, arguments: tuple[object, ...], options: dict[str, object]
    ) -> object:
        """As ``ShardHolder.ask``."""
        return await asyncio.to_thread(self._holder.ask, method, arguments, options)

    async def check_health(self) -> None:
        """Answer a canary query; a replica that cannot is replaced."""
        await asyncio.to_thread(self._holder.check_health)


def deploy_shards(
    path: Path | str, config: ClusterConfig, name: str, *, replicas: int, beside: int = 0
) -> str:
    """Start the next version of a folder of shards, and return when every replica answers queries.

    Args:
        path: The folder, on disks that all machines mount at the same path.
        config: The cluster, and the CPUs of each replica.
        name: Name of the index.
        replicas: Machines that hold each shard.
        beside: Processes of the same size that are started afterwards.

    Returns:
        The name of the version's application.

    Raises:
        ResourceError: There is no room for all replicas beside those of the version before.
        UnavailableError: A replica does not start; the message says why.
        StorageError: The folder holds no shards.
    """
    connected(config.address)
    from ray import serve

    replicas = checked_count("replicas", replicas)
    folder = Path(os.path.realpath(checked_path("path", path)))
    shards = read_shards_manifest(folder).shards
    cpus = config.cpus_per_worker
    _expect_room(len(shards), replicas, Resources(cpus), beside)
    earlier = all_versions(name)
    app = f"{name}.{1 + int(earlier[-1].rpartition('.')[2]) if earlier else 1:06d}"
    scratch = None if config.scratch is None else Path(config.scratch)
    deployments = [
        serve.deployment(
            ShardReplica,
            name=shard,
            num_replicas=replicas,
            max_replicas_per_node=1,
            max_ongoing_requests=4 * (cpus + 1),
            max_constructor_retry_count=_STARTS,
            health_check_period_s=_HEALTH_S,
            health_check_timeout_s=_HEALTH_TIMEOUT_S,
            graceful_shutdown_timeout_s=_DRAIN_S,
            graceful_shutdown_wait_loop_s=DRAIN_LOOK_S,
            ray_actor_options={"num_cpus": cpus},
        ).bind(folder / shard, scratch, cpus)
        for shard in shards
    ]
    entry = serve.deployment(
        ShardsVersion,
        name=_INGRESS,
        graceful_shutdown_wait_loop_s=DRAIN_LOOK_S,
        ray_actor_options={"num_cpus": 0},
    ).bind(*deployments)
    start_application(entry, app)
    return app


def start_application(entry: Any, app: str, *, route: str | None = None) -> None:
    """Start an application of Ray Serve, and return when all of it runs; a failed one is deleted.

    Args:
        entry: What is bound of its first deployment.
        app: Its name.
        route: Its path over HTTP; None: it has none.

    Raises:
        UnavailableError: It does not start, or is stopped meanwhile; the message says why.
    """
    from ray import serve
    from ray.exceptions import RayActorError

    target = serve.RunTarget(entry, name=app, route_prefix=route)
    end = time.monotonic() + _PATIENCE
    try:
        serve.run_many([target], wait_for_applications_running=False)
        while not runs(app, serve.status().applications.get(app)):
            if time.monotonic() > end:
                raise UnavailableError(f"{app} did not start: not within {_PATIENCE:g} s")
            time.sleep(_TICK)
    except RayActorError as error:  # Ray Serve itself was shut down
        raise _stopped(app) from error
    except UnavailableError:
        end_application(app)
        raise


def runs(app: str, status: Any) -> bool:
    """Whether an application that was started runs by now.

    Args:
        app: Its name.
        status: What Ray Serve says of it; None where there is no such application.

    Raises:
        UnavailableError: It will not run; the message says why.
    """
    if status is None or status.status == "DELETING":
        raise _stopped(app)
    if status.status == "DEPLOY_FAILED":
        faults = [part.message for part in status.deployments.values() if part.message]
        raise UnavailableError(f"{app} did not start: {_last_error(faults)}")
    return bool(status.status == "RUNNING")


def _stopped(app: str) -> UnavailableError:
    return UnavailableError(f"{app} was stopped before it had started; serve its shards again")


def end_application(app: str) -> None:
    """Delete an application of Ray Serve, if it and Ray Serve are still there."""
    from ray import serve
    from ray.exceptions import RayActorError
    from ray.serve.exceptions import RayServeException

    with suppress(RayActorError, RayServeException):
        serve.delete(app)


def all_versions(name: str, *statuses: str) -> list[str]:
    """Applications of the versions of an index, the newest last; statuses: those that count, or all."""
    from ray import serve

    pattern = re.compile(re.escape(name) + r"\.\d{6}")
    return sorted(
        app
        for app, status in serve.status().applications.items()
        if pattern.fullmatch(app) and (not statuses or status.status in statuses)
    )


def newest_version(name: str) -> str:
    """The application of the newest version of an index that has been started as a whole.

    Raises:
        UnavailableError: There is none.
    """
    running = all_versions(name, "RUNNING", "UNHEALTHY")  # a replica of the latter has died since
    if not running:
        raise UnavailableError(f"no version of {name!r} is running; serve its shards first")
    return running[-1]


def open_version(
    app: str, resources: Resources, *, timeout_s: float, allow_partial: bool = False
) -> VersionIndex:
    """The shards of a version, as one index.

    Args:
        app: The name of its application.
        resources: What each replica takes.
        timeout_s: Seconds that a search may take.
        allow_partial: As in ``ShardedIndex``.

    Raises:
        UnavailableError: It does not answer.
    """
    from ray import serve

    application = serve.status().applications.get(app)
    if application is None:
        raise UnavailableError(f"no application {app} is running; serve the shards first")
    shards: dict[str, Index] = {
        shard: HeldIndex(
            shard,
            Replicas(app, shard, serve.get_deployment_handle(shard, app), resources),
            patience_s=OWN_SHARE * max(timeout_s, FACTS_S),
        )
        for shard in sorted(application.deployments)
        if shard != _INGRESS
    }
    return VersionIndex(shards, is_hashed=True, timeout_s=timeout_s, allow_partial=allow_partial)


class VersionIndex(ShardedIndex):
    """The shards of a version.

    What it says of itself is of those that answer, so that a gateway can start while one is lost.
    Reasons are for clients elsewhere: the log has the errors themselves, which name folders.

    Attributes:
        is_whole: Whether every shard answered whenever the index said something of itself.
    """

    is_whole = True

    def info(self) -> dict[str, Any]:
        """What ``ShardedIndex.info`` says; ``is_complete`` is whether all shards are counted."""
        info = super().info()
        return {**info, "is_complete": len(info["documents_of_shards"]) == len(self.shards)}

    def _reason(self, name: str, error: Exception) -> str:
        if isinstance(error, UnavailableError):
            return str(error)
        _faults.error(name, error, with_traceback=not isinstance(error, ColmodernError))
        return "it failed; see the server's log"

    def _of_all(self, ask: Callable[[Index], Answer]) -> dict[str, Answer]:
        calls = {name: partial(ask, shard) for name, shard in self.shards.items()}
        answers, errors = self._fan_out(calls, facts_timeout(self._timeout_s))
        reasons = [f"shard {name}: {self._reason(name, error)}" for name, error in errors.items()]
        if reasons:
            self.is_whole = False
        if not answers:
            raise UnavailableError("; ".join(reasons)) from next(iter(errors.values()))
        return {name: answers[name] for name in calls if name in answers}


class Replicas:
    """The replicas of a shard, one of which answers each call; safe to use from many threads.

    A shard without a replica is not waited for: a call that got no answer asks Ray Serve why, and
    those of the next moments raise the same at once.

    Args:
        app: The application of the version.
        shard: Name of the shard.
        handle: Ray Serve's handle of them.
        resources: What each of them takes.
    """

    def __init__(self, app: str, shard: str, handle: Any, resources: Resources) -> None:
        self._app, self._shard, self._handle = app, shard, handle
        self._resources = resources
        self._absence = ""  # why no replica answers, in words
        self._until = 0.0  # when that is looked up again
        self._is_absent()

    def __call__(
        self,
        method: str,
        arguments: tuple[object, ...],
        options: dict[str, object],
        timeout_s: float | None,
    ) -> object:
        """Call one of them, and another one where it dies.

        Raises:
            ColmodernError: The index raised it.
            WorkerError: It failed in another way.
            UnavailableError: None of them answers, or not in time.
        """
        from ray.exceptions import RayError, RayTaskError
        from ray.serve.exceptions import RayServeException

        if self._absence and (time.monotonic() < self._until or self._is_absent()):
            raise UnavailableError(self._absence)
        end = None if timeout_s is None else time.monotonic() + timeout_s
        for attempt in range(_TRIES):
            left = None if end is None else max(0.0, end - time.monotonic())
            try:
                call = self._handle.ask.remote(method, arguments, options)
                return call.result(timeout_s=left)
            except RayTaskError as error:
                raise raised_there(error, self._shard, failed=WorkerError) from error
            except TimeoutError as error:
                fault = f"{self._shard} did not answer within {timeout_s:g} s"
                raise UnavailableError(self._absence if self._is_absent() else fault) from error
            except (RayError, RayServeException) as error:
                if attempt == _TRIES - 1:
                    _faults.error(self._shard, error)
                    fault = f"{self._shard} has no replica that answers ({type(error).__name__})"
                    raise UnavailableError(fault) from error
        raise AssertionError("the last attempt returns or raises")

    def _is_absent(self) -> bool:
        """Whether no replica runs now; keeps the reason for the calls of the next moments."""
        from ray import serve

        application = serve.status().applications.get(self._app)
        deployment = None if application is None else application.deployments.get(self._shard)
        if deployment is None:
            self._absence = f"{self._shard} has ended with its version {self._app}"
        elif deployment.replica_states.get("RUNNING", 0):
            self._absence = ""
        elif _largest_room() < self._resources.cpus:
            self._absence = (
                f"{self._shard} has no replica, and there is no room for one: {free_room()}"
            )
        else:
            self._absence = f"{self._shard} has no replica; one is being started"
        self._until = time.monotonic() + _LOOK
        return bool(self._absence)


def _expect_room(n_shards: int, replicas: int, resources: Resources, beside: int) -> None:
    """Raise ResourceError where the replicas do not fit, those of a shard on different machines."""
    end = time.monotonic() + _ROOM_PATIENCE
    while not _fits(n_shards, replicas, resources, beside):
        if time.monotonic() > end:
            gateways = f" and {beside} gateway{'s' * (beside != 1)}" if beside else ""
            raise ResourceError(
                f"replicas={replicas}: no room for {replicas} replicas of {n_shards} shards{gateways} of "
                f"{resources} each, those of a shard on different machines; the cluster has {free_room()}; "
                "lower replicas, end other work on the cluster, or add machines"
            )
        time.sleep(_TICK)


def _fits(n_shards: int, replicas: int, resources: Resources, beside: int) -> bool:
    """Whether the cluster has room now: a machine takes at most one replica of each shard."""
    free = import_module("ray._private.state").available_resources_per_node()
    slots = [int(node.get("CPU", 0) // resources.cpus) for node in free.values()]
    n = n_shards * replicas
    return sum(min(n_shards, each) for each in slots) >= n and sum(slots) >= n + beside


def _largest_room() -> float:
    """CPUs that are free on the machine with the most of them."""
    free = import_module("ray._private.state").available_resources_per_node()
    return max((node.get("CPU", 0.0) for node in free.values()), default=0.0)


def _last_error(messages: list[str]) -> str:
    """What went wrong, out of the tracebacks in Ray Serve's messages."""
    lines = [line.strip() for message in messages for line in message.splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]*Error\b", line)]
    return (named or lines or ["see why in Ray Serve's logs"])[-1]
