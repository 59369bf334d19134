"""Shards served over HTTP by Ray Serve: no request fails when a replica dies or a version follows."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import pytest
from cluster.nodes import N_DOCS, Nodes, within

from colmodern import Encoder, ShardedIndex
from colmodern.cluster.replicas import all_versions
from colmodern.config.models import EncoderConfig
from colmodern.errors import ConfigError, InputError, ResourceError, StorageError, UnavailableError
from colmodern.ragged.store import EmbeddingStore
from colmodern.service.cluster import serve_on_cluster, stop_serving
from colmodern.service.settings import ServeSettings

QUERY = "sort a list of names"


@pytest.fixture(scope="session")
def shards(store: EmbeddingStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "shards"
    ShardedIndex.build(store, folder, 2, nbits=2).close()
    return folder


@pytest.fixture
def wide(running: Nodes) -> Iterator[Nodes]:
    """Three nodes with room for two replicas of each of two shards in two versions, and a gateway."""
    running.kill_all()
    running.complete(n_cpus=6)
    yield running
    stop_serving(running.config, "docs")
    running.kill_all()


@pytest.fixture
def settings() -> ServeSettings:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return ServeSettings(port=port, encoder=EncoderConfig(model="colmodern/tiny", device="cpu"))


def ask(settings: ServeSettings) -> httpx.Response:
    url = f"http://127.0.0.1:{settings.port}/v1/indexes/docs/search"
    return httpx.post(url, json={"queries": [QUERY], "k": 5}, timeout=30)


def hits(response: httpx.Response) -> list[tuple[str, float]]:
    return [(hit["id"], hit["score"]) for hit in response.json()["results"][0]["hits"]]


def expected(folder: Path, encoder: Encoder) -> list[tuple[str, float]]:
    [query] = encoder.encode_queries([QUERY])
    results = ShardedIndex.load(folder).search(query, 5)
    return [(hit.doc_id, pytest.approx(hit.score, rel=1e-5)) for hit in results]


@contextmanager
def clients(settings: ServeSettings, n: int = 3) -> Iterator[list[httpx.Response]]:
    """Clients that ask without a pause in the block; gives their answers."""
    answers: list[httpx.Response] = []
    ended = Event()

    def work() -> None:
        while not ended.is_set():
            answers.append(ask(settings))

    with ThreadPoolExecutor(n) as pool:
        futures = [pool.submit(work) for _ in range(n)]
        try:
            yield answers
        finally:
            ended.set()
        for future in futures:
            future.result()


def failures(answers: list[httpx.Response]) -> list[str]:
    return [
        answer.text
        for answer in answers
        if answer.status_code != 200 or not answer.json()["is_complete"]
    ]


def replicas(shard: str) -> list[int]:
    """Ids of the processes of this machine that hold a shard."""
    titles = [(folder, title_of(folder)) for folder in Path("/proc").iterdir()]
    return [int(folder.name) for folder, title in titles if re.search(rf"ray::.*{shard}", title)]


def title_of(process: Path) -> str:
    try:
        return (process / "cmdline").read_text()
    except OSError:  # no process, or one that has ended
        return ""


def node_of(process: int) -> int:
    """The process that stands for a node: it starts all others of the node."""
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def test_no_request_fails_when_a_replica_dies_or_a_version_follows(
    wide: Nodes, shards: Path, encoder: Encoder, settings: ServeSettings, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"name": "docs", "timeout_s": 5}
    first = serve_on_cluster(shards, wide.config, settings, **options)
    assert hits(ask(settings)) == expected(shards, encoder)
    [dying, other] = replicas("shard-00000")
    assert node_of(dying) != node_of(other)
    facts = httpx.get(f"http://127.0.0.1:{settings.port}/v1/indexes/docs").json()
    assert (facts["documents"], facts["takes_texts"], facts["read_only"]) == (N_DOCS, True, True)

    with clients(settings) as answers:
        assert within(10, lambda: len(answers) > 10)
        os.kill(dying, signal.SIGSTOP)  # it still has searches when it dies
        time.sleep(1)
        os.kill(dying, signal.SIGKILL)
        assert within(30, lambda: dying not in (now := replicas("shard-00000")) and len(now) == 2)
        n_before = len(answers)
        assert within(10, lambda: len(answers) > n_before + 10)
    assert not failures(answers)

    newer = shutil.copytree(shards, tmp_path / "newer")
    ShardedIndex.load(newer).delete([expected(shards, encoder)[0][0]])
    with clients(settings) as answers:
        second = serve_on_cluster(newer, wide.config, settings, **options)
        n_before = len(answers)
        assert within(10, lambda: len(answers) > n_before + 10)
    assert not failures(answers)
    assert first < second
    assert all_versions("docs") == [second]
    assert hits(ask(settings)) == expected(newer, encoder) != expected(shards, encoder)
    versions = [answer.json()["index_version"] for answer in answers]
    assert len(set(versions)) == 2
    assert versions[-1] == ask(settings).json()["index_version"] != versions[0]
    assert set(versions[n_before + 3 :]) == {versions[-1]}  # three were on their way

    [codes] = (newer / "shard-00001").rglob("codes.npy")
    codes.write_bytes(codes.read_bytes()[:-1] + b"?")
    with pytest.raises(UnavailableError, match=r"docs\.000003 did not start: .*codes\.npy"):
        serve_on_cluster(newer, wide.config, settings, **options)
    with pytest.raises(InputError, match="the cluster serves 'docs' already"):
        serve_on_cluster(shards, wide.config, settings, **{**options, "name": "other"})
    with pytest.raises(ResourceError, match=r"replicas=4: no room for 4 replicas of 2 shards"):
        serve_on_cluster(shards, wide.config, settings, **options, replicas=4)
    assert all_versions("docs") == [second]
    assert not failures([ask(settings)])
    assert stop_serving(wide.config, "docs")
    assert not stop_serving(wide.config, "docs")


@pytest.mark.parametrize(
    ("changes", "options", "error", "message"),
    [
        ({"encoder": None}, {}, InputError, r"settings\.encoder is missing"),
        ({"host": "0.0.0.0"}, {}, ConfigError, "without a key|then need no key"),
        ({}, {"name": "a/b"}, ConfigError, "cannot name an index"),
        ({}, {"gateways": 0}, InputError, "gateways=0"),
        ({}, {"replicas": 0}, InputError, "replicas=0"),
        ({}, {"timeout_s": 0}, InputError, "timeout_s=0"),
        ({}, {"path": "nothing"}, StorageError, "there is no folder"),
    ],
)
def test_what_cannot_be_served_is_refused_before_anything_starts(
    changes: dict[str, object],
    options: dict[str, Any],
    error: type[Exception],
    message: str,
    nodes: Nodes,
    shards: Path,
    settings: ServeSettings,
) -> None:
    arguments = {"path": shards, "name": "docs", **options}
    with pytest.raises(error, match=message):
        serve_on_cluster(
            config=nodes.config, settings=settings.model_copy(update=changes), **arguments
        )
