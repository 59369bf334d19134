"""What damaged files of an index do: how often it is refused, the same, silently another, or a crash.

    python experiments/benchmarks/damage.py --work FOLDER [--flips 6000]

Builds small indexes of two segments with deletions, one for each size and kind of residuals, and damages
one file of a copy at a time: a flipped bit, a cut or longer file, zeros, junk, nothing, a folder, a pipe,
an endless device, a manifest or header with absurd counts. A forked child then loads, searches, explains,
deletes, adds and compacts, and every answer is compared with that of the undamaged index.
Prints a table of outcomes and every case that is neither refused nor the same.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import click
import numpy as np

from colmodern import PlaidIndex, TokenEmbeddings
from colmodern.errors import ColmodernError, ResourceError
from colmodern.files import sha256_of_json
from colmodern.ragged.embeddings import offsets_of

KINDS = ((1, "pq"), (2, "residual"), (4, "pq"), (4, "residual"), (8, "pq"))
_SECONDS = 20  # of a child, before it counts as hanging
_RIGHT = ("refused", "same")


def corpus(n: int, seed: int, dim: int = 32) -> TokenEmbeddings:
    """Random unit rows."""
    rng = np.random.default_rng(seed)
    offsets = offsets_of(rng.integers(2, 12, n))
    values = rng.standard_normal((offsets[-1], dim)).astype(np.float32)
    return TokenEmbeddings(values / np.linalg.norm(values, axis=1, keepdims=True), offsets)


def build(folder: Path, nbits: int, codec: Any) -> None:
    """An index of two segments, with deletions in both."""
    ids = [f"première-{i}" for i in range(150)]
    index = PlaidIndex.build(corpus(150, 0), folder, ids, nbits=nbits, codec=codec)
    index.add(corpus(40, 1), [f"n{i}" for i in range(40)])
    index.delete(["première-3", "n5", "n6"])


def use(folder: Path) -> Iterator[tuple[str, Any]]:
    """Every use of an index with its answers."""
    query, others = corpus(1, 7)[0], corpus(3, 8)
    index = PlaidIndex.load(folder, n_threads=1)
    yield "load", index.n_docs
    chosen = [f"première-{i}" for i in range(0, 150, 3)]

    def searches(when: str) -> Iterator[tuple[str, Any]]:
        yield f"search {when}", index.search(query, 5, nprobe=2, n_candidates=20)
        yield f"default {when}", index.search(query, 10)
        yield f"all {when}", index.search(query, 200)
        yield f"filter {when}", index.search(query, 5, filter=chosen, n_candidates=20)
        yield f"batch {when}", index.search_batch(others, 7, nprobe=1, n_candidates=10)

    yield from searches("at first")
    for doc_id in ("première-7", "n9"):
        yield "explain", repr(index.explain(query, doc_id, 5))
    yield "function", index.search(query, 9, filter=lambda doc_id: doc_id.endswith("1"))
    yield "info", index.info()["documents"]
    yield "delete", index.delete(["n10", "première-20"])
    yield from searches("after delete")
    index.add(corpus(5, 2), [f"z{i}" for i in range(5)])
    yield from searches("after add")
    index.compact()
    yield from searches("after compact")
    PlaidIndex.check(folder)
    yield "check", None


def write(folder: Path) -> Iterator[tuple[str, Any]]:
    """Changes only, by a process that never searches: what they copy must be right."""
    index = PlaidIndex.load(folder, n_threads=1)
    yield "delete", index.delete(["n10", "première-20"])
    index.add(corpus(5, 2), [f"z{i}" for i in range(5)])
    index.compact()
    yield "compact", index.n_docs
    PlaidIndex.check(folder)
    yield "all", index.search(corpus(1, 7)[0], 200)


def outcome_of(work: Path, way: Callable[[Path], Iterator[tuple[str, Any]]], truth: Any) -> str:
    """How a forked child fares with the index in ``work``."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(_SECONDS)
        os._exit(_child(work, way, truth, writing))
    os.close(writing)
    with os.fdopen(reading) as stream:
        said = stream.read()
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        hung = os.WTERMSIG(status) == signal.SIGALRM
        return "hang" if hung else f"crash by signal {os.WTERMSIG(status)}"
    return said


def _child(work: Path, way: Any, truth: list[Any], writing: int) -> int:
    last = "load"
    try:
        for (last, answer), right in zip(way(work), truth, strict=True):
            if (last, answer) != right:
                os.write(writing, f"changed: {last}".encode())
                return 0
        os.write(writing, b"same")
    except ResourceError as error:
        os.write(writing, f"resource after {last}: {error}".encode())
    except ColmodernError as error:
        os.write(writing, f"refused after {last}: {error}"[:1000].encode(errors="replace"))
    except BaseException as error:
        os.write(writing, f"raw after {last}: {error!r}"[:1000].encode(errors="replace"))
    return 0


