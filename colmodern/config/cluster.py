"""The machines of an evaluation that runs on a Ray cluster."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import Field

from colmodern.checks import shown
from colmodern.config.fields import HomePath, SettingsModel
from colmodern.errors import InputError


class ClusterConfig(SettingsModel):
    """A Ray cluster, and how much of it each step takes."""

    address: str = Field(
        "auto",
        min_length=1,
        description="address of the head node, such as 10.0.0.5:6379; auto: the cluster that this machine is "
        "in; local: a cluster of this machine alone, for the time of the command",
    )
    encoders: int | None = Field(
        None, ge=1, description="processes that encode; null: as many as there is room for"
    )
    gpus_per_encoder: float | None = Field(
        None,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="GPUs of each encoder, or a part of one; null: 1 where the cluster has GPUs, else 0",
    )
    builders: int | None = Field(
        None, ge=1, description="processes that build shards; null: as many as there is room for"
    )
    cpus_per_worker: int = Field(
        1, ge=1, description="CPUs of each encoder, each builder and each shard that is searched"
    )
    scratch: HomePath | None = Field(
        None,
        description="folder on the disk of each machine in which shards are built and searched; null: the "
        "system's folder for temporary files to build in, and the shared folder to search",
    )


def shared_folder(name: str, folder: Path | str) -> Path:
    """A folder that all machines of a cluster can mount.

    Args:
        name: Name of the setting or argument in messages.
        folder: The folder.

    Raises:
        InputError: It is a URL.
    """
    if url := re.match(r"([A-Za-z][\w+.-]+):/+(.*)", str(folder)):  # a Path has lost a slash
        raise InputError(
            f"{name}={shown(f'{url[1]}://{url[2]}')} is a URL; embeddings and indexes are files that are "
            "mapped into memory: give a folder that all machines mount at the same path (NFS, Lustre, or a "
            "mounted bucket)"
        )
    return Path(folder)
