"""An index of a server answers as the same index of this machine, and says when it cannot."""

from __future__ import annotations

import pickle
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import unit_rows
from service.conftest import MakeServer, RunningServer

from colmodern import Encoder, PlaidIndex, RemoteIndex, ShardedIndex, SpanSettings, shard_index
from colmodern.errors import InputError, UnavailableError

DIM = 24
DOCUMENTS = unit_rows([4, 1, 9, 0, 30, 2, 7] * 12, dim=DIM, seed=5)
NAMES = [f"d {i}/ü" for i in range(84)]
QUERIES = unit_rows([3, 32, 1, 7] * 10, dim=DIM, seed=6)
FIELDS = [{"year": 1990 + i % 20} for i in range(84)]
EVERYTHING = {"nprobe": 1 << 20, "n_candidates": 1 << 20}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("remote")
    PlaidIndex.build(DOCUMENTS, folder / "whole", NAMES, fields=FIELDS)
    shard_index(folder / "whole", folder / "shards", 2)
    return folder


@pytest.fixture(scope="module")
def server(running: MakeServer, encoder: Encoder, folder: Path) -> RunningServer:
    indexes = {
        "docs": str(folder / "whole"),
        "first": str(folder / "shards" / "shard-00000"),
        "second": str(folder / "shards" / "shard-00001"),
    }
    return running(encoder, indexes=indexes)


@pytest.fixture(scope="module")
def whole(folder: Path) -> PlaidIndex:
    return PlaidIndex.load(folder / "whole")


@pytest.fixture
def remote(server: RunningServer) -> RemoteIndex:
    return RemoteIndex(server.url, "docs", timeout_s=60)


@pytest.fixture
def sharded(server: RunningServer) -> ShardedIndex:
    shards = {name: RemoteIndex(server.url, name, timeout_s=60) for name in ("first", "second")}
    return ShardedIndex(shards, is_hashed=True)


def test_results_are_those_of_the_index(remote: RemoteIndex, whole: PlaidIndex) -> None:
    assert remote.search(QUERIES[1], 7) == whole.search(QUERIES[1], 7)
    assert remote.search_batch(QUERIES, 5) == whole.search_batch(QUERIES, 5)  # two requests
    assert remote.search(np.zeros((0, DIM)), 3) == whole.search(np.zeros((0, DIM)), 3)
    options: list[dict[str, Any]] = [
        {"filter": NAMES[::5]},
        {"filter": {"year": {"gte": 2000}}},
        {"exact": True},
        {"offset": 4},
        {"nprobe": 3, "n_candidates": 20},
    ]
    for option in options:
        assert remote.search(QUERIES[1], 7, **option) == whole.search(QUERIES[1], 7, **option)
    groups = remote.search(QUERIES[1], 7, group_by="year")
    expected = whole.search(QUERIES[1], 7, group_by="year")
    assert groups == expected
    assert [hit.group for hit in groups] == [hit.group for hit in expected]  # type: ignore[attr-defined]


def test_facts_are_those_of_the_index(remote: RemoteIndex, whole: PlaidIndex) -> None:
    assert (remote.n_docs, len(remote), remote.dim) == (84, 84, DIM)
    assert remote.version == whole.version
    assert remote.info()["bytes"] == whole.info()["bytes"]
    assert remote.info()["tokens"] == DOCUMENTS.n_tokens
    assert remote.info()["fields"] == whole.info()["fields"] != {}
    assert NAMES[3] in remote
    for other in ("none", "", 3, None):
        assert other not in remote
    copy = pickle.loads(pickle.dumps(remote))
    assert copy.search(QUERIES[0], 3) == remote.search(QUERIES[0], 3)


def test_shards_of_servers_answer_as_one_index(sharded: ShardedIndex, whole: PlaidIndex) -> None:
    batch = sharded.search_batch(QUERIES, 20, **EVERYTHING)
    assert batch == whole.search_batch(QUERIES, 20, **EVERYTHING)
    assert batch.is_complete
    allowed = NAMES[::7]
    results = sharded.search(QUERIES[0], 20, filter=allowed, timeout_s=60)
    assert results == whole.search(QUERIES[0], 20, filter=allowed)
    assert sharded.info()["documents"] == sharded.n_docs == 84
    assert NAMES[3] in sharded
    [result] = sharded.search(QUERIES[0], 5, filter=[NAMES[3], "none", "also none"])
    assert result.doc_id == NAMES[3]
    with pytest.raises(InputError, match="shard first, a RemoteIndex, does not list its ids"):
        sharded.doc_ids  # noqa: B018
    with pytest.raises(InputError, match="a RemoteIndex, which explains nothing from here"):
        sharded.explain(QUERIES[0], NAMES[3])


def test_refusals_of_the_server_are_input_errors(
    remote: RemoteIndex, server: RunningServer
) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"filter": ["none"]}, "the index has none of them"),
        ({"filter": {"colour": "red"}}, "colour"),
        ({"k": 1001}, "k is 1,001"),
        ({"n_candidates": 3}, "n_candidates=3 is below k=10"),
        ({"spans": True}, "spans"),
    ]
    for options, message in cases:
        with pytest.raises(InputError, match=message):
            remote.search(QUERIES[0], **options)
    with pytest.raises(InputError, match=r"has no index|unknown index|no index 'none'"):
        RemoteIndex(server.url, "none").search(QUERIES[0])
    with pytest.raises(InputError, match="calls no functions"):
        remote.search(QUERIES[0], filter=lambda doc_id: True)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="leave texts out"):
        remote.search(QUERIES[0], spans=SpanSettings(texts={}))


