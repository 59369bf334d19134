"""Requests that are wrong in known ways, for ``serve_fuzz.py``."""

from __future__ import annotations

import json
import random
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

_SEARCH = "/v1/indexes/texts/search"
_ROWS = [[0.1] * 128, [0.2] * 128]
_SPANS = {"mode": "enabled", "threshold": 0.1, "max_spans": 2}
# method, path and body of requests that are answered with 200
BASES: list[tuple[str, str, Any]] = [
    ("POST", _SEARCH, {"queries": ["open a file"], "k": 3, "spans": True, "timeout_ms": 5000}),
    ("POST", _SEARCH, {"queries": "a", "filter": ["0", "1"], "nprobe": 4, "n_candidates": 64}),
    ("POST", _SEARCH, {"queries": ["a"], "spans": {"max_spans": 2, "min_share": 0.1}, "exact": True}),
    ("POST", "/v1/indexes/vectors/search", {"embeddings": [_ROWS], "k": 2, "texts": False}),
    ("POST", "/v1/indexes/texts/explain", {"query": "open a file", "doc_id": "1", "k": 3}),
    ("PUT", "/v1/indexes/texts/documents", {"documents": [{"id": "x", "text": "t", "title": "u"}]}),
    ("PUT", "/v1/indexes/vectors/documents", {"documents": [{"id": "x", "embedding": _ROWS}]}),
    ("DELETE", "/v1/indexes/texts/documents", {"ids": ["x"]}),
    ("POST", "/v1/encode", {"input": ["one text"], "input_type": "document"}),
    ("POST", "/v2/rerank", {"model": "m", "query": "q", "documents": ["a b", {"text": "c"}],
                            "top_n": 1, "relevant_spans": _SPANS, "max_tokens_per_doc": 9}),
    ("POST", "/rerank", {"query": "q", "texts": ["a b", "c"], "return_text": True}),
]  # fmt: skip

Value = Callable[[random.Random], Any]


class Raw(str):
    """Text that goes into the body as it is, as a number that json.dumps cannot write."""


def _deep(rng: random.Random) -> Any:
    value: Any = rng.choice([None, 1, "x"])
    for _ in range(rng.choice([5, 100, 900])):
        value = [value] if rng.random() < 0.5 else {"text": value}
    return value


def _text(rng: random.Random) -> str:
    alphabet = "ab \0\t\r\n\u00e9e\u0301\U0001f600\u202e\ufeff\u200b\ud800\udfff'\"<>&%/\\{}[]"
    return "".join(rng.choices(alphabet, k=rng.choice([0, 1, 3, 30, 3000])))


