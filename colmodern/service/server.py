"""Runs the application with uvicorn, until it is told to end."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import FrameType

import uvicorn
from fastapi import FastAPI

from colmodern.errors import ConfigError
from colmodern.service.keys import LOOPBACK
from colmodern.service.service import Service
from colmodern.service.settings import ServeSettings

_BACKLOG = 2048  # connections that wait to be accepted
_LAST_REQUEST_S = 0.5  # seconds in which a request may still come on an idle connection
_TICK = 0.01  # seconds between looks at the connections meanwhile
_log = logging.getLogger(__name__)


def expect_safe(settings: ServeSettings) -> None:
    """Raise ConfigError for a server that strangers could use without a key."""
    if settings.host in LOOPBACK or settings.api_key_file or settings.insecure:
        return
    raise ConfigError(
        f"host={settings.host} can be reached from other machines, which then need no key; pass "
        "--api-key-file FILE (make a key with: openssl rand -hex 32), or --insecure"
    )


def with_own_hosts(settings: ServeSettings) -> ServeSettings:
    """The settings, with the names of this machine as the only ones of a server without a key."""
    is_local = settings.host in LOOPBACK and not settings.api_key_file
    if not is_local or settings.allowed_hosts is not None:
        return settings
    return settings.model_copy(update={"allowed_hosts": LOOPBACK})


def listening_sockets(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen on every address of a host; of port 0 on one free port of the first.

    Raises:
        ConfigError: The host is unknown, or the port is taken or not allowed.
    """
    sockets: list[socket.socket] = []
    try:
        entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        addresses = list(dict.fromkeys((entry[0], entry[4]) for entry in entries))
        for family, address in addresses[: None if port else 1]:
            listening = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
            # connections inherit it; asyncio sets it only for sockets that name the protocol TCP. Without
            # it the second packet of an answer waits 40 ms for the client to acknowledge the first
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sockets.append(listening)
    except OSError as error:
        for listening in sockets:
            listening.close()
        number = error.errno or 0
        reason = os.strerror(number) if number > 0 else error.strerror  # names' codes are below 0
        raise ConfigError(
            f"cannot listen on host={host}, port={port} ({reason}); choose another --host or --port"
        ) from error
    return sockets


class Server(uvicorn.Server):
    """A uvicorn server that drains: at SIGTERM it is not ready first, and ends a little later."""

    def __init__(self, app: FastAPI) -> None:
        service: Service = app.state.service
        settings = service.settings
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=settings.limits.connections,
                timeout_keep_alive=settings.timeouts.keep_alive_s,
                timeout_graceful_shutdown=settings.timeouts.drain_s,
                lifespan="on",
                ws="none",
            )
        )
        self.service = service
        service.on_ready = _freeze
        service.on_failure = self.end

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer requests until told to end.

        Raises:
            ConfigError: The address cannot be listened on.
        """
        settings = self.service.settings
        sockets = sockets or listening_sockets(settings.host, settings.port)
        for listening in sockets:
            host, port = listening.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            _log.info("listening on http://%s:%d", shown, port)
        super().run(sockets)

    def end(self) -> None:
        """Accept no more requests, and return when the running ones are answered."""
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer requests that are on their way, then close the connections and end.

        uvicorn closes connections without a request at once, also new ones whose request has not
        been read, and those that were never accepted are reset.
        """
        self.service.drain()
        sockets = sockets or []
        waiting = [connection for listening in sockets for connection in _accepted(listening)]
        for server in self.servers:  # at once: what connects meanwhile is reset
            server.close()
        for connection in waiting:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)
        end = time.monotonic() + _LAST_REQUEST_S
        while (
            any(map(_is_idle, self.server_state.connections))
            and not self.force_exit
            and time.monotonic() < end
        ):
            await asyncio.sleep(_TICK)
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        """The protocol of a new connection, as uvicorn makes it."""
        make: Callable[..., asyncio.Protocol] = self.config.http_protocol_class
        return make(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End at a signal: SIGTERM after the delay for balancers, a second one or SIGINT at once."""
        if sig == signal.SIGINT or self.service.is_draining:
            self.force_exit = self.should_exit and sig == signal.SIGINT
            self.service.drain()
            self.end()
            return
        self.service.drain()
        loop = asyncio.get_running_loop()
        loop.call_later(self.service.settings.timeouts.drain_delay_s, self.end)


def _accepted(listening: socket.socket) -> Iterator[socket.socket]:
    """The connections that wait to be accepted."""
    listening.setblocking(False)
    with suppress(BlockingIOError, ConnectionError):
        while True:
            connection, _ = listening.accept()
            connection.setblocking(False)
            yield connection


def _is_idle(connection: object) -> bool:
    """Whether a client could still send a request on a connection that waits for one."""
    if not hasattr(connection, "cycle"):  # a protocol that tells nothing of its requests
        return False
    return connection.cycle is None or bool(connection.cycle.response_complete)


def _freeze() -> None:
    """Leave loaded objects out of garbage collections, which took a fifth of the event loop's time."""
    gc.collect()
    gc.freeze()