def test_a_key_is_sent(make_server: MakeServer, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("a-long-secret-key-of-this-test\n")
    server = make_server(
        indexes={"docs": str(folder / "whole")}, api_key_file=str(tmp_path / "keys")
    )
    with pytest.raises(InputError, match="no valid key; pass one of the server's keys as api_key"):
        RemoteIndex(server.url, "docs").search(QUERIES[0])
    index = RemoteIndex(server.url, "docs", api_key="a-long-secret-key-of-this-test")
    assert len(index.search(QUERIES[0], 3)) == 3


def test_a_server_that_is_gone_is_unavailable(
    make_server: MakeServer, folder: Path, whole: PlaidIndex
) -> None:
    servers = [
        make_server(indexes={"docs": str(folder / "shards" / f"shard-0000{number}")})
        for number in range(2)
    ]
    shards = {name: RemoteIndex(s.url, "docs") for name, s in zip("ab", servers, strict=True)}
    sharded = ShardedIndex(shards, is_hashed=True)
    assert sharded.search(QUERIES[0], 84, **EVERYTHING).is_complete
    servers[1].close()
    with pytest.raises(
        UnavailableError, match=r"1 of 2 shards did not answer \(b: .* cannot be rea"
    ):
        sharded.search(QUERIES[0], 5)
    results = sharded.search(QUERIES[0], 5, allow_partial=True)
    assert list(results.shards.missing) == ["b"]
    assert results == PlaidIndex.load(folder / "shards" / "shard-00000").search(QUERIES[0], 5)
    with pytest.raises(UnavailableError, match="shard b"):
        ShardedIndex(shards)
    again = ShardedIndex(shards, allow_partial=True)
    assert not again.search(QUERIES[0], 5).is_complete


class _Odd(BaseHTTPRequestHandler):
    """Answers that no server of colmodern gives."""

    protocol_version = "HTTP/1.1"
    content = b"{}"
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def odd() -> Iterator[tuple[str, type[_Odd]]]:
    handler = type("Odd", (_Odd,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", handler
    server.shutdown()
    server.server_close()


FACTS = (
    b'{"documents": 3, "dim": 24, "index_settings": {}, "index_version": "v", "is_complete": true, '
    b'"bytes": {}, "spans": false}'
)


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (200, b"[]"),
        (200, b"<html>"),
        (200, b'{"is_complete": true, "results": 7}'),
        (200, b'{"is_complete": true, "results": [{"hits": [{"id": 3}]}]}'),
        (200, b'{"is_complete": true, "results": []}'),
        (200, b'{"is_complete": false, "results": [{"hits": []}]}'),
        (200, b"{}"),
        (500, b"oops"),
        (503, b'{"error": {"message": "busy", "cure": "wait"}}'),
        (503, b'{"error": "busy"}'),
    ],
)
def test_an_odd_answer_is_unavailable(
    odd: tuple[str, type[_Odd]], status: int, content: bytes
) -> None:
    url, handler = odd
    handler.content = FACTS
    index = RemoteIndex(url, "docs")
    assert index.dim == 24
    handler.status, handler.content = status, content
    with pytest.raises(UnavailableError, match=url):
        index.search(QUERIES[0])


def test_a_server_that_says_nothing_is_late() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        index = RemoteIndex(f"http://127.0.0.1:{silent.getsockname()[1]}", "docs", timeout_s=0.2)
        with pytest.raises(UnavailableError, match=r"did not answer within 0\.2 s"):
            index.search(QUERIES[0])


WRONG: list[object] = [
    *("", "docs", "ftp://host", "http://", "http://host:port", "http://host:99999", 7, None),
    *("http://[::1/docs", "http://.example", "http://a..b", f"http://{'a' * 64}", "http://a b"),
]


@pytest.mark.parametrize("url", WRONG)
def test_an_address_is_one_of_http(url: object) -> None:
    with pytest.raises(InputError, match=r"^url="):
        RemoteIndex(url, "docs")  # type: ignore[arg-type]


def test_wrong_settings_are_refused() -> None:
    for settings, message in (
        ({"name": ""}, "name=''"),
        ({"timeout_s": 0}, "timeout_s=0"),
        ({"timeout_s": "1"}, "timeout_s='1'"),
        ({"timeout_s": float("inf")}, "timeout_s=inf"),
        ({"api_key": "a\nb"}, "api_key is no printable text"),
        ({"api_key": 7}, "api_key is no printable text"),
        ({"api_key": "schlüssel"}, "api_key is no printable text of ASCII"),
        ({"api_key": "ключ"}, "api_key is no printable text of ASCII"),
    ):
        with pytest.raises(InputError, match=message):
            RemoteIndex(**{"url": "http://host", "name": "docs", **settings})  # type: ignore[arg-type]


def test_a_path_of_an_address_may_have_any_characters(server: RunningServer) -> None:
    index = RemoteIndex(f"{server.url}/für alle", "docs")
    with pytest.raises(InputError, match="there is no such path"):
        len(index)


@pytest.mark.parametrize("timeout_s", [0, -1, "1", True, float("nan"), float("inf")])
def test_a_search_refuses_a_time_that_is_none(remote: RemoteIndex, timeout_s: Any) -> None:
    with pytest.raises(InputError, match=r"^timeout_s=.*pass seconds above 0, or None"):
        remote.search(QUERIES[0], 1, timeout_s=timeout_s)


def test_a_closed_index_refuses_every_use(remote: RemoteIndex) -> None:
    remote.search(QUERIES[0], 1)
    remote.close()
    remote.close()
    assert repr(remote) == "RemoteIndex(closed)"
    for use in (
        lambda: remote.search(QUERIES[0]),
        lambda: remote.n_docs,
        lambda: remote.dim,
        lambda: remote.info(),
        lambda: "d" in remote,
        lambda: pickle.dumps(remote),
    ):
        with pytest.raises(InputError, match="the index is closed; open it again"):
            use()
