"""What damaged files do: how often they are refused, change nothing, change answers, or crash.

    python experiments/benchmarks/damage.py --work FOLDER [--flips 10000] [--cuts 200] [--seed 0]

Makes the indexes and stores of damage_subjects.py and damages one file of a copy at a time: a flipped bit,
a cut or longer file, zeros, junk, nothing, a folder, a pipe, an endless device, a manifest or header with
absurd counts. A forked child then uses it in every way (searches, changes, exact search, rescoring, a
build of it, a build or an encoding that is resumed), and every answer is compared with the undamaged one.
Prints a table of outcomes and every case that is neither refused nor the same, and appends the counts to
results/damage.csv. Numbers of flips and cuts are of all indexes and stores together.
"""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import signal
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import click
import torch
from damage_subjects import Answers, Subject, subjects
from results import Row, append_rows, machine_and_commit

from colmodern.errors import ColmodernError, ResourceError
from colmodern.files import sha256_of_json

COLUMNS = ("date", "commit", "machine", "seed", "damage", "refused", "same", "changed", "other")
RESULTS = Path(__file__).resolve().parents[1] / "results"
_SECONDS = 20  # of a child, before it counts as hanging
_RIGHT = ("refused", "same")


def outcome_of(work: Path, way: Callable[[Path], Answers], truth: Any) -> str:
    """How a forked child fares with what is in ``work``."""
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
    last = "open"
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
        if value != [] or place not in {
            ("segments",),
            ("deletions",),
            ("shards",),
        }:  # another whole
            changed = json.loads(path.read_text())
            inner = changed
            for key in place[:-1]:
                inner = inner[key]
            inner[place[-1]] = value
            # an index seals all but its format and version, a store all
            is_index = "sha256" in fields
            seal, unsealed = ("sha256", {"format", "version"}) if is_index else ("checksum", set())
            body = {key: changed[key] for key in changed.keys() - {*unsealed, seal}}
            if place[0] != seal:
                try:
                    changed[seal] = sha256_of_json(body)
                except UnicodeEncodeError:
                    changed[seal] = None
            yield changed


class Trial:
    """Damages copies of one index or store and counts what comes of it."""

    def __init__(self, subject: Subject, work: Path, counts: Counter[tuple[str, str]]) -> None:
        self.subject, self.counts = subject, counts
        self.whole, self.copy = work / subject.name, work / "copy"
        shutil.rmtree(self.whole, ignore_errors=True)
        self.whole.mkdir(parents=True)
        subject.make(self.whole)
        files = [path for path in sorted(self.whole.rglob("*")) if path.is_file()]
        self.files = [path for path in files if path.stat().st_size]
        self.truths = [list(way(self._fresh())) for way in subject.ways]

    def __call__(
        self, kind: str, path: Path, damage: Callable[[Path], None], number: int = 0
    ) -> None:
        """Damage one file of a copy and use it in the way of that number."""
        damage(self._fresh() / path.relative_to(self.whole))
        number %= len(self.truths)
        outcome = outcome_of(self.copy, self.subject.ways[number], self.truths[number])
        self.counts[kind, outcome.split(":")[0]] += 1
        if not outcome.startswith(_RIGHT):
            print(self.whole.name, kind, path.relative_to(self.whole), outcome, flush=True)

    def random_files(self, n: int, rng: random.Random) -> list[Path]:
        """Files to damage, large ones more often, but less so than by their bytes."""
        return rng.choices(self.files, [path.stat().st_size ** 0.5 for path in self.files], k=n)

    def _fresh(self) -> Path:
        shutil.rmtree(self.copy, ignore_errors=True)
        shutil.copytree(self.whole, self.copy)
        return self.copy


def rows_of(counts: Counter[tuple[str, str]], seed: int) -> list[Row]:
    """One of each kind of damage; "other" are crashes, hangs, raw errors and limits."""
    rows = []
    for kind in sorted({kind for kind, _ in counts}):
        row: Row = {"date": time.strftime("%Y-%m-%d"), **machine_and_commit()}
        row |= {"seed": seed, "damage": kind, "refused": 0, "same": 0, "changed": 0, "other": 0}
        for (damage, outcome), n in counts.items():
            if damage == kind:
                word = outcome.split(" ")[0]
                row[word if word in row else "other"] += n
        rows.append(row)
    return rows


@click.command()
@click.option("--work", type=Path, required=True)
@click.option("--flips", default=10_000, help="of single bits")
@click.option("--cuts", default=200, help="of files, at random places")
@click.option("--only", default="", help="indexes and stores whose name begins so")
@click.option("--manifests", default=400, help="absurd ones of each finished index and store")
@click.option("--seed", default=0)
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(
    work: Path, flips: int, cuts: int, only: str, manifests: int, seed: int, results: Path
) -> None:
    """Damage indexes and stores and count what happens."""
    os.fsync = lambda descriptor: None  # thousands of small files; no power fails here
    torch.set_num_threads(1)  # a forked child has none but its own
    warnings.simplefilter("ignore", DeprecationWarning)  # of forking
    logging.getLogger("colmodern").setLevel(logging.ERROR)
    rng, counts, begun = random.Random(seed), Counter[tuple[str, str]](), time.time()
    selected = [one for one in subjects(seed) if one.name.startswith(only)]
    for place, subject in enumerate(selected):
        trial = Trial(subject, work, counts)
        for number, path in enumerate(trial.random_files(_share(flips, place, selected), rng)):
            trial("flip", path, lambda path: flip(path, rng), min(number % 4, 1))
        every = damages(rng)
        for path in trial.random_files(_share(cuts, place, selected), rng):
            trial("cut", path, every["cut"])
        for kind, damage in every.items():
            for path in () if subject.is_flipped_only else trial.files:
                trial(kind, path, damage)
        if subject.has_manifest and not subject.is_flipped_only:
            (path,) = trial.whole.glob("*/manifest.json")
            cases = list(absurd_manifests(path))
            for fields in rng.sample(cases, min(manifests, len(cases))):
                text = json.dumps(fields)
                trial("absurd manifest", path, lambda path, text=text: void(path.write_text(text)))
        print(f"{trial.whole.name}: {time.time() - begun:.0f} s", flush=True)
    for (kind, outcome), n in sorted(counts.items()):
        print(f"{kind:16} {outcome:40} {n:6}")
    append_rows(results / "damage.csv", rows_of(counts, seed), COLUMNS)


def _share(total: int, place: int, parts: Sequence[object]) -> int:
    return total // len(parts) + (place < total % len(parts))


if __name__ == "__main__":
    main()
