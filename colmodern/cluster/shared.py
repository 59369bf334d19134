"""Folders that all machines of a cluster see at the same path, and the names of machines."""

from __future__ import annotations

import platform
import secrets
from pathlib import Path

from colmodern.errors import StorageError
from colmodern.files import naming_write_errors
from colmodern.optional import require

_MARK = ".shared"


def share(folder: Path) -> None:
    """Leave a mark in a folder, by which other machines know that they see the same one."""
    with naming_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _MARK).write_text(secrets.token_hex(8))


def expect_shared(folder: Path) -> None:
    """Raise StorageError where this machine does not see a folder that another one has marked."""
    if not (folder / _MARK).is_file():
        raise StorageError(
            f"the machine {node_name()} does not see {folder}; use a folder that all machines mount at "
            "the same path"
        )


def node_name() -> str:
    """The name of this machine as messages have it: its address in the cluster, and its host name."""
    address = require("ray", extra="ray").util.get_node_ip_address()
    return f"{platform.node()} ({address})"
