"""Bodies that are too large or too slow, requests beyond a deadline, and the end of a server."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parents[2]
BODY = {"query": "a", "documents": ["b"]}


def answered(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """What a server answers to bytes that are sent one part after another."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)
        answer = b""
        while b"\r\n\r\n" not in answer or not answer.rstrip().endswith(b"}"):
            received = connection.recv(65_536)
            if not received:
                break
            answer += received
    return answer


@pytest.fixture(scope="module")
def small_server(encoder: Any) -> Iterator[Any]:
    from tests.service.conftest import RunningServer

    limits = {"body": "1000", "documents": 2, "inputs": 1, "text_length": 50}
    timeouts = {"body_s": 0.3, "request_ms": 5000}
    server = RunningServer(encoder, limits=limits, timeouts=timeouts)
    yield server
    server.close()


@pytest.mark.parametrize("is_announced", [True, False])
def test_a_body_beyond_the_limit_is_refused(small_server: Any, is_announced: bool) -> None:
    content: Any = b'{"query": "' + b"x" * 1000 + b'"}'
    response = small_server.client.post(
        "/v2/rerank",
        content=content if is_announced else iter([content[:600], content[600:]]),
        headers={"content-type": "application/json"},
    )
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "body_too_large"
    assert small_server.client.post("/v2/rerank", json=BODY).status_code == 200


def test_a_body_that_does_not_arrive_is_refused(small_server: Any) -> None:
    head = b"POST /v2/rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    answer = answered(small_server.port, head + b'Content-Length: 100\r\n\r\n{"query":', pause=0.1)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"code":"slow_body"' in answer


@pytest.mark.parametrize(
    "nonsense",
    [b"\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00", b"GET /nothing HTTP/9.9\r\n\r\n",
     b"GET /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
     b"GET /nothing HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100_000 + b"\r\n\r\n"],
)  # fmt: skip
def test_what_is_not_http_ends_its_connection_alone(small_server: Any, nonsense: bytes) -> None:
    with socket.create_connection(("127.0.0.1", small_server.port), timeout=20) as connection:
        answer = b""
        try:
            connection.sendall(nonsense)
            connection.shutdown(socket.SHUT_WR)
            while received := connection.recv(65_536):
                answer += received
        except OSError:  # the server has closed it already
            pass
    assert not answer or answer.startswith(b"HTTP/1.1 4")
    assert b"Traceback" not in answer
    assert small_server.client.get("/health").status_code == 200


def test_limits_name_what_is_beyond_them(small_server: Any) -> None:
    for body, message in (
        ({"query": "a", "documents": ["b"] * 3}, "documents has 3 items, and this server takes 2"),
        ({"query": "a" * 51, "documents": []}, "query has 51 characters, and this server takes 50"),
    ):
        response = small_server.client.post("/v2/rerank", json=body)
        assert response.status_code == 422
        assert response.json()["error"]["message"] == message


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v2/rerank", {"query": "a", "documents": [1] * 500_000}),
        ("/v1/encode", {"input": [1] * 500_000, "input_type": "query"}),
        ("/v1/encode", {str(number): 0 for number in range(200_000)}),
    ],
)
def test_a_body_of_faults_alone_is_refused_at_the_first(
    server: Any, path: str, body: dict[str, Any]
) -> None:
    response = server.client.post(path, json=body)
    assert response.status_code == 422
    assert len(response.content) < 2000


def test_a_request_beyond_its_deadline_is_answered_503(small_server: Any) -> None:
    body = {"input": "a", "input_type": "query", "timeout_ms": 0.001}
    response = small_server.client.post("/v1/encode", json=body)
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "timeout"
    assert response.headers["retry-after"]


def test_errors_of_the_library_show_no_folder_and_no_traceback(small_server: Any) -> None:
    from colmodern.errors import ColmodernError, InputError, StorageError
    from colmodern.service.errors import as_service_error, hiding

    hide = hiding({"/srv/data/docs": "docs", "/srv": "..."})
    error: Exception = InputError("/srv/data/docs/index has no spans; build it anew")
    shown = as_service_error(error, hide)
    assert (shown.status_code, shown.message) == (422, "docs/index has no spans")
    assert shown.cure == "build it anew"
    for error in (StorageError("/srv/x is damaged"), ColmodernError("/srv"), KeyError("/srv")):
        shown = as_service_error(error, hide)
        assert "/srv" not in shown.message + shown.cure


