from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import faiss
import numpy as np
import pytest
from index.plaid.corpora import corpus, digests, lengths_like_passages, names, write_store

from colmodern import PlaidIndex, TokenEmbeddings
from colmodern.errors import InputError, StorageError
from colmodern.index.plaid.disk.manifest import UNSYNCED, building_folder
from colmodern.index.plaid.write import build, source
from colmodern.index.plaid.write import settings as build_settings
from colmodern.progress import Silent
from colmodern.writer_lock import writer_lock

DOCUMENTS = corpus(lengths_like_passages(120))
IDS = names(120)
QUERIES = corpus([3, 32], seed=1)


@pytest.fixture(autouse=True, scope="module")
def small_pieces() -> Iterator[None]:
    """Several pieces in a small collection."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build_settings, "_LARGEST_CHUNK", 300)
        patch.setattr(build_settings, "_SMALLEST_CHUNK", 1)
        yield


@pytest.fixture(scope="module")
def whole(small_pieces: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Digests of the files of an index that was built without interruption."""
    folder = tmp_path_factory.mktemp("whole") / "i"
    PlaidIndex.build(DOCUMENTS, folder, IDS)
    return digests(folder)


class Told(Silent):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, int, int]] = []
        self.notes: list[str] = []
        self.advanced = 0

    def start(self, task: str, total: int, *, unit: str, done: int = 0) -> None:
        self.steps.append((task, total, done))
        self.advanced = done

    def advance(self, n: int) -> None:
        self.advanced += n

    def finish(self) -> None:
        task, total, _ = self.steps[-1]
        assert self.advanced == total, task

    def note(self, message: str) -> None:
        self.notes.append(message)


def test_the_same_input_gives_the_same_bytes(tmp_path: Path, whole: dict[str, str]) -> None:
    write_store(tmp_path / "one", DOCUMENTS, IDS, 120)
    write_store(tmp_path / "many", DOCUMENTS, IDS, 17)
    sources = [(DOCUMENTS, IDS), (tmp_path / "one", None), (str(tmp_path / "many"), IDS)]
    for number, (embeddings, ids) in enumerate(sources):
        folder = tmp_path / f"i{number}"
        PlaidIndex.build(embeddings, folder, ids)
        assert digests(folder) == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["i0", "i1", "i2", "many", "one"]


def test_the_same_bytes_without_token_ids_and_whatever_the_threads(tmp_path: Path) -> None:
    plain = TokenEmbeddings(DOCUMENTS.values, DOCUMENTS.offsets)
    threads = faiss.omp_get_max_threads()
    try:
        for n in (1, 2):
            faiss.omp_set_num_threads(n)
            PlaidIndex.build(plain, tmp_path / f"i{n}", IDS, codec="residual", nbits=2)
    finally:
        faiss.omp_set_num_threads(threads)
    assert digests(tmp_path / "i1") == digests(tmp_path / "i2")


def test_a_sample_in_a_file_gives_the_same_bytes(
    tmp_path: Path, whole: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []

    def noted(dir: Path) -> IO[bytes]:
        made.append(dir)
        return TemporaryFile(dir=dir)

    monkeypatch.setattr(source, "_IN_MEMORY", 0)
    monkeypatch.setattr(source, "TemporaryFile", noted)
    folder = tmp_path / "i"
    PlaidIndex.build(DOCUMENTS, folder, IDS)
    assert made == [building_folder(folder)]
    assert digests(folder) == whole
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signalled = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))  # the sample is the first beyond
    try:
        with pytest.raises(StorageError, match="a file may not be that large"):
            PlaidIndex.build(DOCUMENTS, tmp_path / "full", IDS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, signalled)
    assert len(made) == 2


def test_another_seed_gives_other_bytes(tmp_path: Path, whole: dict[str, str]) -> None:
    PlaidIndex.build(DOCUMENTS, tmp_path / "i", IDS, seed=1)
    assert digests(tmp_path / "i")["codec/codebook.npy"] != whole["codec/codebook.npy"]


