"""Shards served over HTTP by Ray Serve: no request fails when a replica dies or a version follows."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
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

from colmodern import Encoder, ShardedIndex, shard_of
from colmodern.cluster.claim import claimed
from colmodern.cluster.connection import connected
from colmodern.cluster.replicas import all_versions
from colmodern.config.cluster import ClusterConfig
from colmodern.config.models import EncoderConfig
from colmodern.errors import ConfigError, InputError, ResourceError, StorageError, UnavailableError
from colmodern.ragged.store import EmbeddingStore
from colmodern.service.cluster import serve_on_cluster, stop_serving
from colmodern.service.settings import ServeSettings

QUERY = "sort a list of names"
SHARDS = ["shard-00000", "shard-00001"]
NO_ROOM = "has no replica, and there is no room for one: 0 of 2 CPUs free"
PAUSE = 0.05  # seconds between two requests of a client: processes that start need the CPUs too
_CONTEXT = ssl.create_default_context()  # httpx.post makes one a request: 20 ms of a CPU


@pytest.fixture(scope="session")
def shards(store: EmbeddingStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "shards"
    ShardedIndex.build(store, folder, 2, nbits=2).close()
    return folder


@pytest.fixture
def wide(running: Nodes) -> Iterator[Nodes]:
    """Three nodes with room for two replicas of each of two shards in two versions, and a gateway."""
    running.kill_all()
    running.complete(n_cpus=4)
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
    return httpx.post(url, json={"queries": [QUERY], "k": 5}, timeout=30, verify=_CONTEXT)


def hits(response: httpx.Response) -> list[tuple[str, float]]:
    return [(hit["id"], hit["score"]) for hit in response.json()["results"][0]["hits"]]


def expected(folder: Path, encoder: Encoder) -> list[tuple[str, float]]:
    [query] = encoder.encode_queries([QUERY])
    results = ShardedIndex.load(folder).search(query, 5)
    return [(hit.doc_id, pytest.approx(hit.score, rel=1e-5)) for hit in results]


def said(answer: httpx.Response, shard: str) -> str:
    """Why an answer lacks a shard; empty where it does not."""
    return str(answer.json().get("missing", {}).get(shard, ""))


@contextmanager
def clients(settings: ServeSettings, n: int = 3) -> Iterator[list[httpx.Response]]:
    """Clients that ask again and again in the block; gives their answers."""
    answers: list[httpx.Response] = []
    ended = Event()

    def work() -> None:
        while not ended.wait(PAUSE):
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


def running_replicas(version: str, shard: str) -> int:
    """Replicas of a shard that Ray Serve counts as running."""
    from ray import serve

    deployment = serve.status().applications[version].deployments[shard]
    return int(deployment.replica_states.get("RUNNING", 0))


def node_of(process: int) -> int:
    """The process that stands for a node: it starts all others of the node."""
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def test_no_request_fails_when_a_replica_dies_or_a_version_follows(
    wide: Nodes,
    shards: Path,
    encoder: Encoder,
    settings: ServeSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options: dict[str, Any] = {"name": "docs", "timeout_s": 5}
    first = served_by_the_command(shards, wide.config, settings)
    assert first == "docs.000001"
    assert hits(ask(settings)) == expected(shards, encoder)
    [dying, other] = replicas("shard-00000")
    assert node_of(dying) != node_of(other)
    facts = httpx.get(f"http://127.0.0.1:{settings.port}/v1/indexes/docs").json()
    assert (facts["documents"], facts["takes_texts"], facts["read_only"]) == (N_DOCS, True, True)
    expect_explanations(shards, encoder, settings)

    with clients(settings) as answers:
        assert within(10, lambda: len(answers) > 10)
        os.kill(dying, signal.SIGSTOP)  # it still has searches when it dies
        time.sleep(0.3)
        os.kill(dying, signal.SIGKILL)
        assert within(30, lambda: dying not in (now := replicas("shard-00000")) and len(now) == 2)
        n_before = len(answers)
        assert within(10, lambda: len(answers) > n_before + 10)
    assert not failures(answers)

    newer = shutil.copytree(shards, tmp_path / "newer")
    ShardedIndex.load(newer).delete([expected(shards, encoder)[0][0]])
    with clients(settings) as answers:
        second, url = serve_on_cluster(newer, wide.config, settings, **options, replicas=1)
        n_before = len(answers)
        assert within(10, lambda: len(answers) > n_before + 10)
    assert not failures(answers)
    assert first < second
    assert url is None
    assert all_versions("docs") == [second]
    assert hits(ask(settings)) == expected(newer, encoder) != expected(shards, encoder)
    versions = [answer.json()["index_version"] for answer in answers]
    assert len(set(versions)) == 2
    assert versions[-1] == ask(settings).json()["index_version"] != versions[0]
    assert set(versions[n_before + 3 :]) == {versions[-1]}  # three were on their way

    [codes] = (newer / "shard-00001").rglob("codes.npy")
    codes.write_bytes(codes.read_bytes()[:-1] + b"?")
    with pytest.raises(UnavailableError, match=r"docs\.000003 did not start: .*codes\.npy"):
        serve_on_cluster(newer, wide.config, settings, **options, replicas=1)
    with pytest.raises(InputError, match="the cluster serves 'docs' already"):
        serve_on_cluster(shards, wide.config, settings, **{**options, "name": "other"})
    monkeypatch.setattr("colmodern.cluster.replicas._ROOM_PATIENCE", 1.0)
    with pytest.raises(ResourceError, match=r"replicas=4: no room for 4 replicas of 2 shards"):
        serve_on_cluster(shards, wide.config, settings, **options, replicas=4)
    assert all_versions("docs") == [second]
    assert not failures([ask(settings)])
    assert stop_serving(wide.config, "docs")
    assert not stop_serving(wide.config, "docs")


def served_by_the_command(shards: Path, config: ClusterConfig, settings: ServeSettings) -> str:
    """Serve with `colmodern serve --ray`, which ends when the shards answer; gives the version."""
    address = ["--ray", config.address, "--index", f"docs={shards}", "--port", str(settings.port)]
    model = ["-m", "colmodern/tiny", "--device", "cpu", "--shard-timeout", "5"]
    command = [sys.executable, "-m", "colmodern", "serve", *address, *model]
    run = subprocess.run(command, check=False, capture_output=True, text=True, timeout=90)
    assert run.returncode == 0, run.stderr
    version, _, where = run.stdout.strip().partition(" answers at ")
    assert where == f"http://127.0.0.1:{settings.port}/v1/indexes/docs", run.stdout
    assert "Traceback" not in run.stderr
    return version


def expect_explanations(shards: Path, encoder: Encoder, settings: ServeSettings) -> None:
    """A gateway explains what the shard of a document does."""
    [query] = encoder.encode_queries([QUERY])
    url = f"http://127.0.0.1:{settings.port}/v1/indexes/docs"
    for doc_id in (expected(shards, encoder)[0][0], ShardedIndex.load(shards).doc_ids[0]):
        body = {"query": QUERY, "doc_id": doc_id, "k": 5, "nprobe": 4}
        answer = httpx.post(f"{url}/explain", json=body, timeout=30).json()
        explanation = ShardedIndex.load(shards).explain(query, doc_id, 5, nprobe=4)
        assert (answer["reason"], answer["is_result"]) == (
            explanation.reason,
            explanation.is_result,
        )
        assert answer["score"] == pytest.approx(explanation.score, rel=1e-5)
        assert answer["alignment"][0]["query_word"]
        assert httpx.get(f"{url}/documents/{doc_id}", timeout=30).json()["id"] == doc_id
    unknown = httpx.post(f"{url}/explain", json={"query": QUERY, "doc_id": "none"}, timeout=30)
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "unknown_document")
    assert httpx.get(f"{url}/documents/none", timeout=30).status_code == 404


@pytest.fixture
def narrow(running: Nodes) -> Iterator[Nodes]:
    """Three nodes of one CPU each: two shards and a gateway take them all."""
    running.kill_all()
    running.complete()
    yield running
    stop_serving(running.config, "docs")


def test_answers_are_flagged_while_a_machine_is_gone_and_wait_for_a_gateway(
    narrow: Nodes, shards: Path, encoder: Encoder, settings: ServeSettings
) -> None:
    version, _ = serve_on_cluster(
        shards, narrow.config, settings, name="docs", replicas=1, timeout_s=3
    )
    whole = expected(shards, encoder)
    assert hits(ask(settings)) == whole
    [gateway] = replicas("gateway")
    nodes = {shard: node_of(replicas(shard)[0]) for shard in SHARDS}
    [lost, *_] = [
        shard
        for shard, node in nodes.items()
        if node in narrow.daemons and node != node_of(gateway)
    ]
    names = {doc_id for doc_id, _ in whole if shard_of(doc_id, 2) != SHARDS.index(lost)}

    with clients(settings) as answers:
        assert within(10, lambda: len(answers) > 10)
        narrow.kill_daemon(nodes[lost])
        assert within(20, lambda: NO_ROOM in said(answers[-1], lost)), said(answers[-1], lost)
        n_before, start = len(answers), time.monotonic()
        assert within(10, lambda: len(answers) >= n_before + 30)
        assert time.monotonic() - start < 6  # ten answers of each client, which wait for no shard
        narrow.complete()
        assert within(40, lambda: running_replicas(version, lost) == 1, every=0.2)
        returned = time.monotonic()
        assert within(10, lambda: not failures(answers[-6:]))
        assert time.monotonic() - returned < 5
    for answer in answers:
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert body["is_complete"] == ("missing" not in body)
        if not body["is_complete"]:
            assert list(body["missing"]) == [lost]
            assert names <= {hit["id"] for hit in body["results"][0]["hits"]}
    assert hits(ask(settings)) == whole

    with clients(settings) as answers:
        assert within(10, lambda: len(answers) > 10)
        os.kill(gateway, signal.SIGKILL)
        n_before = len(answers)
        assert within(30, lambda: len(answers) > n_before + 20 and not failures(answers[-6:]))
    lost_answers = [answer for answer in answers if answer.status_code != 200]
    assert len(lost_answers) <= 3  # those that it had: one of each client
    assert all(answer.status_code in (500, 503) for answer in lost_answers)
    assert not failures([answer for answer in answers if answer.status_code == 200])
    assert hits(ask(settings)) == whole


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


def test_one_process_serves_at_a_time(nodes: Nodes, shards: Path, settings: ServeSettings) -> None:
    connected(nodes.config.address)
    for _ in range(2):  # a claim ends with its block
        fault = pytest.raises(UnavailableError, match="'docs': another process serves shards")
        with claimed("serving", "held"), fault:
            serve_on_cluster(shards, nodes.config, settings, name="docs")
