"""A server that does nothing: the same bytes for every request. What clients reach is their limit.

python experiments/benchmarks/canned_server.py N_BYTES     # prints its port
"""

from __future__ import annotations

import asyncio
import re
import sys

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class _Canned(asyncio.Protocol):
    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if end and len(body) >= (int(length[1]) if length else 0):
            self._received = b""
            self._transport.write(self._answer)


async def serve(n_bytes: int) -> None:
    """Answer ``n_bytes`` of JSON's length to every request."""
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {n_bytes}\r\n\r\n"
    answer = head.encode() + b" " * n_bytes
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Canned(answer), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
