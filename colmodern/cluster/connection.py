"""The connection to a Ray cluster."""

from __future__ import annotations

import logging
import os
from importlib import import_module
from types import ModuleType
from typing import Any

from colmodern.checks import shown
from colmodern.errors import UnavailableError
from colmodern.optional import require

NAMESPACE = "colmodern"
_log = logging.getLogger(__name__)


def connected(address: str) -> ModuleType:
    """Connect this process to a cluster, unless it is connected already, and return the module ray.

    Args:
        address: Address of the head node, "auto" or "local"; not read where there is a connection.

    Raises:
        MissingExtraError: Ray is not installed.
        UnavailableError: There is no such cluster, or it does not answer.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = require("ray", extra="ray")
    if ray.is_initialized():
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
    return ray


def _log_notices() -> None:
    """Log what Ray says of dead machines and processes, which it prints on stdout without a setting."""
    worker = import_module("ray._private.worker")
    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = _notice  # type: ignore[attr-defined]


def _notice(data: dict[str, Any], ignore_prefix: bool) -> None:
    for line in data.get("lines", ()):
        _log.info("%s", str(line).partition("\n")[0])
