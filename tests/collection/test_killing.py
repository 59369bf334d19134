"""Killed before any of its operations on files, a change happened or it did not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes"),
]

# the script forks a process for each moment, which is cheaper than to load a model in each
SCRIPT = """
import os, shutil, signal, sys
from pathlib import Path
import numpy as np
import torch
torch.set_num_threads(1)
from colmodern import Collection, Encoder
from colmodern.collection import encoded
from colmodern.encoder.passages import tokenize_passages
from colmodern.passages import passage_ids

encoded._IN_MEMORY = 3  # larger changes go through a store
base, change, step = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
passages = "best" if change == "update of passages" else None
split = {"overflow": "split", "document_length": 8, "overlap": 1} if passages else {}
encoder = Encoder.from_pretrained("colmodern/tiny", device="cpu", **split)
OLD = [
    {"id": f"d{i}", "text": f"text number {i} on file and disk {i * 7 % 5}", "even": i % 2 == 0}
    for i in range(8)
]
NEW = [
    {"id": f"n{i}", "text": f"new text {i} on water and salt", "new": True} for i in range(3)
]
CHANGES = {
    "first": lambda c: c.add(OLD),
    "add": lambda c: c.add(NEW),
    "add from a store": lambda c: c.add([*NEW, ("n3", "three"), ("n4", "four")]),
    "learn again": lambda c: c.add([(f"m{i}", f"more {i}") for i in range(24)]),
    "update of passages": lambda c: c.update([("d2", "short"), ("d3", "one two " * 20)]),
    "update": lambda c: c.update([("d2", "another text"), ("d3", "and more"), ("x", "new")]),
    "delete": lambda c: c.delete(["d1", "d5"]),
    "compact": lambda c: c.compact(),
    "rebuild": lambda c: c.rebuild(),
}
WRITES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir"}


def content(folder):
    with Collection.open(folder, encoder=encoder, read_only=True, device="cpu") as collection:
        hits = collection.search("text on file", k=100) if len(collection) else []
        assert {hit.doc_id for hit in hits} == set(collection)
        for name in ("even", "new"):
            having = {i for i in collection if name in collection[i].fields}
            if having:
                filter = {name: {"exists": True}}
                hits = collection.search("text on file", k=100, filter=filter)
                assert {hit.doc_id for hit in hits} == having
        texts = {doc_id: collection[doc_id].text for doc_id in collection}
        if passages and texts:
            counts = np.diff(tokenize_passages(encoder, list(texts.values())).offsets).tolist()
            stored = collection._state.index.doc_ids
            assert sorted(stored) == sorted(passage_ids(texts, counts))
        return texts


def killed(folder, moment):
    process = os.fork()
    if process:
        return os.WIFSIGNALED(os.waitpid(process, 0)[1])
    left = moment

    def count(event, arguments):
        nonlocal left
        is_write = event == "open" and isinstance(arguments[2], int) and arguments[2] & 3
        if event in WRITES or is_write:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        collection = Collection.open(folder, encoder=encoder, device="cpu")
        sys.addaudithook(count)
        CHANGES[change](collection)
    except BaseException as error:
        print("child failed:", repr(error), flush=True)
        os._exit(1)
    os._exit(0)


start = base / "start"
collection = Collection.create(start, encoder, passages=passages, device="cpu")
if change != "first":
    collection.add(OLD)
    collection.update([("d0", "a text that was replaced")])
    collection.delete(["d7"])
collection.close()
whole = base / "whole"
shutil.copytree(start, whole)
with Collection.open(whole, encoder=encoder, device="cpu") as collection:
    CHANGES[change](collection)
before, after = content(start), content(whole)
seen, moment = [], 0
while True:
    folder = base / "killed"
    shutil.copytree(start, folder)
    is_killed = killed(folder, moment)
    found = content(folder)
    assert found in (before, after), (moment, found)
    seen.append(found == after)
    with Collection.open(folder, encoder=encoder, device="cpu") as collection:
        collection.check()
        collection.update([("last", "one more")])
        collection.check()
        named = len(list(folder.iterdir()))
        parts = len(list(folder.glob("texts-*"))) + 1  # and the index
        assert named == parts + 2, sorted(folder.iterdir())  # the manifest and the lock
    assert content(folder) == {**found, "last": "one more"}
    shutil.rmtree(folder)
    if not is_killed:
        break
    moment += step
assert before == after or (not seen[0] and seen[-1])
assert seen == sorted(seen) or before == after  # it happens at one moment
print("moments", len(seen))
"""


@pytest.mark.parametrize(
    "change",
    [
        *("first", "add", "add from a store", "learn again", "update", "update of passages"),
        *("delete", "compact", "rebuild"),
    ],
)
def test_a_killed_change_leaves_the_state_before_or_after(tmp_path: Path, change: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path), change, "1"],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert int(run.stdout.split()[-1]) > 10
