"""What is known of a request while it is answered: its id, its stages, its deadline."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal, TypeVar

from fastapi import Depends, Request
from starlette.types import Message, Receive, Scope

from colmodern.service.errors import out_of_time

Result = TypeVar("Result")
Stage = Literal["queue", "encode", "search", "write"]
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
KEY = "colmodern.request"  # a key of the ASGI scope


def _new_id() -> str:
    """An id that no other request has; it need not be secret, so that a fast generator makes it."""
    return f"{random.getrandbits(128):032x}"


def header(scope: Scope, name: bytes) -> bytes:
    """The value of a request's header, empty without one."""
    values: list[tuple[bytes, bytes]] = scope["headers"]
    return next((value for key, value in values if key == name), b"")


class RequestContext:
    """One request, from its first byte to the last of its answer.

    Attributes:
        request_id: The client's X-Request-ID where it is a plain word, else a new one.
        stages: Seconds that stages took, as far as the request has come.
        facts: Sizes of what was asked for, for the log of slow requests: numbers and names, no texts.
        is_disconnected: Whether the client is known to have gone away.
    """

    def __init__(self, scope: Scope, receive: Receive, *, timeout_ms: float) -> None:
        """Begin a request.

        Args:
            scope: Its ASGI scope.
            receive: Gives its body, then whether the client went away.
            timeout_ms: The longest time in which it must be answered.
        """
        given_id = header(scope, b"x-request-id")
        is_usable = _REQUEST_ID.fullmatch(given_id) is not None
        self.request_id = given_id.decode() if is_usable else _new_id()
        self.started = time.perf_counter()
        self.stages: dict[Stage, float] = {}
        self.facts: dict[str, object] = {}
        self.is_disconnected = False
        self._request = Request(scope, receive)
        self._longest_ms = timeout_ms
        self._timeout_ms = timeout_ms

    @classmethod
    def of_server(cls, timeout_ms: float) -> RequestContext:
        """A request that the server makes itself."""

        async def receive() -> Message:
            return {"type": "http.request"}

        return cls({"type": "http", "headers": []}, receive, timeout_ms=timeout_ms)

    def limit_time(self, timeout_ms: float | None) -> None:
        """Shorten the time in which the request must be answered; the settings have the longest."""
        if timeout_ms is not None:
            self._timeout_ms = min(timeout_ms, self._longest_ms)

    @property
    def seconds_left(self) -> float:
        """Seconds to the deadline; negative after it."""
        return self.started + self._timeout_ms / 1000 - time.perf_counter()

    async def is_abandoned(self) -> bool:
        """Whether nobody waits for the answer any more; the body must have been read."""
        if not self.is_disconnected:
            self.is_disconnected = await self._request.is_disconnected()
        return self.is_disconnected or self.seconds_left <= 0

    def expect_time(self) -> float:
        """Seconds to the deadline; raises ServiceError (503) after it."""
        left = self.seconds_left
        if left <= 0:
            raise self.out_of_time()
        return left

    def out_of_time(self) -> Exception:
        """The error of a request whose deadline has passed."""
        return out_of_time(self._timeout_ms)

    def add(self, stage: Stage, seconds: float) -> None:
        """Count seconds to a stage."""
        self.stages[stage] = self.stages.get(stage, 0.0) + seconds

    @contextmanager
    def timing(self, stage: Stage) -> Iterator[None]:
        """Count the time of a block to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - start)

    def took_ms(self, last: Stage = "search") -> dict[str, float]:
        """Milliseconds of each stage so far, 0 for one that the request did not need.

        Args:
            last: The stage after encoding.
        """
        stages: tuple[Stage, ...] = ("queue", "encode", last)
        return {stage: round(1000 * self.stages.get(stage, 0.0), 3) for stage in stages}


async def context_of(request: Request) -> RequestContext:
    """The context of a request, for FastAPI's dependencies."""
    context: RequestContext = request.scope[KEY]
    return context


Context = Annotated[RequestContext, Depends(context_of)]


async def answered_in_time(context: RequestContext, future: asyncio.Future[Result]) -> Result:
    """The result of a future, which fails at the request's deadline.

    Raises:
        ServiceError: The deadline has passed (503).
    """

    def fail() -> None:
        if not future.done():
            future.set_exception(context.out_of_time())

    left = context.seconds_left
    if left <= 0:
        future.cancel()
        raise context.out_of_time()
    # asyncio.wait_for takes three times as long
    timer = asyncio.get_running_loop().call_later(left, fail)
    try:
        return await future
    finally:
        timer.cancel()