def test_all_steps_are_told(tmp_path: Path) -> None:
    told = Told()
    PlaidIndex.build(DOCUMENTS, tmp_path / "i", IDS, progress=told)
    n = DOCUMENTS.n_tokens
    assert told.steps == [("cluster", n, 0), ("compress", n, 0), ("invert", 120, 0)]


# a name in a module that a build calls, and at which call it stops
POINTS = [
    ("build.write_documents", 0),
    ("build.sample_documents", 0),
    ("build.train_codec", 0),
    ("build.save_codec", 0),
    ("build.load_codec", 0),
    ("build.write_json", 1),
    ("build.write_json", 3),
    ("build.write_json", 4),
    ("build.write_inverted_lists", 0),
    ("build.record_segment", 0),
    ("build.commit", 0),
    ("build.publish", 0),
]


def stopping(monkeypatch: pytest.MonkeyPatch, point: str, at: int, fault: BaseException) -> None:
    """Raise before the call of that number; done calls are as they were."""
    function = getattr(build, point.removeprefix("build."))
    calls = []

    def instead(*args: object, **options: object) -> object:
        calls.append(point)
        if len(calls) > at:
            raise fault
        return function(*args, **options)

    monkeypatch.setattr(f"colmodern.index.plaid.write.{point}", instead)


