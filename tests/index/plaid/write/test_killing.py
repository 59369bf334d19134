"""Killing builds and changes at many moments, and watching the memory of a build."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from index.plaid.corpora import corpus, digests, lengths_like_passages, names, write_store

from colmodern import PlaidIndex
from colmodern.errors import StorageError

pytestmark = pytest.mark.slow

DOCUMENTS = corpus(lengths_like_passages(120))
IDS = names(120)

SCRIPT = """
import os, sys, threading, time
from colmodern import PlaidIndex
from colmodern.index.plaid.write import settings as build_settings
build_settings._LARGEST_CHUNK, build_settings._SMALLEST_CHUNK = 300, 1
store, folder, delay = sys.argv[1], sys.argv[2], float(sys.argv[3])
if delay >= 0:
    def kill():
        time.sleep(delay)
        os.kill(os.getpid(), 9)
    threading.Thread(target=kill, daemon=True).start()
PlaidIndex.build(store, folder, overwrite=len(sys.argv) > 4, seed=int(len(sys.argv) > 4))
"""


def run(store: Path, folder: Path, delay: float, *more: str) -> int:
    command = [sys.executable, "-c", SCRIPT, str(store), str(folder), str(delay), *more]
    return subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode


def test_killed_at_any_moment_the_old_index_or_a_resumable_one_is_there(tmp_path: Path) -> None:
    n_docs = 2_000
    documents = corpus(lengths_like_passages(n_docs))
    store = tmp_path / "store"
    write_store(store, documents, names(n_docs), 500)
    assert run(store, tmp_path / "whole", -1) == 0
    assert run(store, tmp_path / "other", -1, "other") == 0
    whole, other = digests(tmp_path / "whole"), digests(tmp_path / "other")
    outcomes = set()
    for attempt in range(5):
        folder = tmp_path / f"i{attempt}"
        for part in range(12):  # each goes on a little further
            code = run(store, folder, 0.05 * attempt + 0.15 * part)
            if folder.exists():
                break
            assert code == -signal.SIGKILL
            with pytest.raises(StorageError) as refused:
                PlaidIndex.load(folder)
            outcomes.add("unfinished" if "is unfinished" in str(refused.value) else "nothing")
        if not folder.exists():
            assert run(store, folder, -1) == 0
        assert digests(folder) == whole
        assert run(store, folder, 0.4 * attempt, "other") in (0, -signal.SIGKILL)
        if folder.exists():
            PlaidIndex.check(folder)
            assert digests(folder) in (whole, other)
        assert run(store, folder, -1, "other") == 0
        assert digests(folder) == other
    assert "unfinished" in outcomes
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


CHANGES = """
import os, sys, threading, time
from colmodern import PlaidIndex
folder, more, delay = sys.argv[1], sys.argv[2], float(sys.argv[3])
index = PlaidIndex.load(folder)
index.search([[1.0] * 16])
def kill():
    time.sleep(delay)
    os.kill(os.getpid(), 9)
threading.Thread(target=kill, daemon=True).start()
fields = [{"m": i} for i in range(50)]
while True:
    index.add(more, fields=fields, merge=False)
    index.update(more, fields=fields)
    index.delete([f"m{i}" for i in range(0, 50)])
    index.compact()
"""


def test_killed_while_changing_the_index_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "i"
    PlaidIndex.build(DOCUMENTS, folder, IDS, fields=[{"n": i} for i in range(120)])
    more = corpus(lengths_like_passages(50, seed=5), seed=5)
    write_store(tmp_path / "more", more, names(50, "m"), 20)
    counts = set()
    for attempt in range(15):
        command = [sys.executable, "-c", CHANGES, str(folder), str(tmp_path / "more")]
        done = subprocess.run(
            [*command, str(0.01 + 0.05 * attempt)], check=False, capture_output=True, text=True
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        PlaidIndex.check(folder)
        index = PlaidIndex.load(folder)
        assert index.n_docs in (120, 170)
        counts.add((index.n_docs, index.info()["segments"], bool(index.info()["deleted"])))
        assert len(index.search([[1.0] * 16], 500, filter={"n": {"gte": 40}})) == 80
        if index.n_docs == 170:
            assert len(index.search([[1.0] * 16], 500, filter={"m": {"lt": 20}})) == 20
            index.delete(names(50, "m"))
        index.compact()
        assert sorted(path.name for path in folder.iterdir()) == sorted(
            [".lock", "codec", "manifest.json", index._state.snapshot.segments[0].name]
        )
    assert len(counts) > 2


PEAK = """
import re, sys, threading, time
from colmodern import PlaidIndex
store, folder, max_memory, warm, dim = *sys.argv[1:5], int(sys.argv[5])
def memory():
    return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
PlaidIndex.build(warm, folder + "-warm", n_centroids=16)  # what libraries need once
before, peak, going = memory(), 0, True
def watch():
    global peak
    while going:
        peak = max(peak, memory())
        time.sleep(0.002)
watcher = threading.Thread(target=watch)
watcher.start()
PlaidIndex.build(store, folder, max_memory=max_memory, n_centroids=2048)
going = False
watcher.join()
print(peak - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    ("dim", "n_tokens", "length", "with_ids"),
    [(64, 400_000, 100, True), (64, 400_000, 20_000, False), (8, 1_000_000, 5, True)],
)
def test_peak_memory_of_a_build_keeps_to_max_memory(
    tmp_path: Path, dim: int, n_tokens: int, length: int, with_ids: bool
) -> None:
    max_memory, n_docs = 100_000_000, n_tokens // length
    documents = corpus([length] * n_docs, dim, with_ids=with_ids)
    write_store(tmp_path / "store", documents, names(n_docs), n_docs // 4)
    write_store(tmp_path / "warm", documents[:2], names(2), 2)
    paths = [str(tmp_path / name) for name in ("store", "i")]
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *paths, str(max_memory), str(tmp_path / "warm"), str(dim)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < max_memory, done.stdout
