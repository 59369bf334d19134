"""Documents of a server's index are changed through RemoteIndex, and through shards that servers have."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import unit_rows
from service.conftest import MakeServer, RunningServer

from colmodern import (
    Collection,
    EmbeddingStore,
    Encoder,
    ExactIndex,
    PlaidIndex,
    RemoteIndex,
    ShardedIndex,
    TokenEmbeddings,
    shard_index,
    shard_of,
)
from colmodern.errors import InputError, UnavailableError

DIM = 24
DOCUMENTS = unit_rows([4, 1, 9, 3, 30, 2, 7] * 12, dim=DIM, seed=5)
NAMES = [f"d {i}/ü" for i in range(84)]
FIELDS = [{"year": 1990 + i % 20, "tags": ["a", "b"][: i % 3]} for i in range(84)]
MORE = unit_rows([5, 2, 8, 1, 6, 3], dim=DIM, seed=7)
MORE_NAMES = [f"more {i}" for i in range(6)]
MORE_FIELDS = [{"year": 2030, "tags": ["a", "c"]}] * 6
QUERIES = unit_rows([3, 32, 1], dim=DIM, seed=6)
EVERYTHING = {"nprobe": 1 << 20, "n_candidates": 1 << 20}
TEXTS = ["Sort a list of names.", "Open a file and read it.", "Parse a date.", "Join two lists."]
TEXT_NAMES = ["sort", "open", "parse", "join"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("changed")
    PlaidIndex.build(DOCUMENTS, folder / "whole", NAMES, fields=FIELDS).close()
    shard_index(folder / "whole", folder / "shards", 2)
    return folder


@pytest.fixture
def folder(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture
def server(make_server: MakeServer, folder: Path) -> RunningServer:
    shards = folder / "shards"
    indexes = {"docs": str(folder / "whole"), "a": str(shards / "shard-00000")}
    return make_server(indexes={**indexes, "b": str(shards / "shard-00001")})


@pytest.fixture
def remote(server: RunningServer) -> RemoteIndex:
    return RemoteIndex(server.url, "docs", timeout_s=60)


@pytest.fixture
def sharded(server: RunningServer) -> ShardedIndex:
    shards = {name: RemoteIndex(server.url, name, timeout_s=60) for name in ("a", "b")}
    return ShardedIndex(shards, is_hashed=True)


def change(index: Any) -> None:
    """Every change of documents, as any index takes it."""
    index.add(MORE[:4], MORE_NAMES[:4], fields=MORE_FIELDS[:4])
    index.update(MORE, MORE_NAMES, fields=MORE_FIELDS)
    assert index.delete([*NAMES[::9], MORE_NAMES[1], MORE_NAMES[1]]) == 11


def expect_alike(changed: Any, local: Any) -> None:
    for query in QUERIES:
        assert changed.search(query, 60, **EVERYTHING) == local.search(query, 60, **EVERYTHING)
        for condition in ({"year": 2030}, {"tags": "c"}, {"tags": "b"}):
            options: dict[str, Any] = {"filter": condition, **EVERYTHING}
            assert changed.search(query, 60, **options) == local.search(query, 60, **options)


@pytest.mark.parametrize("name", ["remote", "sharded"])
def test_changes_give_what_they_give_here(
    name: str, request: pytest.FixtureRequest, built: Path, tmp_path: Path
) -> None:
    index = request.getfixturevalue(name)
    shutil.copytree(built / "whole", tmp_path / "local")
    local = PlaidIndex.load(tmp_path / "local")
    version = index.version
    for each in (index, local):
        change(each)
    assert index.n_docs == local.n_docs == 79
    assert index.version != version
    expect_alike(index, local)
    assert index.known_ids([*NAMES[:3], "none"]) == NAMES[1:3] if name == "remote" else True


def test_each_document_goes_to_the_shard_of_its_id(
    sharded: ShardedIndex, server: RunningServer, folder: Path
) -> None:
    sharded.add(MORE, MORE_NAMES)
    for number, name in enumerate("ab"):
        own = {doc_id for doc_id in MORE_NAMES if shard_of(doc_id, 2) == number}
        assert own
        assert set(RemoteIndex(server.url, name).known_ids(MORE_NAMES)) == own
    server.close()
    ShardedIndex.check(folder / "shards")
    assert set(MORE_NAMES) < set(ShardedIndex.load(folder / "shards").doc_ids)


def test_many_documents_go_in_several_requests(
    remote: RemoteIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("colmodern.index.remote.changes._DOCUMENTS", 2)
    monkeypatch.setattr("colmodern.index.remote.changes._VALUES", 8 * DIM)
    store = EmbeddingStore.write(tmp_path / "more", MORE, MORE_NAMES)
    remote.add(store)
    assert remote.known_ids(MORE_NAMES) == MORE_NAMES
    more = unit_rows([2, 2, 2, 2, 2, 2], dim=DIM, seed=8)
    ids = ["n0", "n1", "n2", "n3", MORE_NAMES[0], "n5"]
    with pytest.raises(InputError, match=r"'more 0' .*the 4 documents before have the change"):
        remote.add(more, ids)
    assert remote.known_ids(ids) == ["n0", "n1", "n2", "n3", MORE_NAMES[0]]
    remote.update(more, ids)
    assert len(remote.known_ids(ids)) == 6


def test_many_documents_are_deleted_in_several_requests(
    remote: RemoteIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("colmodern.index.remote.changes._DOCUMENTS", 3)
    with pytest.raises(InputError, match="document 'none' is not in the index; leave its id out"):
        remote.delete([*NAMES[:7], "none"])
    assert remote.known_ids(NAMES) == NAMES
    assert remote.delete(NAMES[:7]) == 7
    assert remote.known_ids(NAMES) == NAMES[7:]


def test_a_deletion_that_fails_half_way_says_how_far_it_came(
    remote: RemoteIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("colmodern.index.remote.changes._DOCUMENTS", 3)
    monkeypatch.setattr(remote, "known_ids", list)  # as if another client deleted one meanwhile
    message = r"no document 'none'.*; the 6 documents before are deleted already: delete\(\)"
    with pytest.raises(InputError, match=message):
        remote.delete([*NAMES[:7], "none"])
    monkeypatch.undo()
    assert remote.known_ids(NAMES) == NAMES[6:]


def test_what_does_not_fit_is_refused_before_anything_changes(
    remote: RemoteIndex, sharded: ShardedIndex, built: Path
) -> None:
    narrow = unit_rows([2], dim=16, seed=1)
    foreign = TokenEmbeddings(MORE.values, MORE.offsets, fingerprint="f" * 64)
    empty = TokenEmbeddings(np.zeros((0, DIM), np.float32), np.array([0, 0]))
    cases: list[tuple[Any, str]] = [
        (lambda i: i.add(MORE, [*MORE_NAMES[:5], NAMES[0]]), r"'d 0/ü' is .*use update"),
        (lambda i: i.add(MORE, [*MORE_NAMES[:5], "more 0"]), "more 0"),
        (lambda i: i.add(MORE), "doc_ids is missing"),
        (lambda i: i.update(MORE), "doc_ids is missing"),
        (lambda i: i.update(MORE, MORE_NAMES[:2]), "doc_ids has 2"),
        (lambda i: i.update(narrow, ["x"]), "dim=16"),
        (lambda i: i.update(empty, ["x"]), "no tokens"),
        (lambda i: i.update(MORE, MORE_NAMES, fields=[{}]), "fields has 1"),
        (lambda i: i.update([[0.1] * DIM], ["x"]), "TokenEmbeddings"),
        (lambda i: i.delete(["none", NAMES[0]]), "'none'"),
        (lambda i: i.delete("d"), "doc_ids"),
        (lambda i: i.delete([3]), "not strings"),
        (lambda i: i.update_texts(["x"], []), "for"),
        (lambda i: i.update_texts(["x", "y"], ["1", "2"], titles=["z"]), "titles has 1"),
        (lambda i: i.update_texts("xy", ["1", "2"]), "texts"),
        (lambda i: i.update_texts(["x"], ["1"]), "does not name the model"),
    ]
    assert foreign.fingerprint is not None  # an index without one takes it, as here
    before = remote.version, sharded.version
    for index in (remote, sharded):
        for call, message in cases:
            with pytest.raises(InputError, match=message):
                call(index)
    assert (remote.version, sharded.version) == before


def test_documents_without_tokens_are_refused_before_any_shard_changes(
    sharded: ShardedIndex, folder: Path
) -> None:
    ours, theirs = (
        next(name for name in MORE_NAMES if shard_of(name, 2) == number) for number in range(2)
    )
    values = np.eye(1, DIM, dtype=np.float32)
    some = TokenEmbeddings(values, np.array([0, 1, 1]))
    local = PlaidIndex.load(folder / "shards" / "shard-00000")
    for first in (sharded.shards["a"], local):
        index = ShardedIndex({"a": first, "b": sharded.shards["b"]}, is_hashed=True)
        version = index.version
        with pytest.raises(InputError, match=rf"document '{theirs}' has no tokens"):
            index.update(some, [ours, theirs])
        assert index.version == version
    index.update(some, [theirs, ours])  # an index of this machine takes them
    assert index.n_docs == len(NAMES) + 2


def test_read_only_servers_refuse(make_server: MakeServer, folder: Path) -> None:
    shards = folder / "shards"
    writable = make_server(indexes={"docs": str(shards / "shard-00000")})
    fixed = make_server(indexes={"docs": str(shards / "shard-00001")}, read_only=True)
    remote = RemoteIndex(fixed.url, "docs")
    assert remote.read_only
    assert not RemoteIndex(writable.url, "docs").read_only
    for call in (
        lambda: remote.add(MORE, MORE_NAMES),
        lambda: remote.update(MORE, MORE_NAMES),
        lambda: remote.update_texts(["x"], ["x"]),
        lambda: remote.delete(remote.known_ids(NAMES)[:1]),
    ):
        with pytest.raises(InputError, match=r"does not change indexes; .*read_only"):
            call()
    sharded = ShardedIndex(
        {"a": RemoteIndex(writable.url, "docs"), "b": remote}, is_hashed=True, timeout_s=60
    )
    version = sharded.version
    for change_shards in (
        lambda: sharded.update(MORE, MORE_NAMES),
        lambda: sharded.delete(NAMES[:9]),
        lambda: sharded.update_texts(["x"], ["x"]),
    ):
        with pytest.raises(InputError, match="shard b is served with read_only"):
            change_shards()
    assert sharded.version == version


def test_other_kinds_of_shards_say_what_they_do_not_take(
    sharded: ShardedIndex, folder: Path
) -> None:
    exact = ShardedIndex({"a": sharded.shards["a"], "e": ExactIndex(MORE, MORE_NAMES)})
    exact.is_hashed = True
    with pytest.raises(InputError, match="shard e is of the kind ExactIndex, which cannot be chan"):
        exact.update(MORE, MORE_NAMES)
    second = PlaidIndex.load(folder / "shards" / "shard-00001")
    mixed = ShardedIndex({"a": sharded.shards["a"], "b": second}, is_hashed=True)
    mixed.add(MORE, MORE_NAMES, durable=False)  # a local shard beside a remote one
    assert mixed.delete(MORE_NAMES[:2]) == 2
    with pytest.raises(InputError, match="shard b is of the kind PlaidIndex, which takes no texts"):
        mixed.add_texts(["x"], ["x"])
    assert not sharded.refresh()


@pytest.fixture
def collections(make_server: MakeServer, encoder: Encoder, tmp_path: Path) -> RunningServer:
    for name in ("a", "b"):
        Collection.create(tmp_path / name, encoder).close()
    return make_server(indexes={name: str(tmp_path / name) for name in ("a", "b")})


def test_texts_go_to_the_collections_of_their_ids(
    collections: RunningServer, encoder: Encoder, tmp_path: Path
) -> None:
    shards = {name: RemoteIndex(collections.url, name, timeout_s=60) for name in ("a", "b")}
    index = ShardedIndex(shards, is_hashed=True)
    with pytest.raises(InputError, match=r"texts\[3\] is 7; pass a text"):
        index.add_texts([*TEXTS[:3], 7], TEXT_NAMES)  # type: ignore[list-item]
    assert index.n_docs == 0
    index.add_texts(TEXTS, TEXT_NAMES, titles=["t"] * 4, fields=[{"n": i} for i in range(4)])
    [query] = encoder.encode_queries(["parse a date"])
    assert index.search(query, 1)[0].doc_id == "parse"
    with pytest.raises(InputError, match=r"document 'join' is in shard . already"):
        index.add_texts(["new", "other"], ["new", "join"])
    with pytest.raises(InputError, match="'join' is"):
        shards["ab"[shard_of("join", 2)]].add_texts(["other"], ["join"])
    index.update_texts(["Boil the pasta.", "Parse a date, again."], ["pasta", "parse"])
    assert index.n_docs == 5
    assert index.delete(["sort"]) == 1
    with pytest.raises(InputError, match="send its text alone"):
        shards["a"].update(encoder.encode_documents(["x"]), ["x"])
    for number, name in enumerate("ab"):
        collection = Collection.open(tmp_path / name, read_only=True)
        for doc_id in ("pasta", "parse", "open", "join"):
            assert (doc_id in collection) == (shard_of(doc_id, 2) == number)
            if doc_id == "open" and doc_id in collection:
                document = collection[doc_id]
                assert (document.title, document.fields) == ("t", {"n": 1})


def test_a_change_without_an_answer_may_have_been_made() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        index = RemoteIndex(f"http://127.0.0.1:{silent.getsockname()[1]}", "docs", timeout_s=0.2)
        doubt = r"did not answer within 0\.2 s; the change may have been made: look before"
        with pytest.raises(UnavailableError, match=doubt):
            index.delete(["x"])
        with pytest.raises(UnavailableError, match=doubt):
            index.update_texts(["x"], ["x"])
        with pytest.raises(UnavailableError, match=r"did not answer within 0\.2 s; raise"):
            index.known_ids(["x"])


def test_a_change_that_cannot_be_sent_is_unavailable(
    server: RunningServer, remote: RemoteIndex, sharded: ShardedIndex
) -> None:
    assert remote.dim == DIM
    server.close()
    with pytest.raises(UnavailableError, match=r"cannot be reached \(.*\); check"):
        remote.delete([NAMES[0]])
    with pytest.raises(UnavailableError, match="cannot be reached"):
        remote.update(MORE, MORE_NAMES)
    for change_shards in (
        lambda: sharded.update(MORE, MORE_NAMES),
        lambda: sharded.delete(NAMES),
    ):
        with pytest.raises(UnavailableError, match=r"^shard a: .* cannot be reached"):
            change_shards()
    remote.close()
    for call in (lambda: remote.delete(["x"]), lambda: remote.known_ids(["x"])):
        with pytest.raises(InputError, match="the index is closed"):
            call()