class Process:
    """`colmodern serve` in a process of its own."""

    def __init__(self, *arguments: str, log: Path) -> None:
        self.log = log
        command = [sys.executable, "-m", "colmodern", "serve", "-m", "colmodern/tiny", "--port=0"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [*command, *arguments], stderr=file, env=environment, cwd=log.parent
            )
        self.url = self._wait_for(r"listening on (http://[\d.:]+)")
        self._wait_for(r'"message": "(ready)"')

    def _wait_for(self, pattern: str) -> str:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if match := re.search(pattern, self.log.read_text()):
                return match[1]
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.02)
        raise AssertionError(self.log.read_text())


@pytest.mark.slow
def test_a_terminated_server_finishes_what_runs_and_says_first_that_it_is_not_ready(
    tmp_path: Path,
) -> None:
    served = Process("--set", "timeouts.drain_delay_s=1", log=tmp_path / "log")
    texts = ["a document of many words, which takes a while to encode. " * 20] * 300
    statuses: list[int] = []

    def rerank() -> None:
        body = {"query": "a while", "documents": texts}
        statuses.append(httpx.post(f"{served.url}/v2/rerank", json=body, timeout=60).status_code)

    running = threading.Thread(target=rerank)
    running.start()
    time.sleep(0.3)
    served.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert httpx.get(f"{served.url}/ready").status_code == 503
    health = httpx.get(f"{served.url}/health")
    assert (health.status_code, health.headers["connection"]) == (200, "close")
    assert httpx.post(f"{served.url}/v2/rerank", json=BODY, timeout=60).status_code == 200
    assert served.process.wait(60) == 0
    running.join(60)
    assert statuses == [200]
    assert "Traceback" not in served.log.read_text()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{served.url}/health")


def _accepts(address: tuple[str, int]) -> bool:
    """Whether a new connection is accepted."""
    with socket.socket() as connection:
        return connection.connect_ex(address) == 0


def test_requests_that_are_on_their_way_when_a_server_ends_are_answered(make_server: Any) -> None:
    server = make_server()
    request, address = (
        b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        ("127.0.0.1", server.port),
    )
    with (
        socket.create_connection(address, timeout=20) as fresh,
        socket.create_connection(address, timeout=20) as kept,
    ):
        kept.sendall(request)
        assert kept.recv(65_536).startswith(b"HTTP/1.1 200")
        server.end()
        while _accepts(address):
            time.sleep(0.01)
        for connection in (fresh, kept):
            connection.sendall(request)
            answer = connection.recv(65_536).lower()
            assert answer.startswith(b"http/1.1 200")
            assert b"connection: close" in answer


def test_connections_that_wait_when_a_server_ends_are_accepted() -> None:
    from colmodern.service.server import _accepted

    with socket.create_server(("127.0.0.1", 0)) as listening, ExitStack() as stack:
        address = listening.getsockname()
        clients = [stack.enter_context(socket.create_connection(address)) for _ in range(3)]
        accepted = [stack.enter_context(connection) for connection in _accepted(listening)]
        assert [own.getpeername() for own in accepted] == [own.getsockname() for own in clients]


