"""A real server on this machine, which tests ask through real connections."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from service.asking import RECORDS, filled

from colmodern import Collection, PlaidIndex
from colmodern.encoder.encoder import Encoder
from colmodern.service.app import create_app
from colmodern.service.server import Server

MakeServer = Callable[..., "RunningServer"]


class RunningServer:
    """A server in a thread of its own, and a client of it."""

    def __init__(self, model: Encoder | str, **settings: Any) -> None:
        self._run(create_app(model, port=0, **settings))

    @classmethod
    def of(cls, app: FastAPI) -> RunningServer:
        """A server of an application, which has a service in its state."""
        running = object.__new__(cls)
        running._run(app)
        return running

    def _run(self, app: FastAPI) -> None:
        self.app = app
        self.service = self.app.state.service
        self._server = Server(self.app)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        deadline = time.monotonic() + 60
        while not self._server.started or self.service.status == "starting":
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.01)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.url, timeout=60)

    def end(self) -> None:
        """Tell the server to end."""
        self._server.end()

    def close(self) -> None:
        """End the server, and wait until it has ended."""
        self.client.close()
        self.end()
        self._thread.join(60)
        assert not self._thread.is_alive(), "the server did not end"


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Takes back what `colmodern serve` sets up of logging in this process."""
    root = logging.getLogger()
    loggers = [logging.getLogger(name) for name in ("colmodern", "uvicorn.error")]
    levels, handlers = [each.level for each in (root, *loggers)], root.handlers[:]
    yield
    root.handlers[:] = handlers
    for each, level in zip((root, *loggers), levels, strict=True):
        each.setLevel(level)


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    return Encoder.from_pretrained("colmodern/tiny", device="cpu")


@contextmanager
def ending_servers() -> Iterator[MakeServer]:
    """A function that starts servers, all of which end with the context."""
    servers: list[RunningServer] = []

    def start(model: Encoder | str, **settings: Any) -> RunningServer:
        servers.append(RunningServer(model, **settings))
        return servers[-1]

    try:
        yield start
    finally:
        for server in servers:
            server.close()


@pytest.fixture
def make_server(encoder: Encoder) -> Iterator[MakeServer]:
    """Starts servers, which end with the test."""
    with ending_servers() as start:
        yield lambda model=encoder, **settings: start(model, **settings)


@pytest.fixture(scope="module")
def running() -> Iterator[MakeServer]:
    """The same for all tests of a file."""
    with ending_servers() as start:
        yield start


@pytest.fixture(scope="session")
def server(encoder: Encoder) -> Iterator[RunningServer]:
    """A server without indexes, for tests that change nothing of it."""
    running = RunningServer(encoder)
    yield running
    running.close()


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory, encoder: Encoder) -> dict[str, str]:
    """A collection, an index of embeddings alone, one without a fingerprint, and an empty one."""
    folder = tmp_path_factory.mktemp("served")
    filled(folder / "docs", encoder).close()
    Collection.create(folder / "empty", encoder).close()
    embeddings = encoder.encode_documents([str(record["text"]) for record in RECORDS])
    ids = [str(record["id"]) for record in RECORDS]
    PlaidIndex.build(embeddings, folder / "bare", ids).close()
    unknown = type(embeddings)(embeddings.values, embeddings.offsets)
    PlaidIndex.build(unknown, folder / "unknown", ids).close()
    return {name: str(folder / name) for name in ("docs", "bare", "unknown", "empty")}


@pytest.fixture(scope="session")
def served(folders: dict[str, str], encoder: Encoder) -> Iterator[RunningServer]:
    """A server of these, which tests do not change."""
    limits = {"k": 50, "documents": 5}
    running = RunningServer(encoder, indexes=folders, read_only=True, limits=limits)
    yield running
    running.close()
