"""colmodern serve."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import click

from colmodern.cli.options import PATH

_SPINS = "30000"  # GNU's OpenMP spins so often in about a millisecond


@click.command("serve")
@click.option("--model", "-m", help="Checkpoint: folder, hub name or package:NAME/FOLDER.")
@click.option(
    "--index",
    "indexes",
    multiple=True,
    metavar="NAME=FOLDER",
    help="Collection or index to serve under a name; may repeat.",
)
@click.option(
    "--config", type=PATH, help="YAML file of settings; the options here replace its own."
)
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option(
    "--port", type=click.IntRange(0, 65_535), help="Port, 0 for a free one.  [default: 8080]"
)
@click.option("--device", help="auto, cpu, cuda, cuda:N.  [default: auto]")
@click.option(
    "--api-key-file", type=PATH, help="File of keys, one a line; requests then need one of them."
)
@click.option("--insecure", is_flag=True, help="Listen on any address without a key.")
@click.option("--read-only", is_flag=True, help="Refuse changes of indexes.")
@click.option(
    "--ray", metavar="ADDRESS", help="Ray cluster that serves a folder of shards: auto, HOST:PORT."
)
@click.option("--replicas", type=click.IntRange(1), help="Machines with each shard.  [default: 2]")
@click.option(
    "--gateways",
    type=click.IntRange(1),
    help="Processes of the cluster that answer over HTTP.  [default: 1]",
)
@click.option(
    "--shard-timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Time of shards, after which an answer lacks them, and says so.  [default: 1]",
)
@click.option(
    "--cpus-per-worker",
    type=click.IntRange(1),
    help="CPUs of each replica and each gateway.  [default: 1]",
)
@click.option(
    "--scratch", type=PATH, help="Folder on each machine's own disk for a copy of its shards."
)
@click.option("--stop", metavar="NAME", help="End what --ray serves under a name.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any other setting, for example limits.k=100 or encoder.dtype=auto; may repeat.",
)
def command(
    model: str | None,
    indexes: tuple[str, ...],
    config: Path | None,
    host: str | None,
    port: int | None,
    device: str | None,
    api_key_file: Path | None,
    insecure: bool,
    read_only: bool,
    ray: str | None,
    replicas: int | None,
    gateways: int | None,
    shard_timeout: float | None,
    cpus_per_worker: int | None,
    scratch: Path | None,
    stop: str | None,
    overrides: tuple[str, ...],
) -> None:
    """Serve search, rerank and encode over HTTP, with a page to search at /.

    Without --model, the model of the first collection is used. GET /ready answers 200 once everything
    is loaded; SIGTERM lets running requests finish. Every request is logged on stderr as a line of
    JSON. /docs describes the paths.

    With --ray, the machines of a cluster serve a folder of shards, which all of them mount at the same
    path. The command ends when they answer; called again, it serves the next version of the folder.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        # OpenMP's threads spin through a query, but not between two, on CPUs that searches need
        os.environ["OMP_WAIT_POLICY"] = "passive"
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
    from colmodern.optional import require
    from colmodern.service.settings import load_serve_settings

    for module in ("fastapi", "prometheus_client", "uvicorn"):
        require(module, extra="serve")
    from colmodern.service.app import create_app
    from colmodern.service.server import Server, expect_safe, with_own_hosts

    _expect_model(device, model or config, overrides)
    encoder = {"model": model, "device": device}
    values: dict[str, Any] = {
        "host": host,
        "port": port,
        "api_key_file": None if api_key_file is None else str(api_key_file),
        "insecure": insecure or None,
        "read_only": read_only or None,
        "encoder": {key: value for key, value in encoder.items() if value is not None} or None,
        "indexes": _by_name(indexes) or None,
    }
    options = {key: value for key, value in values.items() if value is not None}
    cluster = {
        "replicas": replicas,
        "gateways": gateways,
        "shard_timeout": shard_timeout,
        "cpus_per_worker": cpus_per_worker,
        "scratch": scratch,
        "stop": stop,
    }
    chosen = {key: value for key, value in cluster.items() if value is not None}
    if ray is not None:
        from colmodern.cli.serve_cluster import serve_shards

        serve_shards(ray, load_serve_settings(config, overrides, options), chosen)
        return
    if chosen:
        listed = ", ".join(f"--{name.replace('_', '-')}" for name in chosen)
        raise click.UsageError(
            f"{listed} {'belong' if len(chosen) > 1 else 'belongs'} to --ray ADDRESS"
        )
    settings = with_own_hosts(load_serve_settings(config, overrides, options))
    expect_safe(settings)
    _prepare_logging()
    server = Server(create_app(config=settings))
    server.run()
    failure = server.service.failure
    if failure is not None:
        raise failure


def _expect_model(
    device: str | None, source: str | Path | None, overrides: tuple[str, ...]
) -> None:
    """Raise UsageError for a device without a model that it is for."""
    if device is None or source or any(key.startswith("encoder") for key in overrides):
        return
    raise click.UsageError(
        "--device is the device of the model that --model names; give both, or leave --device out: the "
        "model of a collection is on a GPU where there is one"
    )


def _by_name(indexes: tuple[str, ...]) -> dict[str, str]:
    """Folders by name; UsageError for an option of another form, or a name that repeats."""
    folders: dict[str, str] = {}
    for option in indexes:
        name, equals, folder = option.partition("=")
        if not equals or not name or not folder:
            raise click.UsageError(f"--index={option} is not of the form NAME=FOLDER")
        if name in folders:
            raise click.UsageError(f"--index={name} is there twice; give each index its own name")
        folders[name] = folder
    return folders


def _prepare_logging() -> None:
    """Log as lines of JSON on stderr, also what uvicorn has to say."""
    from colmodern.service.logs import JsonLines

    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in ("colmodern", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.INFO)