@pytest.mark.slow
def test_a_client_that_hangs_up_while_it_waits_is_not_encoded(make_server: Any) -> None:
    server = make_server()
    texts = ["a document of many words, which takes a while to encode. " * 20] * 200

    def rerank() -> None:
        answer = httpx.post(
            f"{server.url}/v2/rerank", json={"query": "a while", "documents": texts}, timeout=60
        )
        assert answer.status_code == 200

    def n_batches() -> float:
        match = re.search(
            r'batch_tokens_count\{role="document"\} (\S+)', server.client.get("/metrics").text
        )
        return float(match[1]) if match else 0.0

    before = n_batches()
    running = threading.Thread(target=rerank)
    running.start()
    deadline = time.monotonic() + 60
    while n_batches() == before:  # an idle encoder would encode the next request at once
        assert time.monotonic() < deadline
        time.sleep(0.01)
    content = b'{"input": "nobody waits for this", "input_type": "document"}'
    head = f"POST /v1/encode HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + content)
    running.join(60)
    deadline = time.monotonic() + 20
    line = 'colmodern_requests_total{code="499",path="/v1/encode"} 1.0'
    while line not in server.client.get("/metrics").text:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_running_requests_have_so_long_and_no_longer(tmp_path: Path) -> None:
    settings = ["--set=timeouts.drain_delay_s=0", "--set=timeouts.drain_s=1"]
    served = Process(*settings, log=tmp_path / "log")
    texts = ["a document of many words, which takes a while to encode. " * 200] * 1000

    def rerank() -> None:
        body = {"query": "a while", "documents": texts}
        with pytest.raises(httpx.HTTPError):
            httpx.post(f"{served.url}/v2/rerank", json=body, timeout=60).raise_for_status()

    running = threading.Thread(target=rerank)
    running.start()
    time.sleep(1.0)
    start = time.monotonic()
    served.process.send_signal(signal.SIGTERM)
    served.process.wait(60)
    assert time.monotonic() - start < 20
    running.join(60)


def test_a_taken_port_and_an_unknown_host_are_named() -> None:
    from colmodern.errors import ConfigError
    from colmodern.service.server import listening_sockets

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port={port} .* choose another --host or --port"):
            listening_sockets("127.0.0.1", port)
    with pytest.raises(ConfigError, match=r"host=no-such-host\.invalid"):
        listening_sockets("no-such-host.invalid", 0)
    [free] = listening_sockets("localhost", 0)
    free.close()


def test_answers_do_not_wait_for_acknowledgements() -> None:
    from colmodern.service.server import listening_sockets

    [listening] = listening_sockets("127.0.0.1", 0)
    with listening, socket.create_connection(listening.getsockname()):
        connection, _ = listening.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host=0.0.0.0"], "--api-key-file"),
        (["--set=limits.k=0"], "limits.k"),
        (["--index=docs"], "NAME=FOLDER"),
        (["--index=a=x", "--index=a=y"], "twice"),
        (["--index=a/b=x"], "cannot name an index"),
        (["--api-key-file=missing"], "missing"),
    ],
)
def test_a_wrong_command_ends_with_the_option_and_a_cure(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from colmodern.cli.main import main

    with pytest.raises(SystemExit) as caught:
        main(["serve", "-m", "colmodern/tiny", *arguments])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_a_missing_folder_is_named_before_the_missing_model(tmp_path: Path) -> None:
    from colmodern.errors import StorageError
    from colmodern.service.opening import open_encoder
    from colmodern.service.settings import ServeSettings

    settings = ServeSettings(indexes={"notes": str(tmp_path / "missing")})
    with pytest.raises(StorageError, match=r"index 'notes': there is no folder .*missing"):
        open_encoder(settings)


@pytest.mark.parametrize("load", [0.0, 999.0])
@pytest.mark.parametrize(
    ("policy", "spins", "expected"),
    [
        (None, None, ("passive", "30000")),
        (None, "7", ("passive", "7")),
        ("active", None, ("active", None)),
        ("passive", None, ("passive", None)),
    ],
)
def test_openmp_spins_for_a_millisecond_unless_it_is_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
    policy: str | None,
    spins: str | None,
    expected: tuple[str, str | None],
    load: float,
) -> None:
    from colmodern.cli.main import main

    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    for name, value in zip(names, (policy, spins), strict=True):
        monkeypatch.setenv(name, value or "")  # so that it is as before after the test
        if value is None:
            monkeypatch.delenv(name)
    with pytest.raises(SystemExit):
        main(["serve", "-m", "colmodern/tiny", "--set=limits.k=0"])
    assert tuple(map(os.environ.get, names)) == expected
