"""The state of a server: its model, its indexes, its queues, and whether it is ready."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from fastapi import Depends, Request

import colmodern
from colmodern.encoder.encoder import Encoder
from colmodern.errors import ColmodernError
from colmodern.ragged.embeddings import TokenEmbeddings
from colmodern.service.batching import EncoderBatcher
from colmodern.service.context import RequestContext
from colmodern.service.errors import hiding, not_ready, overloaded, unknown_index
from colmodern.service.keys import read_keys
from colmodern.service.metrics import Metrics
from colmodern.service.opening import open_encoder, open_indexes
from colmodern.service.search_threads import SearchThreads
from colmodern.service.served import ServedIndex
from colmodern.service.settings import ServeSettings
from colmodern.threads import cpu_count
from colmodern.units import parse_bytes

Status = Literal["starting", "ready", "failed"]
Result = TypeVar("Result")
_WRITERS = 16  # changes that are made or wait at a time
_CANARY = "Is this server ready?"
_log = logging.getLogger(__name__)


class Service:
    """What the routes of one application share.

    Attributes:
        settings: The server's settings.
        keys: Keys of clients.
        metrics: What is counted.
        batcher: Encodes the texts of requests.
        searches: The threads that search.
        indexes: The indexes that are served, by name.
        status: "starting", "ready" or "failed".
        is_draining: Whether the server is about to end.
        failure: Why the server could not start, else None.
        on_ready: Called once the server is ready.
        on_failure: Called when the server cannot start.
        body_limit: Bytes of a request's body, at most.
        hide: Hides the names of the server's folders in a text.
    """

    def __init__(self, settings: ServeSettings, encoder: Encoder | None = None) -> None:
        """Prepare a service; nothing is loaded before ``start``.

        Args:
            settings: The server's settings.
            encoder: Its model, where that is loaded already.

        Raises:
            ConfigError: The file of keys cannot be used.
        """
        self.settings = settings
        self.keys = read_keys(settings.api_key_file)
        self.metrics = Metrics(lambda: list(self.indexes.items()))
        self.batcher = EncoderBatcher(settings.batching, self.metrics)
        self.indexes: dict[str, ServedIndex] = {}
        self.status: Status = "starting"
        self.is_draining = False
        self.failure: ColmodernError | None = None
        self.on_ready: Callable[[], None] = lambda: None
        self.on_failure: Callable[[], None] = lambda: None
        self.body_limit = parse_bytes(settings.limits.body, name="limits.body")
        self.hide = hiding(_names_of_folders(settings))
        self._encoder = encoder
        n_threads = settings.search_threads or cpu_count()
        self.searches = SearchThreads(n_threads, settings.batching.queue, self.metrics)
        self._writers = ThreadPoolExecutor(_WRITERS, "writer")
        self._looking: asyncio.Task[None] | None = None
        self._n_writes = 0

    @property
    def encoder(self) -> Encoder:
        """The model; raises ServiceError (503) before it is loaded."""
        self.expect_ready()
        assert self._encoder is not None
        return self._encoder

    @property
    def model_name(self) -> str:
        """What clients see the model called; never a folder of the server's disk."""
        name = self.encoder.checkpoint.lasting_name
        return Path(name).name if os.path.isabs(name) else name

    async def start(self) -> None:
        """Load model and indexes, compile kernels, and answer a canary query."""
        loop = asyncio.get_running_loop()
        try:
            pool = self.searches.pool
            with ThreadPoolExecutor(1, "opening") as opening:  # OpenMP's team of it ends with it
                encoder = await loop.run_in_executor(opening, self._open)
            self.searches.start()
            self.batcher.start(encoder, self.searches)
            context = RequestContext.of_server(self.settings.timeouts.request_ms)
            await self.batcher.encode(context, [_CANARY], "query")
            context = RequestContext.of_server(self.settings.timeouts.request_ms)
            canary = await self.batcher.encode(context, [_CANARY], "document")
            await loop.run_in_executor(pool, _compile_pooling, canary.embeddings)
            await loop.run_in_executor(pool, encoder.fingerprint, "document")
            await self.batcher.calibrate(_CANARY)
        except ColmodernError as error:
            self.status, self.failure = "failed", error
            _log.error("the server cannot start: %s", error)
            self.on_failure()
            return
        self._looking = loop.create_task(self._look_for_changes())
        self.status = "ready"
        if not self.is_draining:
            self.on_ready()
            _log.info("ready")

    async def stop(self) -> None:
        """Give up what was opened; running requests have been answered."""
        self.drain()
        if self._looking is not None:
            self._looking.cancel()
        await self.batcher.stop()
        for pool in (self.searches.pool, self._writers):
            pool.shutdown(wait=True, cancel_futures=True)
        for index in self.indexes.values():
            index.close()

    def drain(self) -> None:
        """Answer /ready with 503 from now on; requests are still answered."""
        self.is_draining = True

    def expect_ready(self) -> None:
        """Raise ServiceError (503) while requests cannot be answered; a draining server answers."""
        if self.status == "starting":
            raise not_ready("the server loads its model and its indexes")
        if self.status == "failed":
            raise not_ready("the server could not load its model and its indexes")

    def index(self, name: str) -> ServedIndex:
        """The index of a name; raises ServiceError (404) where there is none."""
        self.expect_ready()
        if name not in self.indexes:
            raise unknown_index(name, sorted(self.indexes))
        return self.indexes[name]

    async def in_writer_thread(
        self, context: RequestContext, change: Callable[[float], Result]
    ) -> Result:
        """Make a change of an index in a thread of its own, which searches do not wait for.

        Args:
            context: The request. A change that has begun is made to its end, also after the
                deadline, so that its answer is the truth.
            change: A function of the seconds that it may wait for other changes.

        Returns:
            What the function returns.

        Raises:
            ServiceError: Too many changes wait (429), or the deadline has passed (503).
        """
        if self._n_writes >= _WRITERS:
            raise overloaded("the queue of changes")
        arrival = time.perf_counter()

        def timed() -> Result:
            context.add("queue", time.perf_counter() - arrival)
            with context.timing("write"):
                return change(context.expect_time())

        self._n_writes += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._writers, timed)
        finally:
            self._n_writes -= 1

    def _open(self) -> Encoder:
        self._encoder = self._encoder or open_encoder(self.settings)
        self.indexes = dict(open_indexes(self.settings, self._encoder))
        return self._encoder

    async def _look_for_changes(self) -> None:
        """See what other processes change, again and again."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self.settings.refresh_s)
            for index in self.indexes.values():
                try:
                    await loop.run_in_executor(None, index.refresh)
                except Exception as error:  # one fault must not end the looking
                    fault = f"it could not be looked at ({type(error).__name__})"
                    if index.fault != fault:
                        _log.exception("index %r could not be looked at", index.name)
                    index.fault = fault


def _compile_pooling(documents: TokenEmbeddings) -> None:
    """Compile what POST /v1/encode needs for a pool_factor."""
    from colmodern.encoder.pooling import pool_tokens  # loads numba

    pool_tokens(documents, 2.0, protected=0)


async def service_of(request: Request) -> Service:
    """The service of a request's application, for FastAPI's dependencies."""
    service: Service = request.app.state.service
    return service


ServiceState = Annotated[Service, Depends(service_of)]


def _names_of_folders(settings: ServeSettings) -> dict[str, str]:
    """What messages show in place of folders of the server's disk."""
    names = {str(Path.cwd()): ".", str(Path.home()): "~"}
    names[os.path.dirname(colmodern.__file__)] = "colmodern"
    if settings.encoder is not None and os.path.isdir(settings.encoder.model):
        names[settings.encoder.model] = names[os.path.abspath(settings.encoder.model)] = "the model"
    for name, folder in settings.indexes.items():
        names[folder] = names[os.path.abspath(folder)] = name
        names[os.path.realpath(folder)] = name
    return names
