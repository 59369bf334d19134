"""What ``Collection.add`` of many passages from a generator takes: time, memory and bytes.

    python experiments/benchmarks/collection_adds.py --work FOLDER [--n-docs 20000] [--corpus FILE ...]

Each number of passages is added by a process of its own to an empty collection with colmodern/tiny.
Memory is that of the process, without the pages of mapped files, which the system takes back when it
needs them; it is read 20 times a second. Rows go to experiments/results/collection.csv. The collections
stay in the folder, as ``serve.py`` takes them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from datetime import date
from pathlib import Path
from typing import Any

import click
from passages import passages
from results import append_rows, machine_and_commit

from colmodern import Collection

RESULTS = Path(__file__).resolve().parents[1] / "results" / "collection.csv"
COLUMNS = (
    "date", "commit", "machine", "load", "texts", "n_docs", "n_tokens", "add_s", "docs_per_s",
    "cpu_s", "encode_s", "learn_s", "write_s", "start_mb", "encode_peak_mb", "learn_peak_mb",
    "write_peak_mb", "end_mb", "texts_bytes_per_doc", "index_bytes_per_doc", "note",
)  # fmt: skip
_STEPS = {"encode documents": "encode", "cluster": "learn", "compress": "write", "invert": "write"}


class _Watch:
    """Progress of an add that notes seconds of each step, and its most memory in MB."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(("encode", "learn", "write"), 0.0)
        self.peaks = dict.fromkeys(("encode", "learn", "write"), 0.0)
        self._step, self._since = "encode", time.perf_counter()
        self._has_ended = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._enter(self._step)
        self._has_ended.set()
        self._thread.join()

    def start(self, task: str, total: int, *, unit: str, done: int = 0) -> None:
        self._enter(_STEPS.get(task, self._step))

    def advance(self, n: int) -> None: ...

    def finish(self) -> None: ...

    def note(self, message: str) -> None:
        if message.startswith("learning"):
            self._enter("learn")

    def _enter(self, step: str) -> None:
        now = time.perf_counter()
        self.seconds[self._step] += now - self._since
        self._step, self._since = step, now

    def _sample(self) -> None:
        while not self._has_ended.wait(0.05):
            self.peaks[self._step] = max(self.peaks[self._step], own_mb())


def own_mb(process: int | str = "self") -> float:
    """Memory of a process in MB, without the pages of mapped files."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("this system does not tell a process's memory")


def add(folder: Path, n_docs: int, corpora: list[Path]) -> dict[str, Any]:
    """Add the passages to a new collection; seconds, MB and bytes."""
    collection = Collection.create(folder, "colmodern/tiny", device="cpu")
    collection.encoder.encode_documents(["the first text loads what a process needs"])
    start_mb, start, cpu = own_mb(), time.perf_counter(), time.process_time()
    with _Watch() as watch:
        collection.add(passages(n_docs, corpora), progress=watch)
    seconds = time.perf_counter() - start
    info = collection.info()
    return {
        "n_docs": len(collection),
        "n_tokens": info["index"]["tokens"],
        "add_s": round(seconds, 1),
        "docs_per_s": round(n_docs / seconds, 1),
        "cpu_s": round(time.process_time() - cpu, 1),
        **{f"{step}_s": round(value, 1) for step, value in watch.seconds.items()},
        "start_mb": round(start_mb),
        **{f"{step}_peak_mb": round(value) for step, value in watch.peaks.items()},
        "end_mb": round(own_mb()),
        "texts_bytes_per_doc": round(info["bytes"]["texts"] / n_docs, 1),
        "index_bytes_per_doc": round(info["bytes"]["index"] / n_docs, 1),
    }


@click.command()
@click.option("--work", type=click.Path(path_type=Path), required=True)
@click.option("--n-docs", multiple=True, default=(20_000, 100_000), show_default=True)
@click.option("--corpus", "corpora", multiple=True, type=click.Path(path_type=Path, exists=True))
@click.option("--note", default="")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
@click.option("--child", is_flag=True, hidden=True)
def main(
    work: Path,
    n_docs: tuple[int, ...],
    corpora: tuple[Path, ...],
    note: str,
    results: Path,
    child: bool,
) -> None:
    """Measure each number of passages in a process of its own."""
    if child:
        click.echo(json.dumps(add(work, n_docs[0], list(corpora))))
        return
    for n in n_docs:
        folder = work / f"collection-{n}"
        shutil.rmtree(folder, ignore_errors=True)
        work.mkdir(parents=True, exist_ok=True)
        load = os.getloadavg()[0]
        command = [sys.executable, __file__, "--child", "--work", str(folder), "--n-docs", str(n)]
        command += [part for corpus in corpora for part in ("--corpus", str(corpus))]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        row = {
            "date": date.today().isoformat(),
            **machine_and_commit(),
            "load": round(load, 1),
            "texts": "local files" if corpora else "built-in, varied",
            **json.loads(done.stdout),
            "note": note,
        }
        click.echo(json.dumps(row))
        append_rows(results, [row], COLUMNS)


if __name__ == "__main__":
    main()
