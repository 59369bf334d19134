"""Splitting an index into shards, which are there as a whole or not at all."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from index.plaid.corpora import corpus, digests, lengths_like_passages, names

from colmodern import PlaidIndex, ShardedIndex, TokenEmbeddings, TokenSpans, shard_index
from colmodern.errors import InputError, StorageError
from colmodern.index.plaid.write.build import build_index
from colmodern.index.sharded import split
from colmodern.ragged.store import EmbeddingStore
from colmodern.writer_lock import LockedError, writer_lock

DOCUMENTS = corpus(lengths_like_passages(120))
IDS = names(120)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("split") / "i"
    PlaidIndex.build(DOCUMENTS, path, IDS)
    return path


def test_the_same_index_gives_the_same_bytes(index: Path, tmp_path: Path) -> None:
    shard_index(index, tmp_path / "a", 4)
    shard_index(index, tmp_path / "b", 4)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    ShardedIndex.check(tmp_path / "a")


def test_more_shards_than_documents_leave_some_empty(index: Path, tmp_path: Path) -> None:
    small = PlaidIndex.build(DOCUMENTS[:3], tmp_path / "i", IDS[:3])
    shard_index(small.path, tmp_path / "s", 9)
    several = ShardedIndex.load(tmp_path / "s")
    assert several.n_docs == 3
    assert several.search(DOCUMENTS[1], 5) == small.search(DOCUMENTS[1], 5)
    several.add(DOCUMENTS[3:50], IDS[3:50])
    assert several.n_docs == 50
    ShardedIndex.check(tmp_path / "s")


def test_spans_come_along(tmp_path: Path) -> None:
    bounds = [np.arange(n)[:, None] * 3 + [0, 2] for n in DOCUMENTS.lengths]
    spans = TokenSpans.from_bounds(np.concatenate(bounds).astype(np.int64), DOCUMENTS.offsets)
    documents = TokenEmbeddings(
        DOCUMENTS.values, DOCUMENTS.offsets, DOCUMENTS.token_ids, spans=spans
    )
    one = PlaidIndex.build(documents, tmp_path / "i", IDS)
    shard_index(one.path, tmp_path / "s", 3)
    several = ShardedIndex.load(tmp_path / "s")
    assert several.has_spans
    results = several.search(DOCUMENTS[5], 5, spans=True)
    expected = one.search(DOCUMENTS[5], 5, spans=True)
    assert [hit.spans for hit in results] == [hit.spans for hit in expected]  # type: ignore[attr-defined]
    assert results[0].spans  # type: ignore[attr-defined]


def test_wrong_arguments_are_refused(index: Path, tmp_path: Path) -> None:
    for n_shards in (0, -1, 1.5, "3", None, 10_001):
        with pytest.raises(InputError, match=r"^n_shards="):
            shard_index(index, tmp_path / "s", n_shards)  # type: ignore[arg-type]
    with pytest.raises(StorageError, match="there is no index"):
        shard_index(tmp_path / "none", tmp_path / "s", 3)
    (tmp_path / "taken").mkdir()
    with pytest.raises(StorageError, match="taken exists; choose another folder"):
        shard_index(index, tmp_path / "taken", 3)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_two_at_once_are_refused(index: Path, tmp_path: Path) -> None:
    work = tmp_path / ".s.sharding"
    work.mkdir()
    with writer_lock(work), pytest.raises(LockedError):
        shard_index(index, tmp_path / "s", 3)


def test_an_interrupted_run_is_resumed_and_finished_shards_are_not_made_again(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard_index(index, tmp_path / "whole", 4)
    write, made = split._write_shard, []

    def fail_at_third(folder: Path, *arguments: object) -> None:
        made.append(folder.name)
        if len(made) == 3:
            raise KeyboardInterrupt
        write(folder, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(split, "_write_shard", fail_at_third)
    with pytest.raises(KeyboardInterrupt):
        shard_index(index, tmp_path / "s", 4)
    with pytest.raises(StorageError, match="is unfinished; run the same command again to resume"):
        ShardedIndex.load(tmp_path / "s")
    damaged = tmp_path / ".s.sharding" / "shards" / "shard-00001" / "manifest.json"
    damaged.write_text(damaged.read_text().replace("seed", "seeD"))
    shard_index(index, tmp_path / "s", 4)
    assert len(made) == 3 + 3  # the damaged shard, the third and the fourth
    assert digests(tmp_path / "s") == digests(tmp_path / "whole")


def test_another_index_is_not_mixed_with_what_an_interrupted_run_left(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = PlaidIndex.build(DOCUMENTS[:50], tmp_path / "i", IDS[:50], seed=3)
    shard_index(other.path, tmp_path / "whole", 3)
    with monkeypatch.context() as patch:
        patch.setattr(split, "write_shards_manifest", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            shard_index(index, tmp_path / "s", 3)
    shard_index(other.path, tmp_path / "s", 3)
    assert digests(tmp_path / "s") == digests(tmp_path / "whole")


def test_a_damaged_manifest_is_refused_by_name(index: Path, tmp_path: Path) -> None:
    shard_index(index, tmp_path / "s", 2)
    path = tmp_path / "s" / "shards.json"
    good = json.loads(path.read_text())
    faults = {
        "differs from its checksum": {**good, "codec": "0" * 64},
        "has format='x'": {**good, "format": "x"},
        "has version=9; this colmodern reads version 1": {**good, "version": 9},
        "holds list, not an object": [],
    }
    for message, content in faults.items():
        path.write_text(json.dumps(content))
        with pytest.raises(StorageError, match=message):
            ShardedIndex.load(tmp_path / "s")
    path.unlink()
    with pytest.raises(StorageError, match=r"holds no shards: there is no shards\.json in it"):
        ShardedIndex.load(tmp_path / "s")
    with pytest.raises(StorageError, match="there is no folder"):
        ShardedIndex.load(tmp_path / "none")


SCRIPT = """
import os, sys, threading, time
from colmodern import shard_index
index, folder, delay = sys.argv[1], sys.argv[2], float(sys.argv[3])
def kill():
    time.sleep(delay)
    os.kill(os.getpid(), 9)
