"""The connection to a Ray cluster."""

from __future__ import annotations

import logging
import os
import socket
from importlib import import_module
from types import ModuleType
from typing import Any

from colmodern.checks import shown
from colmodern.errors import InputError, UnavailableError
from colmodern.optional import require

NAMESPACE = "colmodern"
_log = logging.getLogger(__name__)
_heads: dict[str, str] = {}  # the address that was asked for -> that of the head node


def connected(address: str) -> ModuleType:
    """Connect this process to a cluster, unless it is connected already, and return the module ray.

    Args:
        address: Address of the head node, "auto" or "local"; with "auto", an open connection is used,
            to whichever cluster it is.

    Raises:
        MissingExtraError: Ray is not installed.
        InputError: The process is connected to another cluster.
        UnavailableError: There is no such cluster, or it does not answer.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = require("ray", extra="ray")
    if ray.is_initialized():
        head = ray.get_runtime_context().gcs_address
        if address != "auto" and head not in (_heads.get(address), _with_ip(address)):
            raise InputError(
                f"address={shown(address)}: this process is connected to the cluster at {head} already; use "
                "that one with address=auto, or call ray.shutdown() first"
            )
        return ray
    _log_notices()
    options = {"include_dashboard": False} if address == "local" else {}
    try:
        ray.init(
            address=address,
            namespace=NAMESPACE,
            log_to_driver=False,
            logging_level=logging.ERROR,
            **options,
        )
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UnavailableError(
            f"no Ray cluster at address={shown(address)} ({reason}); start one with `ray start --head`, "
            "give the address that it prints, or use local for this machine alone"
        ) from error
    _heads[address] = ray.get_runtime_context().gcs_address
    return ray


def _with_ip(address: str) -> str:
    """An address with the number of its host, as Ray writes it: that of this machine for localhost."""
    host, _, port = address.rpartition(":")
    try:
        number = socket.gethostbyname(host)
    except OSError:  # no such host
        return address
    if number.startswith("127."):
        number = require("ray", extra="ray").util.get_node_ip_address()
    return f"{number}:{port}"


def _log_notices() -> None:
    """Log what Ray says of dead machines and processes, which it prints on stdout without a setting."""
    worker = import_module("ray._private.worker")
    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = _notice  # type: ignore[attr-defined]


def _notice(data: dict[str, Any], ignore_prefix: bool) -> None:
    for line in data.get("lines", ()):
        _log.info("%s", str(line).partition("\n")[0])
