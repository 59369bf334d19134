"""Fuzz every kind of file that colmodern reads: what is no error of its own is printed.

    python experiments/benchmarks/fuzz_files.py --work FOLDER [--inputs 20000] [--seed 0] [--workers 2]

Valid files are made by fuzz_material.py, and each input is one of them changed: a JSON value of another
type, gone or absurd, nesting, half surrogates, cut, flipped or inserted bytes. Its readers, Python calls
and commands, run in a worker process under limits of time and memory. An input is right when all
readers take it or raise a ColmodernError; a raw error, a hang or a crash is printed with its
number, which makes the same input again (--only NUMBER). Appends a row to results/fuzz.csv.
"""

from __future__ import annotations

import json
import logging
import os
import random
import resource
import select
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

import click
import torch
from fuzz_material import make_everything
from fuzz_mutations import mutated
from fuzz_subjects import Subject, subjects
from results import Row, append_rows, machine_and_commit

from colmodern.errors import ColmodernError

RESULTS = Path(__file__).resolve().parents[1] / "results"
COLUMNS = (
    "date",
    "commit",
    "machine",
    "seed",
    "inputs",
    "taken",
    "refused",
    "raw",
    "hangs",
    "seconds",
)
_CPU_SECONDS = 10  # of a reader
_SECONDS = 60  # of a reader, on a busy machine; one that does not notice is killed after twice that
_MEMORY = 6 << 30  # bytes of address space of a worker


class _LateError(BaseException):
    """An input takes too long."""


def _late(*_: object) -> None:
    raise _LateError


def outcome_of(number: int, seed: int, folder: Path, everything: list[Subject]) -> tuple[str, str]:
    """How the readers fare with an input: "taken", "refused", "raw" or "hang", and why."""
    rng = random.Random(f"{seed}-{number}")
    (subject,) = rng.choices(everything, [item.weight for item in everything])
    name = rng.choice(subject.files) if subject.files else ""
    path, content = folder / name, b""
    if name:
        content = path.read_bytes()
        path.write_bytes(mutated(content, subject.form, rng, is_sealed=subject.is_sealed))
    what, outcome, why = f"{subject.kind} {name}", "taken", ""
    try:
        for reader in subject.readers:
            signal.setitimer(signal.ITIMER_PROF, _CPU_SECONDS)
            signal.alarm(_SECONDS)
            try:
                reader(folder, rng)
            except ColmodernError as error:
                outcome, why = "refused", str(error)
            finally:
                signal.alarm(0)
                signal.setitimer(signal.ITIMER_PROF, 0)
    except _LateError:
        outcome, why = "hang", what
    except BaseException as error:
        frames = [
            item
            for item in traceback.extract_tb(error.__traceback__)
            if "colmodern/" in item.filename
        ]
        at = " < ".join(f"{Path(item.filename).name}:{item.lineno}" for item in frames[:-6:-1])
        outcome, why = "raw", f"{what}: {type(error).__name__}: {error!s:.200} at {at}"
    if name:
        path.write_bytes(content)
    return outcome, why


def work_on(numbers: list[int], seed: int, folder: Path, writing: int) -> None:
    """Outcomes of inputs, one line each into a pipe, the number of each before it is begun."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    signal.signal(signal.SIGALRM, _late)
    signal.signal(signal.SIGPROF, _late)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    sys.setrecursionlimit(1000)
    everything = subjects(folder)
    with os.fdopen(writing, "w", errors="backslashreplace") as stream:
        for number in numbers:
            print(json.dumps([number]), file=stream, flush=True)
            outcome = outcome_of(number, seed, folder, everything)
            print(json.dumps([number, *outcome]), file=stream, flush=True)


class Worker:
    """A process that works through inputs on a copy of the files."""

    def __init__(self, whole: Path, folder: Path, numbers: list[int], seed: int) -> None:
        self._whole, self._folder, self._seed = whole, folder, seed
        self._begin(numbers)

    def _begin(self, numbers: list[int]) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        # the paths in the files are those of the folder that they were made in
        shutil.copytree(self._whole, self._folder, symlinks=True)
        self.left, self._current, self._heard = numbers, numbers[0], time.time()
        reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(reading)
            try:
                work_on(numbers, self._seed, self._folder, writing)
            except BaseException:
                os._exit(1)
            os._exit(0)
        os.close(writing)
        self.stream, self._rest = os.fdopen(reading, "rb", buffering=0), b""

    def outcomes(self) -> list[tuple[int, str, str]]:
        """Those that came since the last call."""
        results = []
        data = self.stream.read(1 << 16)
        if data:
            self._heard = time.time()
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                number, *outcome = json.loads(line)
                self._current = number
                if outcome:
                    self.left = self.left[self.left.index(number) + 1 :]
                    results.append((number, *outcome))
            return results
        status = os.waitpid(self.pid, 0)[1]
        self.stream.close()
        if self.left:
            results.append((self._current, "raw", f"the process ended with status {status}"))
            rest = self.left[self.left.index(self._current) + 1 :]
            self.left = rest
            if rest:
                self._begin(rest)
        return results

    def kill_late(self) -> None:
        """End a process that has said nothing for too long; its input counts as raw."""
        if time.time() - self._heard > 2 * _SECONDS:
            os.kill(self.pid, signal.SIGKILL)
            self._heard = time.time()


@click.command()
@click.option("--work", type=click.Path(path_type=Path), required=True)
@click.option("--inputs", default=20_000, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--workers", default=2, show_default=True)
@click.option("--only", type=int, help="the number of one input")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(work: Path, inputs: int, seed: int, workers: int, only: int | None, results: Path) -> None:
    """Fuzz files and count outcomes."""
    os.fsync = lambda descriptor: None  # thousands of small files; no power fails here
    os.environ["HF_HUB_OFFLINE"] = "1"
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    shutil.rmtree(work, ignore_errors=True)
    whole, begun = work.resolve() / "whole", time.time()
    whole.mkdir(parents=True)
    make_everything(whole)
    numbers = list(range(inputs)) if only is None else [only]
    shares = [share for share in (numbers[i::workers] for i in range(workers)) if share]
    running = [
        Worker(whole, work.resolve() / f"w{i}", share, seed) for i, share in enumerate(shares)
    ]
    counts, kinds, n_done = Counter[str](), Counter[str](), 0
    while waiting := [item for item in running if item.left]:
        ready = select.select([item.stream for item in waiting], [], [], 5)[0]
        for worker in waiting:
            worker.kill_late()
            if worker.stream in ready:
                for number, outcome, why in worker.outcomes():
                    counts[outcome] += 1
                    n_done += 1
                    if outcome in ("raw", "hang"):
                        kinds[why.split(" at ")[-1]] += 1
                        click.echo(f"{outcome} {number}: {why!a}")
                    if n_done % 1000 == 0:
                        click.echo(f"{n_done} in {time.time() - begun:.0f} s: {dict(counts)}")
    for kind, n in kinds.most_common():
        click.echo(f"{n:6} {kind!a}")
    row: Row = {"date": time.strftime("%Y-%m-%d"), **machine_and_commit(), "seed": seed}
    row |= {"inputs": len(numbers), "taken": counts["taken"], "refused": counts["refused"]}
    row |= {"raw": counts["raw"], "hangs": counts["hang"], "seconds": round(time.time() - begun)}
    click.echo(row)
    if only is None:
        append_rows(results / "fuzz.csv", [row], COLUMNS)


if __name__ == "__main__":
    main()
