"""JSON over HTTP with the standard library, for indexes on other machines."""

from __future__ import annotations

import http.client
import json
import math
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

from colmodern.arguments import checked_seconds
from colmodern.checks import shown
from colmodern.errors import InputError, UnavailableError

_REFUSED = {400, 401, 403, 404, 405, 413, 415, 422}  # asking again gives the same answer
_CHANGES = ("PUT", "DELETE")
_LARGEST = 1 << 28  # bytes of an answer
_MOST_IDLE = 32  # connections that are kept
_OF_PATHS = "/%:@!$&'()*+,;=~"  # characters that paths have as they are
_DOUBT = "; the change may have been made: look before you make it again"


class HttpClient:
    """A client of one server, which keeps connections for later requests; for many threads at once.

    Attributes:
        url: Address of the server.
        timeout_s: Seconds that a request may take, unless it says otherwise.
    """

    def __init__(self, url: str, *, api_key: str | None, timeout_s: float) -> None:
        """Check the address; nothing is connected yet.

        Raises:
            InputError: The address is none of HTTP, or a value is wrong.
        """
        self._idle: list[http.client.HTTPConnection] = []
        parts = _address(url)
        self.timeout_s = checked_seconds("timeout_s", timeout_s, cure="pass seconds above 0")
        if not isinstance(api_key, str | None) or (
            api_key is not None and not (api_key.isprintable() and api_key.isascii())
        ):
            raise InputError("api_key is no printable text of ASCII; pass the key, or None")
        self.url = url.rstrip("/")
        self._host, self._port = str(parts.hostname), parts.port
        self._prefix = quote(parts.path.rstrip("/"), safe=_OF_PATHS, errors="surrogatepass")
        self._is_tls = parts.scheme == "https"
        self._headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"

    def get(self, path: str) -> dict[str, Any]:
        """The object that a path answers with; raises as ``post`` does."""
        return self._json("GET", path, None, self.timeout_s)

    def exists(self, path: str) -> bool:
        """Whether a path answers with something else than 404; raises as ``post`` does."""
        status, content = self._ask("GET", path, None, self.timeout_s)
        if status == 404 and _error_of(content).get("code") == "unknown_document":
            return False
        self._expect_success(path, status, content)
        return True

    def post(
        self, path: str, body: Mapping[str, object], *, timeout_s: float | None = None
    ) -> dict[str, Any]:
        """The object that a path answers a body with.

        Args:
            path: The path.
            body: The body, which also gets the time in milliseconds.
            timeout_s: Seconds that the request may take; None: those of the client.

        Raises:
            InputError: The server refuses the request; has its message and cure.
            UnavailableError: The server cannot be reached, fails, or does not answer in time.
        """
        return self.send("POST", path, body, timeout_s=timeout_s)

    def send(
        self, method: str, path: str, body: Mapping[str, object], *, timeout_s: float | None = None
    ) -> dict[str, Any]:
        """As ``post``, by another method; what changes something is sent once."""
        seconds = self.timeout_s
        if timeout_s is not None:
            seconds = checked_seconds(
                "timeout_s", timeout_s, cure="pass seconds above 0, or None for those of the index"
            )
        timed = {**body, "timeout_ms": max(1, math.ceil(seconds * 1000))}
        return self._json(method, path, json.dumps(timed).encode(), seconds)

    def close(self) -> None:
        """Close the connections that no request uses; others are closed by their request's end."""
        while self._idle:
            self._idle.pop().close()

    __del__ = close

    def unreadable(self, path: str) -> UnavailableError:
        """The error of an answer that is none of a server of this version."""
        return UnavailableError(
            f"{self.url}{path} gave no answer of `colmodern serve`; check the address, and use the same "
            "colmodern on both sides"
        )

    def _json(
        self, method: str, path: str, body: bytes | None, timeout_s: float
    ) -> dict[str, object]:
        status, content = self._ask(method, path, body, timeout_s)
        self._expect_success(path, status, content)
        try:
            answer = json.loads(content)
        except ValueError as error:
            raise self.unreadable(path) from error
        if not isinstance(answer, dict):
            raise self.unreadable(path)
        return answer

    def _expect_success(self, path: str, status: int, content: bytes) -> None:
        if 200 <= status < 300:
            return
        fault = _error_of(content)
        message = f"{fault.get('message') or f'it answered with status {status}'}"
        cure = fault.get("cure") or "look at the server's log"
        if status == http.HTTPStatus.UNAUTHORIZED:
            cure = "pass one of the server's keys as api_key"
        kind = InputError if status in _REFUSED else UnavailableError
        raise kind(f"{self.url}{path}: {message}; {cure}")

    def _ask(
        self, method: str, path: str, body: bytes | None, timeout_s: float
    ) -> tuple[int, bytes]:
        """Status and content of an answer, asked for again where a kept connection was dead."""
        while True:
            # a kept connection may be dead, and a change that got no answer may have been made
            is_change = method in _CHANGES
            connection = self._new(timeout_s) if is_change else self._connection(timeout_s)
            is_new, is_kept, doubt = connection.sock is None, False, ""
            try:
                if is_new:
                    connection.connect()
                doubt = _DOUBT if is_change else ""
                connection.request(method, self._prefix + path, body, self._headers)
                with connection.getresponse() as response:
                    content = response.read(_LARGEST + 1)
                if len(content) > _LARGEST:
                    raise self.unreadable(path)
                is_kept = connection.sock is not None and len(self._idle) < _MOST_IDLE
                return response.status, content
            except TimeoutError as error:
                raise UnavailableError(
                    f"{self.url} did not answer within {timeout_s:g} s{doubt}; raise timeout_s, or try again"
                ) from error
            except (http.client.HTTPException, OSError) as error:
                was_dropped = isinstance(error, ConnectionError | http.client.BadStatusLine)
                if is_new or not was_dropped:
                    raise UnavailableError(
                        f"{self.url} cannot be reached ({error or type(error).__name__}){doubt}; check that "
                        "the server runs"
                    ) from error
            finally:
                if is_kept:
                    self._idle.append(connection)
                else:
                    connection.close()

    def _connection(self, timeout_s: float) -> http.client.HTTPConnection:
        """A connection that no other request uses, which may have to be made yet."""
        try:
            connection = self._idle.pop()
        except IndexError:
            return self._new(timeout_s)
        connection.timeout = timeout_s
        if connection.sock is not None:
            connection.sock.settimeout(timeout_s)
        return connection

    def _new(self, timeout_s: float) -> http.client.HTTPConnection:
        make = http.client.HTTPSConnection if self._is_tls else http.client.HTTPConnection
        return make(self._host, self._port, timeout=timeout_s)


def _address(url: object) -> SplitResult:
    """The parts of a server's address; raises InputError for one that nothing connects to."""
    cure = "pass the address of a server, as http://HOST:PORT"
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        host, port = parts.hostname or "", parts.port
        is_host = host.isprintable() and " " not in host and bool(host.encode("idna"))
    except ValueError as error:  # a port that is no number, half an IPv6 address, an empty label
        raise InputError(f"url={shown(url)}: {error}; {cure}") from error
    if parts.scheme not in ("http", "https") or not is_host or port == 0:
        raise InputError(f"url={shown(url)}; {cure}")
    return parts


def _error_of(content: bytes) -> dict[str, object]:
    """The error in an answer of a server; empty where there is none."""
    try:
        fault = json.loads(content)["error"]
    except (ValueError, KeyError, TypeError):
        return {}
    return fault if isinstance(fault, dict) else {}
