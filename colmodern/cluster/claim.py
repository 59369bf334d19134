"""A claim that one process of a cluster holds at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from colmodern.cluster.connection import NAMESPACE
from colmodern.errors import UnavailableError
from colmodern.optional import require


class _Claim:
    """What stands for a claim: an actor, which ends with the process that started it."""


@contextmanager
def claimed(name: str, fault: str) -> Iterator[None]:
    """Hold a claim in the block; this process is connected to the cluster.

    Args:
        name: Name of the claim.
        fault: What the error says where another process holds it.

    Raises:
        UnavailableError: Another process, or another thread of this one, holds it.
    """
    ray = require("ray", extra="ray")
    claim = ray.remote(num_cpus=0)(_Claim).options(name=name, namespace=NAMESPACE)
    try:
        holder = claim.remote()
    except ValueError as error:  # the name is taken
        raise UnavailableError(fault) from error
    try:
        yield
    finally:
        ray.kill(holder)
