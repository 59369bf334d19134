"""What 10,000 single-document adds leave of an index: latency, segments, open files.

    python experiments/benchmarks/adds.py --work FOLDER [--processes] [--adds 10000]

Builds an index of random documents around shared centres, then adds documents one at a time, durably
and with default settings, under a limit of 256 open files: all in this process, or with
``--processes`` each in a forked process of its own that loads the index, adds one document, and ends.
Ten times on the way, queries are timed against the index and a compacted copy of it, alternating.
Appends rows to experiments/results/adds.csv.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import time
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
from results import Row, append_rows, machine_and_commit

from colmodern import PlaidIndex, TokenEmbeddings
from colmodern.ragged.offsets import offsets_of

RESULTS = Path(__file__).resolve().parents[1] / "results"
COLUMNS = (
    "date",
    "commit",
    "machine",
    "mode",
    "open_files_limit",
    "n_docs_at_first",
    "adds",
    "n_tokens",
    "dim",
    "nbits",
    "k",
    "add_ms_median",
    "add_ms_max",
    "segments",
    "most_segments",
    "most_descriptors",
    "latency_ms",
    "latency_ms_compacted",
    "latency_ratio",
)
_DIM, _CENTRES, _NOISE, _QUERY_TOKENS, _K = 128, 2000, 0.5, 32, 10


class Collection:
    """Documents and queries whose tokens lie around shared centres."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        centres = rng.standard_normal((_CENTRES, _DIM), dtype=np.float32)
        self._centres = centres / np.linalg.norm(centres, axis=1, keepdims=True)

    def documents(self, n: int, seed: int) -> TokenEmbeddings:
        """Documents of 20 to 80 tokens."""
        rng = np.random.default_rng(seed)
        return self._tokens(rng, rng.integers(20, 81, n))

    def queries(self, n: int) -> TokenEmbeddings:
        """Queries of 32 tokens."""
        return self._tokens(np.random.default_rng(1 << 40), np.full(n, _QUERY_TOKENS))

    def _tokens(self, rng: np.random.Generator, lengths: Any) -> TokenEmbeddings:
        offsets = offsets_of(lengths)
        values = self._centres[rng.integers(0, _CENTRES, offsets[-1])]
        noise = rng.standard_normal(values.shape, dtype=np.float32)
        values = values + noise * np.float32(_NOISE / np.sqrt(_DIM))
        return TokenEmbeddings(values / np.linalg.norm(values, axis=1, keepdims=True), offsets)


def n_descriptors() -> int:
    """Open files of this process."""
    return len(os.listdir("/proc/self/fd")) - 1  # listing opens one itself


def add_in_child(folder: Path, document: TokenEmbeddings, doc_id: str) -> dict[str, Any]:
    """Load the index in a forked process, add one document to it, and end."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            index = PlaidIndex.load(folder, n_threads=1)
            facts = add_here(index, document, doc_id)
            os.write(writing, json.dumps(facts).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as stream:
        facts = stream.read()
    if os.waitpid(pid, 0)[1]:
        raise SystemExit(f"the process that adds {doc_id} failed")
    return dict(json.loads(facts))


def add_here(index: PlaidIndex, document: TokenEmbeddings, doc_id: str) -> dict[str, Any]:
    """Add one document; seconds of the add, segments and open files after it."""
    start = time.perf_counter()
    index.add(document, [doc_id])
    seconds = time.perf_counter() - start
    segments = index.info()["segments"]
    segments = segments if isinstance(segments, int) else len(segments)
    return {"seconds": seconds, "segments": segments, "descriptors": n_descriptors()}


def compare(folder: Path, queries: TokenEmbeddings, repeats: int) -> tuple[float, float, float]:
    """Median latency in ms of an index and of a compacted copy, and the median of their ratios.

    Each query is timed in pairs, one search of each index after another, taking turns in who is first.
    """
    copy = folder.with_name(f"{folder.name}-compacted")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    PlaidIndex.load(copy, n_threads=1).compact(durable=False)
    indexes = [PlaidIndex.load(path, n_threads=1) for path in (folder, copy)]
    fastest = np.full((len(queries), 2), np.inf)
    for turn in range(repeats + 1):  # the first verifies and compiles
        for number, query in enumerate(queries):
            for which in (0, 1) if (turn + number) % 2 else (1, 0):
                start = time.perf_counter()
                indexes[which].search(query, _K)
                taken = (time.perf_counter() - start) * 1000
                if turn:
                    fastest[number, which] = min(fastest[number, which], taken)
    grown, compacted = median(fastest[:, 0].tolist()), median(fastest[:, 1].tolist())
    return grown, compacted, median((fastest[:, 0] / fastest[:, 1]).tolist())


@click.command()
@click.option("--work", type=click.Path(path_type=Path), required=True)
@click.option("--processes", is_flag=True, help="a forked process for each add")
@click.option("--docs", default=5000, show_default=True, help="of the index at first")
@click.option("--adds", default=10_000, show_default=True)
@click.option("--nbits", default=4, show_default=True)
@click.option("--open-files", default=256, show_default=True, help="limit of descriptors")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(
    work: Path,
    processes: bool,
    docs: int,
    adds: int,
    nbits: int,
    open_files: int,
    results: Path,
) -> None:
    """Add documents one at a time and time searches on the way."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))
    collection, folder = Collection(), work / ("adds-processes" if processes else "adds-one")
    shutil.rmtree(folder, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    ids = [f"d{i}" for i in range(docs)]
    index = PlaidIndex.build(collection.documents(docs, 0), folder, ids, nbits=nbits)
    queries, rows, taken = collection.queries(100), [], []
    most = {"segments": 0, "descriptors": 0}
    # these compile or load what a process needs, before it is forked
    compare(folder, queries[:2], 1)
    for number in range(1, adds + 1):
        document, doc_id = collection.documents(1, number), f"n{number}"
        if processes:
            facts = add_in_child(folder, document, doc_id)
        else:
            facts = add_here(index, document, doc_id)
        taken.append(facts["seconds"] * 1000)
        most = {name: max(value, facts[name]) for name, value in most.items()}
        if number % max(1, adds // 10):
            continue
        grown, compacted, ratio = compare(folder, queries, 7)
        info = PlaidIndex.load(folder).info()
        if info["documents"] != docs + number:
            raise SystemExit(
                f"{docs + number} documents were added and {info['documents']} are there"
            )
        row: Row = {"date": time.strftime("%Y-%m-%d"), **machine_and_commit()}
        row["mode"] = "a process for each add" if processes else "one process"
        row |= {"open_files_limit": open_files, "n_docs_at_first": docs, "adds": number}
        row |= {"n_tokens": info["tokens"], "dim": _DIM, "nbits": nbits, "k": _K}
        row |= {"add_ms_median": round(median(taken), 1), "add_ms_max": round(max(taken), 1)}
        row |= {"segments": facts["segments"], "most_segments": most["segments"]}
        row |= {"most_descriptors": most["descriptors"], "latency_ms": round(grown, 3)}
        row |= {"latency_ms_compacted": round(compacted, 3), "latency_ratio": round(ratio, 3)}
        click.echo(row)
        rows.append(row)
    PlaidIndex.check(folder)
    append_rows(results / "adds.csv", rows, COLUMNS)


if __name__ == "__main__":
    main()
