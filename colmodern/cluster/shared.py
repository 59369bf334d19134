"""Folders that all machines of a cluster see at the same path, and the names of machines."""

from __future__ import annotations

import os
import platform
import secrets
import time
from pathlib import Path

from colmodern.errors import StorageError
from colmodern.files import naming_write_errors
from colmodern.optional import require

_MARK = ".shared"
_PATIENCE = 60.0  # seconds until a file that another machine wrote is seen here


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


def unshare(folder: Path) -> None:
    """Remove the mark that ``share`` left."""
    (folder / _MARK).unlink(missing_ok=True)


def node_name() -> str:
    """The name of this machine in messages: its host name, and its address in the cluster."""
    address = require("ray", extra="ray").util.get_node_ip_address()
    return f"{platform.node()} ({address})"


def await_file(path: Path) -> None:
    """Wait until a folder that another machine made is seen: network file systems take a moment.

    Raises StorageError when it does not appear.
    """
    end = time.monotonic() + _PATIENCE
    while not path.exists():
        if time.monotonic() > end:
            raise StorageError(
                f"{path} was written by another machine and is not seen here after {_PATIENCE:g} s; "
                "mount the same folder at this path on all machines"
            )
        os.listdir(path.parent)  # asks the server anew
        time.sleep(0.05)
