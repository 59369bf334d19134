"""The pipelined loop and several processes against a plain loop: the same bytes."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from colmodern import Encoder
from colmodern.encoding.store import encode_to_store
from colmodern.errors import CheckpointError, ConfigError, StorageError, WorkerError
from colmodern.progress import Silent
from colmodern.ragged.store import EmbeddingStore, ShardWriter

N_TEXTS = 60
TEXTS = [
    (f"d{i}", " ".join(["read the file and sort the list of names"] * (1 + i * 7 % 5)))
    for i in range(N_TEXTS)
]
SHARD_TOKENS = 60


@pytest.fixture(scope="module")
def encoder(pylate_bert: Path) -> Encoder:
    return Encoder.from_pretrained(pylate_bert, overflow="split", overlap=2, pool_factor=2)


# a process takes seconds to load torch
one_or_two = pytest.mark.parametrize(
    "devices",
    [pytest.param((), id="one"), pytest.param(("cpu", "cpu"), id="two", marks=pytest.mark.slow)],
)


class Watch(Silent):
    """Counts texts, and calls something when a number of them is done."""

    def __init__(self, after: int = 1 << 30, do: Callable[[], None] = lambda: None) -> None:
        self.done = 0
        self.after, self.do = after, do
        self.said: list[str] = []

    def start(self, task: str, total: int, *, unit: str, done: int = 0) -> None:
        self.done = done

    def advance(self, n: int) -> None:
        self.done += n
        if self.done >= self.after:
            self.do()

    def note(self, message: str) -> None:
        self.said.append(message)


def encode(
    encoder: Encoder,
    folder: Path,
    devices: tuple[str, ...] = (),
    progress: Watch | None = None,
    texts: Iterable[tuple[str, str]] = TEXTS,
    shard_tokens: int = SHARD_TOKENS,
) -> EmbeddingStore:
    return encode_to_store(
        iter(texts),
        N_TEXTS,
        encoder,
        folder,
        role="document",
        fingerprint="f",
        dtype="float16",
        shard_tokens=shard_tokens,
        progress=progress or Watch(),
        devices=devices,
    )[0]


def checksums(store: EmbeddingStore) -> list[dict[str, str]]:
    return [shard["sha256"] for shard in store.manifest["shards"]]


@pytest.fixture(scope="module")
def plain(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> EmbeddingStore:
    """What a loop without threads writes, cut into the same shards."""
    sizes = [len(text) // 4 + 2 for _, text in TEXTS]
    writer = ShardWriter(tmp_path_factory.mktemp("plain") / "store", fingerprint="f")
    start = 0
    for stop in range(1, N_TEXTS + 1):
        if sum(sizes[start:stop]) >= SHARD_TOKENS or stop == N_TEXTS:
            texts = TEXTS[start:stop]
            rows = encoder.encode_documents([text for _, text in texts])
            writer.add(rows, [text_id for text_id, _ in texts])
            start = stop
    return writer.finish()


def test_the_pipeline_writes_what_a_plain_loop_writes(
    encoder: Encoder, plain: EmbeddingStore, tmp_path: Path
) -> None:
    progress = Watch()
    store = encode(encoder, tmp_path / "store", progress=progress)
    assert len(checksums(store)) > 10
    assert checksums(store) == checksums(plain)
    assert progress.done == N_TEXTS
    assert {path.name[:6] for path in store.folder.iterdir()} == {"manife", "shard-"}


@pytest.mark.parametrize("n", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_several_processes_write_the_same_bytes(
    encoder: Encoder, plain: EmbeddingStore, tmp_path: Path, n: int
) -> None:
    progress = Watch()
    store = encode(encoder, tmp_path / "store", ("cpu",) * n, progress)
    assert checksums(store) == checksums(plain)
    assert store.doc_ids == plain.doc_ids
    assert progress.done == N_TEXTS
    assert {path.name[:6] for path in store.folder.iterdir()} == {"manife", "shard-"}
    one = encode(encoder, tmp_path / "one").manifest["facts"]
    many = store.manifest["facts"]
    timed = {"seconds", "waited_seconds"}
    assert {k: v for k, v in many.items() if k not in timed} == {
        k: v for k, v in one.items() if k not in timed
    }


def test_facts_count_windows_and_pooled_tokens_and_nothing_is_cut(
    encoder: Encoder, tmp_path: Path
) -> None:
    store = encode(encoder, tmp_path / "store")
    facts = store.manifest["facts"]
    tokenized = encoder.tokenize([text for _, text in TEXTS], "document")
    assert (facts["n_truncated"], facts["n_cut_tokens"]) == (0, 0)
    assert facts["n_windows"] == len(tokenized.ids) > N_TEXTS
    assert facts["n_split"] == int((np.diff(tokenized.offsets) > 1).sum()) > 0
    assert facts["n_scored_tokens"] == sum(int(s.sum()) for s in tokenized.scored)
    assert facts["n_scored_tokens"] > store.n_tokens
    assert facts["waited_seconds"] < facts["seconds"]


def interrupt() -> None:
    raise KeyboardInterrupt


@one_or_two
def test_an_interruption_keeps_finished_shards_and_leaves_nothing_running(
    encoder: Encoder, plain: EmbeddingStore, tmp_path: Path, devices: tuple[str, ...]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        encode(encoder, tmp_path / "store", devices, Watch(30, interrupt))
    assert not [t for t in threading.enumerate() if t.name.startswith("colmodern-")]
    leftovers = [path for path in tmp_path.rglob("*") if path.name.endswith(".tmp")]
    assert not leftovers
    kept = {
        path.parent.name: path.stat().st_mtime_ns
        for path in (tmp_path / "store").rglob("shard.json")
    }
    assert kept
    progress = Watch()
    store = encode(encoder, tmp_path / "store", devices, progress)
    assert progress.done == N_TEXTS
    assert checksums(store) == checksums(plain)
    now = {name: (store.folder / name / "shard.json").stat().st_mtime_ns for name in kept}
    assert now == kept


@one_or_two
def test_an_error_of_the_texts_is_the_callers(
    encoder: Encoder, tmp_path: Path, devices: tuple[str, ...]
) -> None:
    def texts() -> Iterator[tuple[str, str]]:
        yield from TEXTS[:20]
        raise LookupError("text 20")

    with pytest.raises(LookupError, match="text 20"):
        encode(encoder, tmp_path / "store", devices, texts=texts())


@one_or_two
def test_an_error_of_the_disk_is_the_callers(
    encoder: Encoder, tmp_path: Path, devices: tuple[str, ...]
) -> None:
    folder = tmp_path / "store"

    def occupy() -> None:
        for place in (folder, folder / ".ahead"):
            (place / "shard-00009").mkdir(exist_ok=True, parents=True)
            (place / "shard-00009" / "mine").touch()

    with pytest.raises(StorageError, match="shard-00009"):
        encode(encoder, folder, devices, Watch(10, occupy))
    assert list(folder.rglob("shard.json"))
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".tmp")]


def test_an_error_in_a_worker_is_raised_with_its_class_and_place(
    pylate_bert: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for path in pylate_bert.rglob("*"):
        if path.is_file():
            target = model / path.relative_to(pylate_bert)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(path.read_bytes())
    encoder = Encoder.from_pretrained(model)
    (model / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError) as caught:
        encode(encoder, tmp_path / "store", ("cpu", "cpu"))
    assert "in the worker on cpu" in str(caught.value.__cause__)
    assert "load_backbone" in str(caught.value.__cause__)


def children() -> set[int]:
    listed = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text()
    return {int(pid) for pid in listed.split()}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds its workers in /proc")
def test_a_worker_that_dies_is_one_error_and_its_shards_are_encoded_again(
    encoder: Encoder, plain: EmbeddingStore, tmp_path: Path
) -> None:
    before = children()

    def kill() -> None:
        workers = [
            pid
            for pid in children() - before
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        os.kill(min(workers), signal.SIGKILL)

    with pytest.raises(WorkerError, match=r"worker on cpu died \(killed by SIGKILL\).*run again"):
        encode(encoder, tmp_path / "store", ("cpu", "cpu"), Watch(20, kill))
    assert list((tmp_path / "store").rglob("shard.json"))
    store = encode(encoder, tmp_path / "store", ("cpu", "cpu"))
    assert checksums(store) == checksums(plain)


@pytest.mark.slow
def test_shards_ahead_that_were_cut_otherwise_are_not_taken(
    encoder: Encoder, plain: EmbeddingStore, tmp_path: Path
) -> None:
    folder = tmp_path / "store"
    other = encode(encoder, tmp_path / "other", shard_tokens=150)
    (folder / ".ahead").mkdir(parents=True)
    for index in (1, 3):
        (other.folder / f"shard-{index:05d}").rename(folder / ".ahead" / f"shard-{index:05d}")
    assert checksums(encode(encoder, folder, ("cpu", "cpu"))) == checksums(plain)


def test_finished_shards_ahead_are_taken_over_without_a_worker(
    encoder: Encoder, plain: EmbeddingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "store"
    done = encode(encoder, tmp_path / "done")
    (folder / ".ahead").mkdir(parents=True)
    for shard in done.folder.glob("shard-*"):
        shard.rename(folder / ".ahead" / shard.name)
    started = time.time_ns()
    store = encode(encoder, folder, ("cpu", "cpu"))
    assert checksums(store) == checksums(plain)
    assert (store.folder / "shard-00000" / "shard.json").stat().st_mtime_ns < started


def test_a_device_that_is_not_there_is_named_before_anything_starts(
    encoder: Encoder, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="device='toaster' is not supported"):
        encode(encoder, tmp_path / "store", ("cpu", "toaster"))


@pytest.mark.slow
def test_workers_refuse_a_checkpoint_that_was_saved_anew(bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(bert, folder)
    encoder = Encoder.from_pretrained(folder, device="cpu")
    tensors = {k: v * 1.5 for k, v in load_file(folder / "model.safetensors").items()}
    save_file(tensors, tmp_path / "new", metadata={"format": "pt"})
    os.replace(tmp_path / "new", folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="was saved anew after it was loaded"):
        encode(encoder, tmp_path / "store", ("cpu", "cpu"))


@one_or_two
def test_spans_are_those_of_the_encoder(
    encoder: Encoder, tmp_path: Path, devices: tuple[str, ...]
) -> None:
    store, _ = encode_to_store(
        iter(TEXTS), N_TEXTS, encoder, tmp_path / "s", role="document", fingerprint="f",
        dtype="float16", shard_tokens=SHARD_TOKENS, progress=Watch(), devices=devices, spans=True,
    )  # fmt: skip
    alone = encoder.encode_documents([text for _, text in TEXTS], spans=True)
    assert store.has_spans
    stored = store.to_memory()
    for i in range(N_TEXTS):
        assert np.array_equal(stored.spans[i], alone.spans[i])
        assert np.array_equal(stored.spans.rows_of(i), alone.spans.rows_of(i))