@pytest.mark.parametrize(("point", "at"), POINTS)
def test_an_interrupted_build_goes_on_and_gives_the_same_bytes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    whole: dict[str, str],
    point: str,
    at: int,
) -> None:
    folder = tmp_path / "i"
    stopping(monkeypatch, point, at, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        PlaidIndex.build(DOCUMENTS, folder, IDS)
    monkeypatch.undo()
    with pytest.raises(StorageError, match="is unfinished; run the same build again"):
        PlaidIndex.load(folder)
    told = Told()
    PlaidIndex.build(DOCUMENTS, folder, IDS, progress=told)
    assert any("resuming the unfinished build" in note for note in told.notes)
    tasks = {task: done for task, _, done in told.steps}
    if point == "build.write_json" and at > 1:
        assert 0 < tasks["compress"] < DOCUMENTS.n_tokens
    if point == "build.publish":
        assert tasks == {}
    assert digests(folder) == whole
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("limit", [90, 1_000, 3_000, 10_000, 15_000])
def test_a_disk_that_fills_at_any_file_is_one_message(
    tmp_path: Path, whole: dict[str, str], limit: int
) -> None:
    folder = tmp_path / "i"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signalled = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    # a file beyond this size fails as on a full disk, with the same handling
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(
            StorageError, match=r"disk full while writing|a file may not be that large"
        ):
            PlaidIndex.build(DOCUMENTS, folder, IDS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, signalled)
    assert not folder.exists()
    PlaidIndex.build(DOCUMENTS, folder, IDS)
    assert digests(folder) == whole
    assert list(tmp_path.iterdir()) == [folder]


def test_an_unfinished_build_of_other_input_is_thrown_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: dict[str, str]
) -> None:
    stopping(monkeypatch, "build.write_json", 4, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        PlaidIndex.build(DOCUMENTS, tmp_path / "i", IDS, seed=5)
    monkeypatch.undo()
    told = Told()
    PlaidIndex.build(DOCUMENTS, tmp_path / "i", IDS, progress=told)
    assert not any("going on" in note for note in told.notes)
    assert digests(tmp_path / "i") == whole


@pytest.mark.parametrize("change", ["values", "offsets", "ids", "token_ids", "settings"])
def test_whatever_differs_is_another_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    values, offsets = DOCUMENTS.values.copy(), DOCUMENTS.offsets.copy()
    token_ids, ids, nbits = DOCUMENTS.token_ids.copy(), list(IDS), 4
    stopping(monkeypatch, "build.commit", 0, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        PlaidIndex.build(DOCUMENTS, tmp_path / "i", IDS)
    monkeypatch.undo()
    if change == "values":
        values[100, 3] += 0.5
    elif change == "offsets":
        offsets[5] += 1
    elif change == "ids":
        ids[0], ids[1] = "d", "0d1"
    elif change == "token_ids":
        token_ids[9] += 1
    else:
        nbits = 2
    other = TokenEmbeddings(values, offsets, token_ids)
    told = Told()
    PlaidIndex.build(other, tmp_path / "i", ids, nbits=nbits, progress=told)
    assert not any("going on" in note for note in told.notes)


@pytest.mark.parametrize(
    ("point", "at", "name"),
    [
        ("build.write_json", 4, "build.json"),
        ("build.write_json", 4, "compressed.json"),
        ("build.write_json", 4, "index/codec/centroid_rows.npy"),
        ("build.write_json", 4, "index/segment-00000/codes.npy"),
        ("build.write_json", 4, "index/segment-00000/doc_vectors.npy"),
        ("build.record_segment", 0, "index/segment-00000/residuals.npy"),
        ("build.publish", 0, "index/segment-00000/residuals.npy"),
        ("build.publish", 0, "index/manifest.json"),
        ("build.publish", 0, "index/codec/codebook.npy"),
    ],
)
@pytest.mark.parametrize("place", [0.3, 0.8])
def test_a_flipped_bit_in_an_unfinished_build_gets_no_right_checksum(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    whole: dict[str, str],
    point: str,
    at: int,
    name: str,
    place: float,
) -> None:
    stopping(monkeypatch, point, at, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        PlaidIndex.build(DOCUMENTS, tmp_path / "i", IDS)
    monkeypatch.undo()
    path = building_folder(tmp_path / "i") / name
    content = bytearray(path.read_bytes())
    content[int(len(content) * place)] ^= 1
    path.write_bytes(content)
    PlaidIndex.build(DOCUMENTS, tmp_path / "i", IDS)
    assert digests(tmp_path / "i") == whole


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")
def test_a_build_that_returned_is_on_disk_with_its_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []

    def fsync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))

    monkeypatch.setattr(os, "fsync", fsync)
    PlaidIndex.build(DOCUMENTS[:9], tmp_path / "new" / "i", IDS[:9])
    work = str(building_folder(tmp_path / "new" / "i") / "index")
    names_of = [str(tmp_path), work, f"{work}/segment-00000"]
    files = [f"{work}/{name}" for name in digests(tmp_path / "new" / "i")]
    assert {*names_of, *files} <= set(synced)
    assert synced[-1] == str(tmp_path / "new")
    synced.clear()
    PlaidIndex.build(DOCUMENTS[:9], tmp_path / "other", IDS[:9], durable=False)
    assert synced == []
    assert (tmp_path / "other" / UNSYNCED).exists()
    PlaidIndex.load(tmp_path / "other").delete(["d1"])
    assert not (tmp_path / "other" / UNSYNCED).exists()
    assert str(tmp_path / "other" / "codec") in synced


def test_two_builds_of_one_path_are_refused(tmp_path: Path) -> None:
    work = building_folder(tmp_path / "i")
    work.mkdir()
    with writer_lock(work), pytest.raises(StorageError, match="being written by another process"):
        PlaidIndex.build(DOCUMENTS, tmp_path / "i", IDS)


def test_bad_ids_are_found_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(build, "train_codec")
    with pytest.raises(InputError, match="are both 'd0'"):
        PlaidIndex.build(DOCUMENTS, tmp_path / "i", ["d0", *IDS[:-1]])


def test_values_in_a_private_mapping_are_not_forgotten(tmp_path: Path) -> None:
    np.save(tmp_path / "values.npy", np.zeros_like(DOCUMENTS.values))
    values = np.load(tmp_path / "values.npy", mmap_mode="c")
    values[:] = DOCUMENTS.values  # in memory only
    mapped = TokenEmbeddings(values, DOCUMENTS.offsets, DOCUMENTS.token_ids)
    PlaidIndex.build(mapped, tmp_path / "i", IDS)
    assert np.array_equal(values, DOCUMENTS.values)
