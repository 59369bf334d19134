"""A served index without HTTP: its states, its one writer, and what others do to its folder."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from colmodern import Collection, Encoder, PlaidIndex, ShardedIndex, StoredDocument, TokenEmbeddings
from colmodern.errors import InputError, StorageError
from colmodern.service.served import ServedIndex
from colmodern.service.served_state import ServedState
from colmodern.writer_lock import LockedError, writer_lock

TEXTS = {"a": "a file on a disk", "b": "salt and water", "c": "another name"}


@pytest.fixture
def folder(tmp_path: Path, encoder: Encoder) -> Path:
    with Collection.create(tmp_path / "c", encoder) as collection:
        collection.add(TEXTS)
    return tmp_path / "c"


@pytest.fixture
def served(folder: Path, encoder: Encoder) -> ServedIndex:
    return ServedIndex("docs", folder, encoder)


def update(
    served: ServedIndex, encoder: Encoder, *, seconds: float = 5.0, **texts: str
) -> ServedState:
    documents = [StoredDocument(doc_id, text) for doc_id, text in texts.items()]
    embeddings = encoder.encode_documents(
        served.state.model_texts(documents), spans=served.state.has_spans
    )
    return served.put(documents, embeddings, seconds=seconds)


def ids(state: ServedState, encoder: Encoder, query: str = "file") -> list[str]:
    [hits] = state.search(encoder.encode_queries([query]), 100)
    return [hit.doc_id for hit in hits]


def test_a_state_stays_as_it_was(served: ServedIndex, encoder: Encoder) -> None:
    before = served.state
    after = update(served, encoder, d="more of it", a="changed")
    assert served.state is after
    assert (before.n_docs, after.n_docs) == (3, 4)
    assert before.version != after.version == served.version
    assert sorted(ids(before, encoder)) == ["a", "b", "c"]
    assert sorted(ids(after, encoder)) == ["a", "b", "c", "d"]
    [document, _] = before.document("a") or (None, None)
    assert document is not None
    assert document.text == TEXTS["a"]
    served.close()
    assert sorted(ids(before, encoder)) == ["a", "b", "c"]  # a search that runs goes on
    with pytest.raises(InputError, match="closed"):
        served.state  # noqa: B018


def test_a_failed_change_leaves_everything_as_it_was(
    served: ServedIndex, encoder: Encoder, folder: Path
) -> None:
    before = served.state
    with pytest.raises(InputError, match="is not in the collection"):
        served.delete(["a", "nobody"], seconds=1)
    embeddings = encoder.encode_documents(["x", "y"], spans=True)
    with pytest.raises(InputError, match="2 texts for 1"):
        served.put([StoredDocument("x", "x")], embeddings, seconds=1)
    assert served.state is before
    assert Collection.open(folder).version == before.version


def test_writers_wait_for_each_other(served: ServedIndex, encoder: Encoder) -> None:
    threads = [
        threading.Thread(target=update, args=(served, encoder), kwargs={f"n{i}": f"text {i}"})
        for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert set(ids(served.state, encoder)) == {*TEXTS, "n0", "n1", "n2", "n3"}


def test_a_writer_waits_as_long_as_it_may_for_another_process(
    served: ServedIndex, encoder: Encoder, folder: Path
) -> None:
    release = threading.Event()
    taken = threading.Event()

    def hold() -> None:
        with writer_lock(folder):
            taken.set()
            release.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    taken.wait(60)
    start = time.monotonic()
    with pytest.raises(LockedError):
        update(served, encoder, d="more", seconds=0.3)
    assert 0.25 < time.monotonic() - start < 10
    assert sorted(ids(served.state, encoder)) == ["a", "b", "c"]
    threading.Timer(0.2, release.set).start()
    assert update(served, encoder, d="more", seconds=30).n_docs == 4
    holder.join(60)


def test_refresh_sees_changes_of_others(
    served: ServedIndex, encoder: Encoder, folder: Path
) -> None:
    assert not served.refresh()
    other = Collection.open(folder, encoder=encoder)
    other.update([("d", "more")])
    other.rebuild()
    before = served.state
    assert served.refresh()
    assert not served.refresh()
    assert served.version == other.version != before.version
    assert "d" not in before
    assert sorted(ids(before, encoder)) == ["a", "b", "c"]  # its files are gone from the folder
    assert before.document("a") is not None
    other.delete(["a"])
    assert update(served, encoder, e="a change begins with those of others").n_docs == 4
    assert "a" not in served.state


def test_what_cannot_be_read_leaves_the_index_as_it_was(
    served: ServedIndex, encoder: Encoder, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = folder / "manifest.json"
    whole = manifest.read_bytes()
    for damaged in (b"", b"{}", whole[:100]):
        manifest.write_bytes(damaged)
        caplog.clear()
        for _ in range(3):
            assert not served.refresh()
        assert served.fault
        assert [record.getMessage() for record in caplog.records] == [
            f"index 'docs' stays as it was: {served.fault}"
        ]
        assert sorted(ids(served.state, encoder)) == ["a", "b", "c"]
        with pytest.raises(StorageError):
            update(served, encoder, d="more")
    manifest.write_bytes(whole)
    assert not served.refresh()
    assert served.fault is None
    shutil.rmtree(folder)
    assert not served.refresh()
    assert sorted(ids(served.state, encoder)) == ["a", "b", "c"]


def test_another_collection_in_its_place_is_served_or_refused(
    served: ServedIndex, encoder: Encoder, folder: Path
) -> None:
    shutil.rmtree(folder)
    with Collection.create(folder, encoder) as again:
        again.add({"z": "something else"})
    assert served.refresh()
    assert ids(served.state, encoder) == ["z"]
    assert update(served, encoder, y="more").n_docs == 2
    shutil.rmtree(folder)
    other = encoder.with_settings(document_length=64)
    with Collection.create(folder, other) as again:
        again.add({"z": "something else"})
    assert served.refresh()
    assert not served.state.takes_texts
    with pytest.raises(InputError, match="another encoder"):
        served.put(
            [StoredDocument("y", "more")],
            encoder.encode_documents(["more"], spans=True),
            seconds=1,
        )
    assert list(Collection.open(folder)) == ["z"]


def test_an_index_of_another_model_takes_embeddings_alone(tmp_path: Path, encoder: Encoder) -> None:
    other = encoder.with_settings(document_length=64)
    with Collection.create(tmp_path / "c", other) as collection:
        collection.add(TEXTS)
    PlaidIndex.build(other.encode_documents(TEXTS.values()), tmp_path / "i", list(TEXTS)).close()
    for name in ("c", "i"):
        state = ServedIndex("docs", tmp_path / name, encoder).state
        assert not state.takes_texts
        with pytest.raises(InputError, match=r"another model.*send embeddings"):
            state.expect_texts()
        with pytest.raises(InputError, match="another encoder"):
            state.search(encoder.encode_queries(["file"]), 1)
        values = encoder.encode_queries(["file"])[0]
        [hits] = state.search(TokenEmbeddings.from_list([np.asarray(values)]), 1)
        assert hits[0].doc_id == "a"


def test_read_only_is_read_only(folder: Path, encoder: Encoder) -> None:
    served = ServedIndex("docs", folder, encoder, read_only=True)
    with pytest.raises(InputError, match="read_only"):
        served.delete(["a"], seconds=1)
    assert Collection.open(folder).version == served.version


def test_folders_that_hold_nothing_are_refused(tmp_path: Path, encoder: Encoder) -> None:
    with pytest.raises(StorageError, match=r"there is no folder .*; give a collection or an index"):
        ServedIndex("docs", tmp_path / "nothing", encoder)
    with pytest.raises(StorageError, match="holds no PLAID index"):
        ServedIndex("docs", tmp_path, encoder)
    ShardedIndex.build(encoder.encode_documents(["a", "b"]), tmp_path / "s", 2).close()
    with pytest.raises(StorageError, match=r"index 'docs': .* holds shards; serve them"):
        ServedIndex("docs", tmp_path / "s", encoder)


WRITER = """
import sys
import torch
torch.set_num_threads(1)
from colmodern import Collection
collection = Collection.open(sys.argv[1], device="cpu")
collection.encoder
print("ready", flush=True)
number = 0
while True:
    number += 1
    collection.update([(name, f"round {number} of file {name}") for name in "abc"])
"""


@pytest.mark.slow
def test_a_killed_writer_leaves_a_state_that_is_served(
    served: ServedIndex, encoder: Encoder, folder: Path
) -> None:
    """Other processes write and are killed, while this one searches, refreshes and writes."""
    rng = np.random.default_rng(0)
    for _ in range(4):
        command = [sys.executable, "-c", WRITER, str(folder)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            deadline = time.monotonic() + 0.2 + rng.random()
            while time.monotonic() < deadline:
                served.refresh()
                _expect_one_round(served.state, encoder)
            process.send_signal(signal.SIGKILL)
        served.refresh()
        _expect_one_round(served.state, encoder)
        update(served, encoder, **{name: f"round 0 of file {name}" for name in TEXTS})
        assert _expect_one_round(served.state, encoder) == 0
        Collection.open(folder).check()


def _expect_one_round(state: ServedState, encoder: Encoder) -> int | None:
    [hits] = state.search(encoder.encode_queries(["round of file"]), 10)
    texts: list[Any] = [hit.text for hit in hits]  # type: ignore[union-attr]
    assert len(texts) == 3
    if set(texts) == set(TEXTS.values()):
        return None
    [number] = {int(text.split()[1]) for text in texts}
    return number
