"""The index of a gateway, whose shards answer, are lost and come back, without Ray between them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from threading import Event, Timer
from types import SimpleNamespace

import pytest
from service.asking import answer, expect_error, hits_of, search
from service.conftest import MakeServer, RunningServer

from colmodern import RemoteIndex, ShardedIndex
from colmodern.cluster.fault_log import FaultLog
from colmodern.cluster.holder import ShardHolder
from colmodern.cluster.replicas import VersionIndex
from colmodern.cluster.room import Resources
from colmodern.cluster.search import HeldIndex, raised_there
from colmodern.encoder.encoder import Encoder
from colmodern.errors import ColmodernError, StorageError, UnavailableError, WorkerError
from colmodern.service.gateway import ClusterIndex
from colmodern.service.index_bodies import IndexAnswer, LookupAnswer

N_DOCS = 12


class Versions:
    """Versions of a folder of shards, each in processes of this machine that can be taken away.

    Attributes:
        newest: The newest version.
        faults: What a shard of a version raises instead of answering, by version and shard.
        faults_of_facts: What a shard raises that answers searches alone, by shard.
        tells: Shards say something of themselves once it is set.
        asked: The methods that shards were asked for.
    """

    def __init__(self, folder: Path) -> None:
        self.newest = "docs.000001"
        self.faults: dict[tuple[str, str], Exception] = {}
        self.faults_of_facts: dict[str, Exception] = {}
        self.tells = Event()
        self.tells.set()
        self.asked: list[str] = []
        self._holders = {path.name: ShardHolder(path, None, 1) for path in folder.glob("shard-*")}
        for holder in self._holders.values():
            holder.check_health()

    def open(
        self, app: str, resources: Resources, *, timeout_s: float, allow_partial: bool
    ) -> VersionIndex:
        """As ``open_version``."""
        shards = {name: HeldIndex(name, self._asker(app, name)) for name in sorted(self._holders)}
        return VersionIndex(
            shards, is_hashed=True, timeout_s=timeout_s, allow_partial=allow_partial
        )

    def _asker(self, app: str, name: str) -> Callable[..., object]:
        def ask(
            method: str, arguments: tuple[object, ...], options: dict[str, object], _: float | None
        ) -> object:
            self.asked.append(method)
            if (fault := self.faults.get((app, name))) is not None:
                raise fault
            if method in ("n_docs", "version", "info"):
                self.tells.wait(30)
                if name in self.faults_of_facts:
                    raise self.faults_of_facts[name]
            return self._holders[name].ask(method, arguments, options)

        return ask


@pytest.fixture
def versions(tmp_path: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> Versions:
    texts = [f"document {number} of a few" for number in range(N_DOCS)]
    ids = [f"d{number}" for number in range(N_DOCS)]
    ShardedIndex.build(encoder.encode_documents(texts), tmp_path / "shards", 2, ids).close()
    versions = Versions(tmp_path / "shards")
    monkeypatch.setattr("colmodern.service.gateway.newest_version", lambda name: versions.newest)
    monkeypatch.setattr("colmodern.service.gateway.open_version", versions.open)
    log = logging.getLogger("colmodern.cluster.replicas")
    monkeypatch.setattr("colmodern.cluster.replicas._faults", FaultLog(log))
    return versions


@pytest.fixture
def index(versions: Versions, encoder: Encoder) -> ClusterIndex:
    return ClusterIndex("docs", encoder, 5.0, Resources(1))


@pytest.fixture
def server(index: ClusterIndex, make_server: MakeServer) -> RunningServer:
    """A server of the index."""
    server = make_server()
    server.service.indexes["docs"] = index
    return server


def test_a_version_that_lacks_a_shard_does_not_take_the_place_of_a_whole_one(
    versions: Versions, index: ClusterIndex
) -> None:
    before = index.state
    versions.newest = "docs.000002"
    versions.faults["docs.000002", "shard-00001"] = UnavailableError("shard-00001 is gone")
    with pytest.raises(UnavailableError, match=r"docs\.000002 lacks a shard"):
        index.change_over("docs.000002", 0)
    assert index.state is before
    assert not index.refresh()
    assert index.fault is not None
    assert "docs.000002 lacks a shard" in index.fault
    assert index.state is before

    versions.faults.clear()
    assert index.refresh()
    assert index.fault is None
    assert index.state is not before
    index.change_over("docs.000002", 0)


def test_a_gateway_begins_with_a_version_that_lacks_a_shard_until_it_is_back(
    versions: Versions, encoder: Encoder
) -> None:
    versions.faults["docs.000001", "shard-00001"] = UnavailableError("shard-00001 is gone")
    index = ClusterIndex("docs", encoder, 5.0, Resources(1))
    partial = index.state
    index.refresh()
    assert index.state is partial
    versions.faults.clear()
    index.refresh()
    assert index.state.n_docs == N_DOCS


def test_a_gateway_warns_of_a_version_that_another_model_encoded(
    versions: Versions, encoder: Encoder, caplog: pytest.LogCaptureFixture
) -> None:
    ClusterIndex("docs", encoder, 5.0, Resources(1))
    assert not caplog.records
    other = Encoder.from_pretrained("colmodern/tiny", device="cpu", document_length=16)
    index = ClusterIndex("docs", other, 5.0, Resources(1))
    versions.newest = "docs.000002"
    index.refresh()
    warning = (
        "index 'docs' takes no texts: the index was built with another model, or other settings"
    )
    assert [record.getMessage().startswith(warning) for record in caplog.records] == [True, True]


def test_facts_of_some_shards_say_so_until_all_of_them_answer(
    versions: Versions, encoder: Encoder, make_server: MakeServer
) -> None:
    server = make_server()
    versions.faults_of_facts["shard-00001"] = UnavailableError("shard-00001 is slow")
    index = server.service.indexes["docs"] = ClusterIndex("docs", encoder, 5.0, Resources(1))
    assert search(server, queries=["a document"])["is_complete"]

    def described() -> tuple[list[bool], list[int]]:
        [summary] = server.client.get("/v1/indexes").json()["indexes"]
        facts = answer(server.client.get("/v1/indexes/docs"), IndexAnswer)
        both = (summary, facts)
        return [each["is_complete"] for each in both], [each["documents"] for each in both]

    flags, counts = described()
    assert flags == [False, False]
    assert max(counts) < N_DOCS
    index.refresh()
    assert described()[0] == [False, False]
    versions.faults_of_facts.clear()
    index.refresh()
    assert described() == ([True, True], [N_DOCS, N_DOCS])
    versions.faults_of_facts["shard-00001"] = UnavailableError("shard-00001 is slow")
    assert described()[0] == [True, False]


def test_facts_of_a_version_may_take_longer_than_its_searches(
    versions: Versions, encoder: Encoder
) -> None:
    versions.tells.clear()
    told = Timer(0.1, versions.tells.set)
    told.start()
    index = ClusterIndex("docs", encoder, 0.01, Resources(1))
    told.join()
    assert index.state.is_complete
    assert index.state.n_docs == N_DOCS


def test_a_remote_index_refuses_the_counts_of_some_shards(
    versions: Versions, index: ClusterIndex, server: RunningServer
) -> None:
    remote = RemoteIndex(server.url, "docs", timeout_s=60)
    uses: list[Callable[[], object]] = [
        lambda: len(remote),
        lambda: remote.version,
        lambda: remote.info()["documents"],
    ]
    assert [use() for use in uses] == [N_DOCS, index.version, N_DOCS]
    versions.faults_of_facts["shard-00001"] = UnavailableError("shard-00001 is slow")
    for use in uses:
        with pytest.raises(UnavailableError, match="counts only the shards that answer"):
            use()
    assert remote.dim == index.state.dim


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (UnavailableError("shard-00001 is gone"), "shard-00001 is gone"),
        (StorageError("/srv/shards/codes.npy is damaged"), "it failed; see the server's log"),
        (OSError("/srv/shards/codes.npy"), "it failed; see the server's log"),
        (
            raised_there(
                SimpleNamespace(cause=OSError("/srv/shards")), "shard-00001", failed=WorkerError
            ),
            "it failed; see the server's log",
        ),
    ],
)
def test_answers_name_a_shard_that_failed_and_the_log_has_the_error(
    fault: Exception,
    reason: str,
    versions: Versions,
    server: RunningServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    versions.faults["docs.000001", "shard-00001"] = fault
    for _ in range(3):
        assert search(server, queries=["a document"])["missing"] == {"shard-00001": reason}
    lines = [record for record in caplog.records if "shard-00001" in record.getMessage()]
    assert len(lines) == ("/srv" in str(fault))
    assert all("/srv" in line.getMessage() for line in lines)
    is_foreseen = isinstance(fault, ColmodernError)
    assert ("Traceback" in caplog.text) != is_foreseen
    assert len(hits_of(server, queries=["a document"], k=20)) < N_DOCS


def test_an_answer_names_the_shards_where_none_answers(
    versions: Versions, server: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    versions.faults["docs.000001", "shard-00000"] = UnavailableError("shard-00000 is gone")
    versions.faults["docs.000001", "shard-00001"] = StorageError("/srv/shards is damaged")
    refused = server.client.post("/v1/indexes/docs/search", json={"queries": ["a document"]})
    expect_error(refused, 503, "index_unavailable", "shard-00000: shard-00000 is gone; shard-00001")
    assert refused.json()["error"]["cure"] == "search again when they do"
    assert "/srv" not in refused.text
    assert "/srv/shards is damaged" in caplog.text
    assert "Traceback" not in caplog.text


def test_faults_of_a_version_are_for_the_log(versions: Versions, index: ClusterIndex) -> None:
    versions.newest = "docs.000002"
    for shard in ("shard-00000", "shard-00001"):
        versions.faults["docs.000002", shard] = StorageError("/srv/shards is damaged")
    assert not index.refresh()
    assert index.fault is not None
    assert "/srv" not in index.fault


def test_shards_are_asked_once_for_all_ids(versions: Versions, server: RunningServer) -> None:
    ids = [f"d{number}" for number in range(N_DOCS, -1, -1)]
    versions.asked.clear()
    looked_up = server.client.post("/v1/indexes/docs/lookup", json={"ids": ids})
    assert answer(looked_up, LookupAnswer)["ids"] == ids[1:]
    assert versions.asked == ["known_ids"] * 2
    query = {"queries": ["a document"], "filter": [f"none {number}" for number in range(9)]}
    versions.asked.clear()
    refused = server.client.post("/v1/indexes/docs/search", json=query)
    expect_error(refused, 422, "invalid_value", "filter has 9 ids")
    assert sorted(versions.asked) == ["known_ids", "known_ids", "search", "search"]
    versions.faults["docs.000001", "shard-00001"] = StorageError("/srv/shards is damaged")
    failed = server.client.post("/v1/indexes/docs/lookup", json={"ids": ids})
    expect_error(failed, 503, "index_unavailable")
    assert "/srv" not in failed.text
