"""A gateway of the service on a Ray cluster: it encodes queries, and asks shards that Ray Serve runs."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI

from colmodern.cluster.replicas import newest_version, open_version
from colmodern.cluster.room import Resources
from colmodern.encoder.encoder import Encoder
from colmodern.errors import ColmodernError, UnavailableError
from colmodern.index.sharded.index import ShardedIndex
from colmodern.service.assembly import assemble
from colmodern.service.served import ServedIndex
from colmodern.service.served_state import ServedState
from colmodern.service.service import Service
from colmodern.service.settings import ServeSettings

_WARMING = 60.0  # seconds for the first search of a version, which no client waits for
_TICK = 0.05  # seconds between looks at whether the model is loaded
_LOOK = 0.3  # seconds between looks at whether the searches of an old version have ended
_FAULT = "the newest version cannot be searched; see the server's log"
_log = logging.getLogger(__name__)


class ClusterIndex(ServedIndex):
    """The newest version of an index whose shards Ray Serve runs; it is changed elsewhere.

    Args:
        name: Name of the index.
        encoder: The gateway's model.
        timeout_s: Seconds for the shards of a search; what is late is missing in a flagged answer.
        resources: What each replica of a shard takes.
    """

    def __init__(self, name: str, encoder: Encoder, timeout_s: float, resources: Resources) -> None:
        self._timeout_s, self._resources = timeout_s, resources
        self._app = newest_version(name)
        self._replaced = weakref.WeakSet[ServedState]()  # those that searches still use
        super().__init__(name, Path(name), encoder, read_only=True)
        self.warn_of_texts()

    def refresh(self) -> bool:
        """Search the newest version from now on; searches that run keep the one they began with.

        A version that lacks a shard does not take the place of another one. Where the gateway began
        with such a version, it opens it again once the shard is back.

        Returns:
            Whether there was a newer one.
        """
        with self._changing:
            if self._state is None:
                return False
            before = self._app
            try:
                newest = newest_version(self.name)
                if newest != before or self._is_whole_again():
                    self._replace(self._state, newest)
            except ColmodernError as error:
                fault = str(error) if isinstance(error, UnavailableError) else _FAULT
                if self.fault != fault:
                    _log.error("index %r stays as it was: %s", self.name, error)
                self.fault = fault
                return False
            self.fault = None
            return newest != before

    def change_over(self, app: str, seconds: float) -> None:
        """Search the newest version from now on, and wait for the searches of the one before.

        Args:
            app: The application that is the newest.
            seconds: How long to wait.

        Raises:
            UnavailableError: The version cannot be searched, or lacks a shard.
        """
        self.refresh()
        if self._app != app:
            raise UnavailableError(self.fault or f"{app} is not the newest version any more")
        end = time.monotonic() + seconds
        while self._replaced and time.monotonic() < end:
            time.sleep(_LOOK)
            gc.collect()  # requests that have ended may refer to themselves

    def _is_whole_again(self) -> bool:
        """Whether all shards answer now, and did not when they were opened."""
        state = self.state
        is_whole = self._is_warm and state.is_complete
        return not is_whole and state.index is not None and _warmed(state.index, self._timeout_s)

    def _replace(self, state: ServedState, app: str) -> None:
        """Search a version in place of a state; raises UnavailableError where it lacks a shard."""
        index, is_warm = self._open_version(app)
        newer = ServedState(index, self._encoder)
        if not (is_warm and newer.is_complete):
            raise UnavailableError(f"{app} lacks a shard; serve it again when all of them answer")
        self._replaced.add(state)
        self._app, self._state, self._is_warm = app, newer, True
        self.warn_of_texts()

    def _open(self) -> ShardedIndex:
        """The version to begin with, which may lack a shard."""
        index, self._is_warm = self._open_version(self._app)
        return index

    def _open_version(self, app: str) -> tuple[ShardedIndex, bool]:
        """A version, and whether all of its shards answer a search."""
        index = open_version(app, self._resources, timeout_s=self._timeout_s, allow_partial=True)
        return index, _warmed(index, _WARMING)


def _warmed(index: Any, seconds: float) -> bool:
    """Whether all shards answer a search, by which routers find the replicas; raises where none does."""
    query = np.zeros((1, index.dim), np.float32)
    return bool(index.search(query, 1, timeout_s=seconds, allow_partial=True).is_complete)


class Gateway:
    """A process that answers over HTTP: it encodes queries in batches, and asks the shards.

    Args:
        settings: Of the service.
        timeout_s: As of ``ClusterIndex``.
        resources: Likewise.
    """

    def __init__(self, settings: ServeSettings, timeout_s: float, resources: Resources) -> None:
        self._service = Service(settings)
        self._timeout_s, self._resources = timeout_s, resources

    def __serve_build_asgi_app__(self) -> FastAPI:
        """The application, as Ray Serve asks for it."""
        return assemble(self._service)

    async def reconfigure(self, config: dict[str, str]) -> None:
        """Open the index once the model is loaded; Ray Serve sends no request before."""
        service = self._service
        while service.status == "starting":
            await asyncio.sleep(_TICK)
        if service.failure is not None:
            raise service.failure
        name, limits = config["index"], (self._timeout_s, self._resources)
        index = await asyncio.to_thread(ClusterIndex, name, service.encoder, *limits)
        service.indexes[name] = index

    async def change_over(self, name: str, app: str) -> None:
        """As ``ClusterIndex.change_over``."""
        index = self._service.index(name)
        assert isinstance(index, ClusterIndex)
        seconds = self._service.settings.timeouts.request_ms / 1000
        await asyncio.to_thread(index.change_over, app, seconds)
