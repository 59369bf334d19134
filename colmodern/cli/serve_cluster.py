"""colmodern serve --ray: a folder of shards on the machines of a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from colmodern.cli import terminal

if TYPE_CHECKING:
    from colmodern.service.settings import ServeSettings


def serve_shards(address: str, settings: ServeSettings, options: Mapping[str, Any]) -> None:
    """Serve the shards of the settings' index on a cluster, or stop it, and print what answers.

    Args:
        address: Of the cluster.
        settings: Of the service.
        options: The options of the command that belong to --ray, as far as they are there.

    Raises:
        ColmodernError: As ``serve_on_cluster`` and ``stop_serving`` raise it.
    """
    from colmodern.config.cluster import ClusterConfig
    from colmodern.config.load import build
    from colmodern.service.cluster import serve_on_cluster, stop_serving

    if address == "local":
        raise click.UsageError(
            "--ray local is a cluster that ends with the command; start one with `ray start --head`, and "
            "give --ray auto"
        )
    values = {"address": address, "cpus_per_worker": options.get("cpus_per_worker", 1)}
    if "scratch" in options:
        values["scratch"] = str(options["scratch"])
    cluster = build(ClusterConfig, values, source="command line")
    if "stop" in options:
        name = options["stop"]
        if not stop_serving(cluster, name):
            raise click.UsageError(f"--stop={name}: the cluster serves nothing under this name")
        terminal.put(f"{name} has ended")
        return
    if len(settings.indexes) != 1:
        raise click.UsageError(
            f"a cluster serves one folder of shards, and there are {len(settings.indexes)}; give one "
            "--index NAME=FOLDER"
        )
    if settings.encoder is None:
        raise click.UsageError("give the model of queries with --model")
    [(name, folder)] = settings.indexes.items()
    chosen = {key: options[key] for key in ("replicas", "gateways") if key in options}
    if "shard_timeout" in options:
        chosen["timeout_s"] = options["shard_timeout"]
    version = serve_on_cluster(folder, cluster, settings, name=name, **chosen)
    where = f"at {version.url}"
    if version.url is None:
        where = f"in the place of the version before, where {name} was served already"
    terminal.put(f"{version.name} answers {where}")
