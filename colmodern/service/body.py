"""The bodies of requests: how large they may be, and how long they may take to arrive."""

from __future__ import annotations

import asyncio

from starlette.types import Message, Receive, Scope

from colmodern.service.context import header
from colmodern.service.errors import ServiceError


def expect_length(scope: Scope, limit: int) -> None:
    """Raise ServiceError (413) where the header Content-Length announces more than the limit."""
    length = header(scope, b"content-length")
    if length.isdigit() and int(length[:20]) > limit:
        raise _too_large(limit)


def limited(receive: Receive, *, limit: int, seconds: float) -> Receive:
    """A ``receive`` that counts the bytes of the body, with or without Content-Length.

    Args:
        receive: The server's.
        limit: Bytes of a body; for one more it raises ServiceError (413).
        seconds: Seconds in which the body must arrive; later it raises ServiceError (408).
    """
    n_bytes, deadline, is_complete = 0, asyncio.get_running_loop().time() + seconds, False

    async def receive_limited() -> Message:
        nonlocal n_bytes, is_complete
        if is_complete:  # what follows is the end of the connection, whenever that comes
            return await receive()
        left = deadline - asyncio.get_running_loop().time()
        try:
            message = await asyncio.wait_for(receive(), max(left, 0.001))
        except asyncio.TimeoutError:
            raise ServiceError(
                408,
                "slow_body",
                f"the body did not arrive in {seconds:g} s",
                "send it faster, or less of it",
                headers={"Connection": "close"},
            ) from None
        if message["type"] == "http.request":
            n_bytes += len(message.get("body", b""))
            is_complete = not message.get("more_body", False)
            if n_bytes > limit:
                raise _too_large(limit)
        return message

    return receive_limited


def _too_large(limit: int) -> ServiceError:
    return ServiceError(
        413,
        "body_too_large",
        f"the body has more than {limit:,} bytes",
        "send less at a time, or raise limits.body in the server's settings",
        headers={"Connection": "close"},
    )
