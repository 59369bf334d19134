"""Clients of an HTTP server in a process of their own: keep-alive, one request at a time each.

Plain asyncio protocols, since an HTTP library takes longer for a request than the server does. Reads
jobs as lines of JSON from stdin, and writes a line with figures for each to stdout (see ``Job``).
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np


@dataclass
class Job:
    """What clients do: post bodies to a path, for some seconds or some requests.

    bodies: JSON texts that clients take in turn; without any, the path is got
    warm_s: seconds before latencies count
    seconds: how long latencies count; 0 with n_requests
    n_requests: requests of all clients together, counted from the first; 0 with seconds
    """

    port: int
    path: str
    bodies: list[str] = field(default_factory=list)
    clients: int = 1
    warm_s: float = 0.0
    seconds: float = 0.0
    n_requests: int = 0


class _Client(asyncio.Protocol):
    """One connection, which sends its next request when an answer is whole."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._received = bytearray()
        self._body_start = self._n_bytes = 0
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._n_bytes:
            end = self._received.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._received[:end]).lower()
            length = head.partition(b"content-length:")[2].split(b"\r\n", 1)[0]
            self._status = int(head[9:12])
            self._body_start = end + 4
            self._n_bytes = self._body_start + int(length)
        if len(self._received) >= self._n_bytes:
            self._load.count(self._status, time.perf_counter() - self._sent, self._n_bytes)
            self._received.clear()
            self._n_bytes = 0
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self._load.statuses["closed"] += 1
            self.ended.set_result(None)

    def _send(self) -> None:
        request = self._load.next_request()
        if request is None:
            if not self.ended.done():
                self.ended.set_result(None)
            self._transport.close()
            return
        self._sent = time.perf_counter()
        self._transport.write(request)


class _Load:
    """Requests of all clients, and what became of them."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._requests = [_request(job.path, body) for body in job.bodies or [None]]
        self._n_sent = 0
        self.statuses: Counter[str] = Counter()
        self.latencies: list[float] = []
        self.n_bytes = 0
        self._begin = time.perf_counter() + job.warm_s
        self._end = self._begin + job.seconds if job.seconds else float("inf")
        self._cpu = 0.0 if job.warm_s else time.process_time()

    def next_request(self) -> bytes | None:
        """The next request; None at the end."""
        job = self._job
        if time.perf_counter() >= self._end or (job.n_requests and self._n_sent >= job.n_requests):
            return None
        request = self._requests[self._n_sent % len(self._requests)]
        self._n_sent += 1
        return request

    def count(self, status: int, seconds: float, n_bytes: int) -> None:
        """Note an answer."""
        self.statuses[str(status)] += 1
        now = time.perf_counter()
        if self._begin <= now <= self._end:
            self._cpu = self._cpu or time.process_time()
            self.latencies.append(seconds)
            self.n_bytes += n_bytes

    def figures(self) -> dict[str, Any]:
        """What is reported; times in ms."""
        elapsed = self._job.seconds or time.perf_counter() - self._begin
        n = len(self.latencies)
        ms = 1000 * np.array(self.latencies or [np.nan])
        return {
            "requests": n,
            "requests_per_s": n / elapsed,
            "ms_p50": float(np.percentile(ms, 50)),
            "ms_p99": float(np.percentile(ms, 99)),
            "client_cpu_ms": 1000 * (time.process_time() - self._cpu) / max(1, n),
            "answer_bytes": self.n_bytes / max(1, n),
            "failed": sum(self.statuses.values()) - self.statuses["200"],
            "statuses": dict(self.statuses),
        }


class LoadClient:
    """The process with the clients; a context manager."""

    def __enter__(self) -> LoadClient:
        command = [sys.executable, __file__]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate()

    def run(self, job: Job) -> dict[str, Any]:
        """Do a job, and give its figures."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(job)) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the process with the clients failed at {job.path}")
        return dict(json.loads(line))


def _request(path: str, body: str | None) -> bytes:
    if body is None:
        return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    content = body.encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


async def _run(job: Job) -> dict[str, Any]:
    load, loop = _Load(job), asyncio.get_running_loop()
    clients = []
    for _ in range(job.clients):
        _, client = await loop.create_connection(lambda: _Client(load), "127.0.0.1", job.port)
        clients.append(client)
    await asyncio.gather(*(client.ended for client in clients))
    return load.figures()


def main() -> None:
    for line in sys.stdin:
        print(json.dumps(asyncio.run(_run(Job(**json.loads(line))))), flush=True)


if __name__ == "__main__":
    main()
