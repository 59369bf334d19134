"""Runs the application with uvicorn, until it is told to end."""

from __future__ import annotations

import asyncio
import signal
from types import FrameType

import uvicorn
from fastapi import FastAPI

from colmodern.errors import ConfigError
from colmodern.service.keys import LOOPBACK
from colmodern.service.service import Service
from colmodern.service.settings import ServeSettings


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
        service.on_failure = self.end

    def end(self) -> None:
        """Accept no more requests, and return when the running ones are answered."""
        self.should_exit = True

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
