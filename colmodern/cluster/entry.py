"""The entry of an application of shards, in a module of its own: its process imports nothing else."""

from __future__ import annotations


class ShardsVersion:
    """The entry of an application, which Ray Serve wants; it keeps the shards together."""

    def __init__(self, *shards: object) -> None:
        self._shards = shards
