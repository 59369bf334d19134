"""The bodies of requests: that they are JSON, how large they are, how long they take to arrive."""

from __future__ import annotations

import asyncio

import anyio
from starlette.types import Message, Receive, Scope

from colmodern.checks import shown
from colmodern.service.context import header
from colmodern.service.errors import ServiceError


def expect_json(scope: Scope) -> None:
    """Raise ServiceError (415) for a body that does not say that it is JSON, or is compressed.

    Browsers send such bodies for a page of any site without asking this server first.
    """
    has_body = header(scope, b"content-length") not in (b"", b"0")
    if not has_body and not header(scope, b"transfer-encoding"):
        return
    encoding = header(scope, b"content-encoding").strip().lower()
    if encoding not in (b"", b"identity"):
        raise ServiceError(
            415,
            "encoded_body",
            f"the header Content-Encoding is {shown(encoding.decode('latin-1'))}",
            "send the body without compression",
            headers={"Accept-Encoding": "identity"},
        )
    kind = header(scope, b"content-type").partition(b";")[0].strip().lower()
    if kind != b"application/json":
        raise ServiceError(
            415,
            "not_json",
            f"the header Content-Type is {shown(kind.decode('latin-1'))}",
            "send JSON, with Content-Type: application/json",
        )


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
        # asyncio.wait_for makes a task for each message before Python 3.12
        with anyio.move_on_after(max(left, 0.001)) as scope:
            message = await receive()
        if scope.cancelled_caught:
            raise ServiceError(
                408,
                "slow_body",
                f"the body did not arrive in {seconds:g} s",
                "send it faster, or less of it",
                headers={"Connection": "close"},
            )
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