VALUES: list[Value] = [
    lambda rng: None,
    lambda rng: rng.choice([True, False]),
    lambda rng: rng.choice([0, -1, 1, 2**31, 2**31 - 1, 2**53, 2**63, 2**64, -(2**63), 10**400]),
    lambda rng: rng.choice([0.0, -0.0, 0.5, 1.5, -1e308, 1e308, 1e-320]),
    lambda rng: Raw(
        rng.choice(["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "01", "1.", "9" * 5000])
    ),
    *[_text] * 8,
    lambda rng: rng.choice(
        ["", " ", "1", "true", "null", "../../etc/passwd", "file:///etc/passwd", "x" * 250_000]
    ),
    lambda rng: [],
    lambda rng: {},
    lambda rng: [
        rng.choice([None, "", "a", 1, [], {}, -1.0]) for _ in range(rng.choice([1, 2, 1200]))
    ],
    lambda rng: {"text": rng.choice([None, "", 1, ["a"]]), "\0": 1},
    lambda rng: [
        [rng.choice([0.0, 1e38, 1e39, "a"]) for _ in range(rng.choice([1, 127, 128, 129]))]
        for _ in range(2)
    ],
    lambda rng: {
        "shape": rng.choice([[1, 128], [0, 0], [-1, 128], [2**40, 2**40], "x"]),
        "dtype": rng.choice(["float16", "float32", "object"]),
        "data": rng.choice(["", "AAAA", "????", "A" * 684]),
    },
    _deep,
]


def places(body: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The keys that lead to every value of a body, and to one that is not there."""
    found = [at]
    if isinstance(body, dict):
        found.append((*at, "unknown"))
        for key, value in body.items():
            found += places(value, (*at, key))
    elif isinstance(body, list):
        for position, value in enumerate(body[:3]):
            found += places(value, (*at, position))
    return found


def put(body: Any, at: tuple[Any, ...], value: Any) -> Any:
    """The body with another value at a place."""
    if not at:
        return value
    inner = body
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = value
    return body


def as_bytes(body: Any) -> bytes:
    """JSON, with what is ``Raw`` as it is."""
    marks: dict[str, str] = {}

    def marked(value: Any) -> Any:
        if isinstance(value, Raw):
            mark = f"@@{len(marks)}@@"
            marks[f'"{mark}"'] = str(value)
            return mark
        if isinstance(value, dict):
            return {key: marked(inner) for key, inner in value.items()}
        if isinstance(value, list) and len(value) < 20:
            return [marked(inner) for inner in value]
        return value

    try:
        content = json.dumps(marked(body))
    except RecursionError:
        content = "[" * 100_000
    for mark, raw in marks.items():
        content = content.replace(mark, raw)
    return content.encode()


@dataclass(frozen=True)
class RawKind:
    """A kind of bytes to send.

    name: for messages
    make: the bytes, from a generator of random numbers
    wants_answer: whether the server must answer, rather than end the connection
    slowly: whether the bytes are sent one by one
    """

    name: str
    make: Callable[[random.Random], bytes]
    wants_answer: bool = False
    slowly: bool = False


def raw_requests() -> list[RawKind]:
    """All kinds."""
    body = json.dumps({"queries": ["a"], "k": 1}).encode()
    end, close = b"\r\n\r\n", b"\r\nConnection: close"
    host = b"\r\nHost: 127.0.0.1" + close

    def post(headers: bytes, content: bytes) -> bytes:
        return b"POST " + _SEARCH.encode() + b" HTTP/1.1" + host + headers + end + content

    length = b"\r\nContent-Length: "
    chunked = b"\r\nTransfer-Encoding: chunked"
    get = b"GET /ready HTTP/1.1" + host
    return [
        RawKind("a right request", lambda rng: get + end, True),
        RawKind("a right body", lambda rng: post(length + b"%d" % len(body), body), True),
        RawKind(
            "a right chunked body",
            lambda rng: post(chunked, b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)),
            True,
        ),
        RawKind("random bytes", lambda rng: rng.randbytes(rng.choice([1, 100, 70_000])) + end),
        RawKind(
            "random bytes after a right line",
            lambda rng: get + b"\r\nX: " + rng.randbytes(50) + end,
        ),
        RawKind("nothing", lambda rng: b""),
        RawKind("only line ends", lambda rng: b"\r\n" * 50),
        RawKind(
            "TLS", lambda rng: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(200)
        ),
        RawKind("HTTP/2", lambda rng: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        RawKind("HTTP/9", lambda rng: b"GET /ready HTTP/9.9" + host + end),
        RawKind("no host", lambda rng: b"GET /ready HTTP/1.1" + close + end, True),
        RawKind(
            "another host",
            lambda rng: b"GET /ready HTTP/1.1\r\nHost: evil.example" + close + end,
            True,
        ),
        RawKind("an unknown method", lambda rng: b"BREW /ready HTTP/1.1" + host + end, True),
        RawKind(
            "a long path", lambda rng: b"GET /" + b"a" * 60_000 + b" HTTP/1.1" + host + end, True
        ),
        RawKind("a huge path", lambda rng: b"GET /" + b"a" * 300_000 + b" HTTP/1.1" + host + end),
        RawKind(
            "dots", lambda rng: b"GET /page/../../../../etc/passwd HTTP/1.1" + host + end, True
        ),
        RawKind(
            "escaped dots",
            lambda rng: b"GET /page/%2e%2e/%2e%2e/etc/passwd HTTP/1.1" + host + end,
            True,
        ),
        RawKind(
            "broken escapes", lambda rng: b"GET /v1/indexes/%ff%00%zz HTTP/1.1" + host + end, True
        ),
        RawKind("a huge header", lambda rng: get + b"\r\nX: " + b"a" * 300_000 + end),
        RawKind(
            "many headers",
            lambda rng: get + b"".join(b"\r\nX-%d: 1" % i for i in range(5000)) + end,
        ),
        RawKind(
            "a request id with line ends", lambda rng: get + b"\r\nX-Request-ID: a\rb\x00c" + end
        ),
        RawKind(
            "a long request id", lambda rng: get + b"\r\nX-Request-ID: " + b"a" * 5000 + end, True
        ),
        RawKind(
            "bad authorization", lambda rng: get + b"\r\nAuthorization: Bearer \xff\xfe" + end, True
        ),
        RawKind("too short a length", lambda rng: post(length + b"5", body), True),
        RawKind("too long a length", lambda rng: post(length + b"500", body)),
        RawKind("a negative length", lambda rng: post(length + b"-1", body)),
        RawKind("a length that is no number", lambda rng: post(length + b"abc", body)),
        RawKind("a length of many digits", lambda rng: post(length + b"9" * 400, body)),
        RawKind("two lengths", lambda rng: post(length + b"10" + length + b"20", body)),
        RawKind("length and chunks", lambda rng: post(length + b"5" + chunked, b"0\r\n\r\n")),
        RawKind("a bad chunk", lambda rng: post(chunked, b"zz\r\nabc\r\n")),
        RawKind("a huge chunk", lambda rng: post(chunked, b"fffffffffffffff\r\nabc")),
        RawKind(
            "more than the limit, announced",
            lambda rng: post(length + b"2000000", b"a" * 1000),
            True,
        ),
        RawKind(
            "more than the limit, in chunks",
            lambda rng: post(chunked, (b"40000\r\n" + b"a" * 0x40000 + b"\r\n") * 6),
            True,
        ),
        RawKind(
            "invalid UTF-8", lambda rng: post(length + b"14", b'{"queries":"\xff\xfe"')[:-1], True
        ),
        RawKind("a deep body", lambda rng: post(length + b"200000", b"[" * 200_000), True),
        RawKind(
            "a gzip body",
            lambda rng: post(length + b"30\r\nContent-Encoding: gzip", rng.randbytes(30)),
            True,
        ),
        RawKind(
            "another type",
            lambda rng: post(length + b"%d\r\nContent-Type: text/xml" % len(body), body),
            True,
        ),
        RawKind(
            "a multipart body",
            lambda rng: post(
                length + b"9\r\nContent-Type: multipart/form-data; boundary=x", b"--x\r\n\r\n--"
            ),
            True,
        ),
        RawKind(
            "an upgrade", lambda rng: get + b"\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x" + end
        ),
        RawKind(
            "an expectation",
            lambda rng: post(length + b"%d\r\nExpect: 100-continue" % len(body), body),
            True,
        ),
        RawKind("two requests at once", lambda rng: get[: -len(close)] + end + get + end, True),
        RawKind("a slow line", lambda rng: b"GET /ready HT", slowly=True),
        RawKind("a slow body", lambda rng: post(length + b"%d" % len(body), body[:8]), slowly=True),
    ]


def send_raw(port: int, content: bytes, *, patience_s: float, slowly: bool = False) -> bytes:
    """Send bytes, and give what comes back until the server ends the connection or time is over.

    Args:
        port: Where the server listens.
        content: What to send.
        patience_s: Seconds without a byte after which this side ends the connection.
        slowly: Whether to send the bytes one by one.
    """
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        with suppress(OSError):
            for part in [bytes([byte]) for byte in content] if slowly else [content]:
                connection.sendall(part)
                time.sleep(0.002 if slowly else 0)
        connection.settimeout(patience_s)
        with suppress(OSError):
            while len(received) < 1 << 20 and (part := connection.recv(1 << 16)):
                received += part
    return received
