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


_BODY = json.dumps({"queries": ["a"], "k": 1}).encode()
_OWN_LENGTH = b"\r\nContent-Length: %d" % len(_BODY)
_LENGTH, _CHUNKED = b"\r\nContent-Length: ", b"\r\nTransfer-Encoding: chunked"
_END, _CLOSE = b"\r\n\r\n", b"\r\nConnection: close"
_HOST = b"\r\nHost: 127.0.0.1" + _CLOSE
_GET = b"GET /ready HTTP/1.1" + _HOST


def raw_requests() -> list[RawKind]:
    """All kinds."""
    return [
        *_right(),
        *_no_http(),
        *_first_lines(),
        *_headers(),
        *_lengths(),
        *_bodies(),
        *_connections(),
    ]


def _post(headers: bytes, content: bytes) -> bytes:
    return b"POST " + _SEARCH.encode() + b" HTTP/1.1" + _HOST + headers + _END + content


def _right() -> list[RawKind]:
    """Requests that are answered."""
    return [
        RawKind("a right request", lambda rng: _GET + _END, True),
        RawKind("a right body", lambda rng: _post(_OWN_LENGTH, _BODY), True),
        RawKind(
            "a right chunked body",
            lambda rng: _post(_CHUNKED, b"%x\r\n%s\r\n0\r\n\r\n" % (len(_BODY), _BODY)),
            True,
        ),
    ]


def _no_http() -> list[RawKind]:
    """Bytes that are no request."""
    return [
        RawKind("random bytes", lambda rng: rng.randbytes(rng.choice([1, 100, 70_000])) + _END),
        RawKind(
            "random bytes after a right line",
            lambda rng: _GET + b"\r\nX: " + rng.randbytes(50) + _END,
        ),
        RawKind("nothing", lambda rng: b""),
        RawKind("only line ends", lambda rng: b"\r\n" * 50),
        RawKind(
            "TLS", lambda rng: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(200)
        ),
        RawKind("HTTP/2", lambda rng: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ]


def _first_lines() -> list[RawKind]:
    """First lines that are wrong or odd."""
    return [
        RawKind("HTTP/9", lambda rng: b"GET /ready HTTP/9.9" + _HOST + _END),
        RawKind("no host", lambda rng: b"GET /ready HTTP/1.1" + _CLOSE + _END, True),
        RawKind(
            "another host",
            lambda rng: b"GET /ready HTTP/1.1\r\nHost: evil.example" + _CLOSE + _END,
            True,
        ),
        RawKind("an unknown method", lambda rng: b"BREW /ready HTTP/1.1" + _HOST + _END, True),
        RawKind(
            "a long path", lambda rng: b"GET /" + b"a" * 60_000 + b" HTTP/1.1" + _HOST + _END, True
        ),
        RawKind("a huge path", lambda rng: b"GET /" + b"a" * 300_000 + b" HTTP/1.1" + _HOST + _END),
        RawKind(
            "dots", lambda rng: b"GET /page/../../../../etc/passwd HTTP/1.1" + _HOST + _END, True
        ),
        RawKind(
            "escaped dots",
            lambda rng: b"GET /page/%2e%2e/%2e%2e/etc/passwd HTTP/1.1" + _HOST + _END,
            True,
        ),
        RawKind(
            "broken escapes", lambda rng: b"GET /v1/indexes/%ff%00%zz HTTP/1.1" + _HOST + _END, True
        ),
    ]


def _headers() -> list[RawKind]:
    """Headers that are too many, too long or wrong."""
    return [
        RawKind("a huge header", lambda rng: _GET + b"\r\nX: " + b"a" * 300_000 + _END),
        RawKind(
            "many headers",
            lambda rng: _GET + b"".join(b"\r\nX-%d: 1" % i for i in range(5000)) + _END,
        ),
        RawKind(
            "a request id with line ends", lambda rng: _GET + b"\r\nX-Request-ID: a\rb\x00c" + _END
        ),
        RawKind(
            "a long request id", lambda rng: _GET + b"\r\nX-Request-ID: " + b"a" * 5000 + _END, True
        ),
        RawKind(
            "bad authorization",
            lambda rng: _GET + b"\r\nAuthorization: Bearer \xff\xfe" + _END,
            True,
        ),
    ]


def _lengths() -> list[RawKind]:
    """Bodies of another length than said, or than allowed."""
    return [
        RawKind("too short a length", lambda rng: _post(_LENGTH + b"5", _BODY), True),
        RawKind("too long a length", lambda rng: _post(_LENGTH + b"500", _BODY)),
        RawKind("a negative length", lambda rng: _post(_LENGTH + b"-1", _BODY)),
        RawKind("a length that is no number", lambda rng: _post(_LENGTH + b"abc", _BODY)),
        RawKind("a length of many digits", lambda rng: _post(_LENGTH + b"9" * 400, _BODY)),
        RawKind("two lengths", lambda rng: _post(_LENGTH + b"10" + _LENGTH + b"20", _BODY)),
        RawKind("length and chunks", lambda rng: _post(_LENGTH + b"5" + _CHUNKED, b"0\r\n\r\n")),
        RawKind("a bad chunk", lambda rng: _post(_CHUNKED, b"zz\r\nabc\r\n")),
        RawKind("a huge chunk", lambda rng: _post(_CHUNKED, b"fffffffffffffff\r\nabc")),
        RawKind(
            "more than the limit, announced",
            lambda rng: _post(_LENGTH + b"2000000", b"a" * 1000),
            True,
        ),
        RawKind(
            "more than the limit, in chunks",
            lambda rng: _post(_CHUNKED, (b"40000\r\n" + b"a" * 0x40000 + b"\r\n") * 6),
            True,
        ),
    ]


def _bodies() -> list[RawKind]:
    """Bodies of the right length that cannot be read."""
    return [
        RawKind(
            "invalid UTF-8", lambda rng: _post(_LENGTH + b"14", b'{"queries":"\xff\xfe"')[:-1], True
        ),
        RawKind("a deep body", lambda rng: _post(_LENGTH + b"200000", b"[" * 200_000), True),
        RawKind(
            "a gzip body",
            lambda rng: _post(_LENGTH + b"30\r\nContent-Encoding: gzip", rng.randbytes(30)),
            True,
        ),
        RawKind(
            "another type",
            lambda rng: _post(_OWN_LENGTH + b"\r\nContent-Type: text/xml", _BODY),
            True,
        ),
        RawKind(
            "a multipart body",
            lambda rng: _post(
                _LENGTH + b"9\r\nContent-Type: multipart/form-data; boundary=x", b"--x\r\n\r\n--"
            ),
            True,
        ),
    ]


def _connections() -> list[RawKind]:
    """Connections that change, are slow, or have more than a request."""
    return [
        RawKind(
            "an upgrade",
            lambda rng: _GET + b"\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x" + _END,
        ),
        RawKind(
            "an expectation",
            lambda rng: _post(_OWN_LENGTH + b"\r\nExpect: 100-continue", _BODY),
            True,
        ),
        RawKind(
            "two requests at once", lambda rng: _GET[: -len(_CLOSE)] + _END + _GET + _END, True
        ),
        RawKind("a slow line", lambda rng: b"GET /ready HT", slowly=True),
        RawKind("a slow body", lambda rng: _post(_OWN_LENGTH, _BODY[:8]), slowly=True),
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
