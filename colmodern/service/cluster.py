"""Shards that a Ray cluster serves over HTTP, and new versions in the place of old ones."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

from colmodern.arguments import checked_count, checked_path, checked_seconds
from colmodern.cluster.claim import claimed
from colmodern.cluster.connection import connected
from colmodern.cluster.replicas import (
    DRAIN_LOOK_S,
    all_versions,
    deploy_shards,
    end_application,
    start_application,
)
from colmodern.cluster.room import Resources
from colmodern.config.cluster import ClusterConfig
from colmodern.errors import InputError, UnavailableError
from colmodern.index.sharded.folder import read_shards_manifest
from colmodern.optional import require
from colmodern.service.keys import read_keys
from colmodern.service.settings import ServeSettings, load_serve_settings

_TICK = 0.2  # seconds until gateways are asked again where one of them has died
_GATEWAY = "gateway"
_CLAIM = "serving"  # held by the one process that starts shards and gateways


class ServedVersion(NamedTuple):
    """A version of an index that a cluster serves.

    Attributes:
        name: Its name.
        url: Where the gateways that were started for it answer; None where it took the place of another
            version, whose gateways keep their host and port.
    """

    name: str
    url: str | None


def serve_on_cluster(
    path: Path | str,
    config: ClusterConfig,
    settings: ServeSettings,
    *,
    name: str,
    replicas: int = 2,
    gateways: int = 1,
    timeout_s: float = 1.0,
) -> ServedVersion:
    """Serve a folder of shards over HTTP with Ray Serve; called again, change over to a new folder.

    Shards of the new version start beside those of the old one. Gateways change over when all of
    them answer, and the old version ends when its searches have: no request fails. Processes stay
    when this one ends, until ``stop_serving``.

    Args:
        path: The folder, on disks that all machines mount at the same path.
        config: The cluster, and the CPUs of each replica and gateway.
        settings: Of the service: its model in ``encoder``, host and port, limits, and ``api_key_file``
            on disks that all machines mount. Only the first call for a name reads them, ``gateways``
            and ``timeout_s``; gateways also compare free CPUs with that call's ``cpus_per_worker``,
            to say whether there is room for a lost replica.
        name: Name of the index in paths.
        replicas: Machines that hold each shard.
        gateways: Processes that answer over HTTP.
        timeout_s: Seconds for the shards of a search; what is late is missing in a flagged answer.

    Returns:
        The version that answers now.

    Raises:
        ConfigError: Other machines can reach ``settings.host``, and there are no keys; or the file of
            keys cannot be used.
        InputError: A value is wrong, or ``settings`` names no model.
        ResourceError: The cluster has no room for it.
        StorageError: The folder holds no shards.
        MissingExtraError: Ray or FastAPI is not installed.
        UnavailableError: It does not start, or another process serves shards on the cluster just then;
            the version before still answers.
    """
    gateways = checked_count("gateways", gateways)
    timeout_s = checked_seconds("timeout_s", timeout_s, cure="pass seconds above 0")
    replicas = checked_count("replicas", replicas)
    _expect_usable(path, name, settings)
    connected(config.address)
    from ray import serve

    fault = f"name={name!r}: another process serves shards on this cluster now; run again when it has ended"
    with claimed(_CLAIM, fault):
        serve.start(
            proxy_location="HeadOnly", http_options={"host": settings.host, "port": settings.port}
        )
        front = f"{name}.{_GATEWAY}"
        running = serve.get_deployment_handle(_GATEWAY, front) if _is_running(name) else None
        earlier = all_versions(name)
        beside = gateways if running is None else 0
        app = deploy_shards(path, config, name, replicas=replicas, beside=beside)
        if running is None:
            resources = Resources(config.cpus_per_worker)
            _start_gateways(_bound(settings, name, gateways, timeout_s, resources), front, app)
        else:
            _change_over(running, name, app)
        for old in earlier:
            serve.delete(old)
    url = f"http://{settings.host}:{settings.port}/v1/indexes/{name}"
    return ServedVersion(app, url if running is None else None)


def stop_serving(config: ClusterConfig, name: str) -> bool:
    """End the gateways and all versions of an index, and Ray Serve where it serves nothing else.

    Args:
        config: The cluster.
        name: The name that ``serve_on_cluster`` was called with.

    Returns:
        Whether there was anything to end.

    Raises:
        UnavailableError: There is no such cluster, or it does not answer.
    """
    connected(config.address)
    from ray import serve

    applications = serve.status().applications
    own = [app for app in (f"{name}.{_GATEWAY}", *all_versions(name)) if app in applications]
    if own and len(own) == len(applications):
        serve.shutdown()
        return True
    for app in own:
        serve.delete(app)
    return bool(own)


def _expect_usable(path: Path | str, name: str, settings: ServeSettings) -> None:
    """Raise an error for a folder, a name or settings that could not be served."""
    load_serve_settings(None, values={"indexes": {name: "."}})  # raises for a name that no path has
    for module in ("fastapi", "prometheus_client", "uvicorn"):
        require(module, extra="serve")
    from colmodern.service.server import expect_safe

    expect_safe(settings)
    read_keys(settings.api_key_file)
    if settings.encoder is None:
        raise InputError("settings.encoder is missing; name the model that encodes queries")
    read_shards_manifest(checked_path("path", path))


def _is_running(name: str) -> bool:
    """Whether gateways of an index are running; raises InputError where they are another index's."""
    from ray import serve

    suffix = f".{_GATEWAY}"
    names = [
        app.removesuffix(suffix) for app in serve.status().applications if app.endswith(suffix)
    ]
    for other in names:
        if other != name:
            raise InputError(
                f"name={name!r}: the cluster serves {other!r} already, and all of its paths; use that "
                f"name, or stop_serving(config, {other!r}) first"
            )
    return name in names


def _bound(
    settings: ServeSettings, name: str, gateways: int, timeout_s: float, resources: Resources
) -> Any:
    """The gateways of an index, as Ray Serve starts them."""
    from ray import serve

    from colmodern.service.gateway import Gateway
    from colmodern.service.server import with_own_hosts

    return serve.deployment(
        serve.ingress()(Gateway),
        name=_GATEWAY,
        num_replicas=gateways,
        max_ongoing_requests=settings.limits.connections,
        graceful_shutdown_wait_loop_s=DRAIN_LOOK_S,
        user_config={"index": name},
        ray_actor_options={"num_cpus": resources.cpus},
    ).bind(
        with_own_hosts(settings).model_copy(update={"indexes": {}}),
        timeout_s,
        resources,
    )


def _start_gateways(entry: object, front: str, app: str) -> None:
    """Start the gateways, and end the version that they were to search where they do not start."""
    try:
        start_application(entry, front, route="/")
    except BaseException:
        end_application(app)
        raise


def _change_over(gateways: Any, name: str, app: str) -> None:
    """Make every gateway search a version; one that dies is replaced by one that does.

    Raises:
        UnavailableError: A gateway cannot search it, or they were stopped; the version is deleted.
    """
    from ray.exceptions import RayActorError, RayTaskError
    from ray.serve.exceptions import RayServeException

    while True:
        try:
            gateways.broadcast("change_over", name, app).results()
            return
        except RayTaskError as error:
            end_application(app)
            raise UnavailableError(f"{app} cannot be searched: {error.cause}") from error
        except (RayActorError, RayServeException) as error:
            if not _is_running(name):
                end_application(app)
                raise UnavailableError(
                    f"the gateways of {name!r} were stopped before {app} had taken its place; serve its "
                    "shards again"
                ) from error
            time.sleep(_TICK)
