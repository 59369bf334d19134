"""An HTTP client for tests of a server that ends and comes back: patient, and strict in what it retries."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

_PAUSE = 0.1  # seconds before a request is sent again
_RETRIED = (503, 429)


class LostError(Exception):
    """A request that was sent and never answered, or not in time."""


@dataclass
class Answer:
    """A whole answer; content is its JSON."""

    status: int
    content: Any


@dataclass
class PatientClient:
    """One connection that stays open, one request at a time.

    It sends a request again where the server refuses the connection, or answers 503 or 429: what a
    client may do without knowing whether a request was carried out. A connection that ends after a
    request was sent is a lost request, unless it had been idle and ends without a byte; that is how HTTP
    ends idle connections, and RFC 9112 (9.3.1) has clients repeat then what changes nothing.

    Attributes:
        retries: Number of times that a request was sent again, by reason.
    """

    port: int
    patience_s: float = 120.0
    retries: Counter[str] = field(default_factory=Counter)
    _reader: asyncio.StreamReader | None = None
    _writer: asyncio.StreamWriter | None = None

    async def ask(
        self, method: str, path: str, body: Any = None, *, repeats: bool = True
    ) -> Answer:
        """Send a request until it is answered.

        Args:
            method: "GET", "POST", "PUT" or "DELETE".
            path: The path.
            body: What is sent as JSON.
            repeats: Whether the request changes nothing, so that it may be repeated where an idle
                connection ends.

        Raises:
            LostError: It was sent and not answered.
        """
        end = time.monotonic() + self.patience_s
        while time.monotonic() < end:
            was_idle = self._writer is not None
            try:
                await self._connect()
            except ConnectionRefusedError:
                await self._again("refused")
                continue
            try:
                answer = await self._exchange(method, path, body)
            except (OSError, asyncio.IncompleteReadError) as error:
                self.close()
                is_unread = not getattr(error, "partial", b"")
                if was_idle and is_unread and repeats:
                    self.retries["idle connection"] += 1
                    continue
                raise LostError(f"{method} {path}: {type(error).__name__} {error}") from error
            if answer.status not in _RETRIED:
                return answer
            await self._again(str(answer.status))
        raise LostError(f"{method} {path}: no answer within {self.patience_s:g} s")

    def close(self) -> None:
        """End the connection."""
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None

    async def _again(self, reason: str) -> None:
        self.retries[reason] += 1
        await asyncio.sleep(_PAUSE)

    async def _connect(self) -> None:
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self.port)

    async def _exchange(self, method: str, path: str, body: Any) -> Answer:
        assert self._reader is not None
        assert self._writer is not None
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(content)}\r\n"
        if content:
            head += "Content-Type: application/json\r\n"
        self._writer.write(head.encode() + b"\r\n" + content)
        await self._writer.drain()
        received = await self._reader.readuntil(b"\r\n\r\n")
        lines = received.decode("latin-1").lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
        answer = await self._reader.readexactly(int(headers.get("content-length", 0)))
        if headers.get("connection") == "close":
            self.close()
        return Answer(int(lines[0].split()[1]), json.loads(answer))