def flip(path: Path, rng: random.Random) -> None:
    """One random bit."""
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def damages(rng: random.Random) -> dict[str, Callable[[Path], None]]:
    """Kinds of damage but flips, each done to a file."""

    def spoil(content: Callable[[bytes], bytes]) -> Callable[[Path], None]:
        return lambda path: void(path.write_bytes(content(path.read_bytes())))

    def replaced(make: Callable[[Path], object]) -> Callable[[Path], None]:
        return lambda path: (path.unlink(), make(path), None)[-1]

    def overwritten(data: bytes, n: int, fill: Callable[[int], bytes]) -> bytes:
        n = min(n, len(data))
        at = rng.randrange(len(data) - n + 1)
        return data[:at] + fill(n) + data[at + n :]

    return {
        "cut": spoil(lambda data: data[: rng.randrange(len(data))]),
        "longer": spoil(lambda data: data + rng.randbytes(rng.randrange(1, 5000))),
        "zeros": spoil(lambda data: overwritten(data, 512, bytes)),
        "junk": spoil(lambda data: overwritten(data, 4096, rng.randbytes)),
        "ones": spoil(lambda data: b"\xff" * len(data)),
        "all zero": spoil(lambda data: bytes(len(data))),
        "empty": spoil(lambda data: b""),
        "deleted": lambda path: path.unlink(),
        "folder": replaced(lambda path: path.mkdir()),
        "pipe": replaced(lambda path: os.mkfifo(path)),
        "endless device": replaced(lambda path: path.symlink_to("/dev/zero")),
        "terminal": replaced(lambda path: path.symlink_to("/dev/tty")),
        "link to itself": replaced(lambda path: path.symlink_to(path)),
    }


def void(_: object) -> None:
    """Nothing, of anything."""


def absurd_manifests(path: Path) -> Iterator[dict[str, Any]]:
    """A manifest with one count or text that cannot be, its checksum made right."""
    fields = json.loads(path.read_text())
    values: tuple[Any, ...] = (10**12, 2**63, 10**30, -1, 1.5, None, "x", [], {}, True, "\ud800")

    def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
        if isinstance(value, dict | list):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            for key, inner in items:
                yield (*at, key)
                yield from places(inner, (*at, key))

    for place, value in product(places(fields), values):
        if value != [] or place not in {("segments",), ("deletions",)}:  # another whole index
            changed = json.loads(path.read_text())
            inner = changed
            for key in place[:-1]:
                inner = inner[key]
            inner[place[-1]] = value
            body = {key: changed[key] for key in changed.keys() - {"format", "version", "sha256"}}
            if place[0] != "sha256":
                try:
                    changed["sha256"] = sha256_of_json(body)
                except UnicodeEncodeError:
                    changed["sha256"] = None
            yield changed


class Trial:
    """Damages copies of one index and counts what comes of it."""

    def __init__(self, whole: Path, counts: Counter[tuple[str, str]]) -> None:
        self.whole, self.copy, self.counts = whole, whole.with_name("copy"), counts
        self.files = [path for path in sorted(whole.rglob("*")) if path.is_file()]
        self.files = [path for path in self.files if path.stat().st_size]
        self.truths = {way: list(way(self._fresh())) for way in (use, write)}

    def __call__(self, kind: str, path: Path, damage: Callable[[Path], None], way: Any) -> None:
        """Damage one file of a copy and use it."""
        damage(self._fresh() / path.relative_to(self.whole))
        outcome = outcome_of(self.copy, way, self.truths[way])
        self.counts[kind, outcome.split(":")[0]] += 1
        if not outcome.startswith(_RIGHT):
            print(self.whole.name, kind, path.relative_to(self.whole), outcome, flush=True)

    def _fresh(self) -> Path:
        shutil.rmtree(self.copy, ignore_errors=True)
        shutil.copytree(self.whole, self.copy)
        return self.copy


@click.command()
@click.option("--work", type=Path, required=True)
@click.option("--flips", default=6000, help="in all")
@click.option("--kind", "only", default=None, type=int, help="number of one kind of index")
@click.option("--manifests", default=400, help="absurd manifests of each kind of index")
@click.option("--seed", default=0)
def main(work: Path, flips: int, only: int | None, manifests: int, seed: int) -> None:
    """Damage indexes and count what happens."""
    os.fsync = lambda descriptor: None  # thousands of small files; no power fails here
    warnings.simplefilter("ignore", DeprecationWarning)  # of forking
    rng, counts, begun = random.Random(seed), Counter[tuple[str, str]](), time.time()
    kinds = KINDS if only is None else KINDS[only : only + 1]
    for nbits, codec in kinds:
        whole = work / f"{nbits}-{codec}"
        shutil.rmtree(whole, ignore_errors=True)
        build(whole, nbits, codec)
        trial = Trial(whole, counts)
        weights = [path.stat().st_size ** 0.5 for path in trial.files]
        for number in range(flips // len(kinds)):
            (path,) = rng.choices(trial.files, weights)
            trial("flip", path, lambda path: flip(path, rng), use if number % 4 else write)
        for kind, damage in damages(rng).items():
            for path in trial.files:
                trial(kind, path, damage, use)
        cases = list(absurd_manifests(whole / "manifest.json"))
        for fields in rng.sample(cases, min(manifests, len(cases))):
            text = json.dumps(fields)
            trial(
                "absurd manifest",
                whole / "manifest.json",
                lambda path, text=text: void(path.write_text(text)),
                use,
            )
        print(f"{whole.name}: {time.time() - begun:.0f} s", flush=True)
    for (kind, outcome), n in sorted(counts.items()):
        print(f"{kind:16} {outcome:40} {n:6}")


if __name__ == "__main__":
    main()