import colmodern.index.sharded.split
if delay >= 0:
    threading.Thread(target=kill, daemon=True).start()
shard_index(index, folder, 6)
"""


@pytest.mark.slow
def test_killed_at_any_moment_there_are_all_shards_or_none(index: Path, tmp_path: Path) -> None:
    shard_index(index, tmp_path / "whole", 6)
    whole, outcomes = digests(tmp_path / "whole"), []
    for attempt in range(6):
        folder = tmp_path / f"s{attempt}"
        for part in range(8):
            delay = 0.01 + 0.03 * attempt + 0.05 * part
            command = [sys.executable, "-c", SCRIPT, str(index), str(folder), str(delay)]
            code = subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode
            if folder.exists():
                assert digests(folder) == whole
                outcomes.append(code)
                break
            assert code == -signal.SIGKILL
            outcomes.append("nothing")
            with pytest.raises(StorageError):
                ShardedIndex.load(folder)
        if not folder.exists():
            shard_index(index, folder, 6)
        assert digests(folder) == whole
        shutil.rmtree(folder)
    assert "nothing" in outcomes


def test_shards_are_built_of_embeddings_and_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = EmbeddingStore.write(tmp_path / "store", DOCUMENTS, IDS)
    whole = PlaidIndex.build(store, tmp_path / "whole", nbits=2)
    shard_index(whole.path, tmp_path / "expected", 3)
    builds: list[object] = []
    build = build_index

    def count(*arguments: Any, **options: Any) -> None:
        builds.append(arguments)
        build(*arguments, **options)

    monkeypatch.setattr("colmodern.index.plaid.index.build_index", count)
    with monkeypatch.context() as patch:
        patch.setattr(split, "_write_shard", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            ShardedIndex.build(tmp_path / "store", tmp_path / "s", 3, nbits=2)
    several = ShardedIndex.build(tmp_path / "store", tmp_path / "s", 3, nbits=2)
    assert len(builds) == 1
    assert several.n_docs == 120
    assert digests(tmp_path / "s") == digests(tmp_path / "expected")
    with pytest.raises(StorageError, match="s holds shards already"):
        ShardedIndex.build(tmp_path / "store", tmp_path / "s", 3)
    in_memory = ShardedIndex.build(DOCUMENTS, tmp_path / "m", 2, IDS)
    assert in_memory.search(DOCUMENTS[1], 1)[0].doc_id == "d1"
    with pytest.raises(InputError, match="nbits=3; choose"):
        ShardedIndex.build(DOCUMENTS, tmp_path / "n", 2, IDS, nbits=3)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["expected", "m", "s", "store", "whole"]
