"""Requests a second of ``colmodern serve``, and what HTTP costs beside calling the library.

    python experiments/benchmarks/serve.py --work FOLDER [--peer-python PYTHON]

The collection of --n-docs passages is made in the folder at the first run, which takes minutes, and
kept. Server, clients and library are three processes, and only one of library and server works at a
time: they take turns, --rounds times, and the median of the turns is kept. ``canned`` is a server that
answers at once, so its figures are the clients' limit. --peer-python is an environment with pylate and
FastAPI; a plain server around PyLate then reranks the same documents with the same checkpoint. Rows go to
experiments/results/serve.csv.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from collection_adds import own_mb
from load_client import Job, LoadClient
from passages import opened_collection, queries_of
from results import append_rows, machine_and_commit
from server_process import ServerProcess, colmodern_server, free_port

import colmodern
from colmodern import Collection, Reranker

RESULTS = Path(__file__).resolve().parents[1] / "results" / "serve.csv"
COLUMNS = (
    "date", "commit", "machine", "load", "task", "engine", "n_docs", "k", "clients", "requests",
    "requests_per_s", "ms_p50", "ms_p99", "server_cpu_ms", "client_cpu_ms", "answer_bytes", "failed",
    "over_library", "unit", "memory_mb", "note",
)  # fmt: skip
PARTS = ("search", "spans", "rerank", "memory")
SEARCH = "/v1/indexes/passages/search"
RERANK = "/v2/rerank"
_K = 10
_BATCH = 64  # queries that the library gets at once
_RERANKED = 100  # documents of a request
_WARM_S = 1.0
Figures = dict[str, Any]


class Bench:
    """What all parts share: the server, its clients, the collection in this process, the rows."""

    def __init__(
        self, server: ServerProcess, clients: LoadClient, collection: Collection, seconds: float
    ) -> None:
        self.server, self.clients, self.collection = server, clients, collection
        self.seconds = seconds
        self.queries = queries_of(collection, 4000)
        for warm in (self.queries[0], self.queries[:_BATCH]):  # kernels compile and files are read
            collection.search(warm, _K)
        self.rows: list[Figures] = []
        self._common = {"date": date.today().isoformat(), **machine_and_commit()}

    def ask(self, job: Job, server: ServerProcess | None = None) -> Figures:
        """Let clients ask a server, by default the one that is measured."""
        server = server or self.server
        before = server.cpu_s
        figures = self.clients.run(job)
        asked = sum(figures["statuses"].values())
        return {**figures, "server_cpu_ms": 1000 * (server.cpu_s - before) / max(1, asked)}

    def keep(self, task: str, engine: str, clients: int, figures: Figures, **more: Any) -> None:
        """Add a row."""
        row = {
            **self._common, "load": round(os.getloadavg()[0], 1), "task": task, "engine": engine,
            "n_docs": len(self.collection), "k": _K, "clients": clients, **figures, **more,
        }  # fmt: skip
        row = {name: _rounded(value) for name, value in row.items()}
        click.echo(json.dumps({name: row[name] for name in row if name not in self._common}))
        self.rows.append(row)


def measure_search(bench: Bench, counts: tuple[int, ...], rounds: int, *, spans: bool) -> None:
    """Searches through HTTP at several numbers of clients, beside those of the library."""
    task = "search with spans" if spans else "search"
    bodies = [json.dumps({"queries": [q], "k": _K, "spans": spans}) for q in bench.queries]
    port = bench.server.port

    def library(n: int) -> Callable[[], Figures]:
        return lambda: _timed(_library_searches(bench, n, spans=spans), bench.seconds, n)

    def served(n: int) -> Callable[[], Figures]:
        job = Job(port, SEARCH, bodies, n, _WARM_S, bench.seconds)
        return lambda: bench.ask(job)

    def library_on_one_thread() -> Figures:
        """The library with the threads of PyTorch that the server gives a query."""
        n_threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return library(1)()
        finally:
            torch.set_num_threads(n_threads)

    turns = {("library", 1): library(1), ("library", _BATCH): library(_BATCH)}
    turns["library on one thread", 1] = library_on_one_thread
    turns |= {("colmodern serve", n): served(n) for n in counts}
    figures = _by_turns(turns, rounds)
    alone, batched = figures["library", 1], figures["library", _BATCH]
    bench.keep(task, "library, one query at a time", 1, alone, memory_mb=own_mb())
    on_one = figures["library on one thread", 1]
    bench.keep(task, "library, one query at a time, PyTorch on one thread", 1, on_one)
    bench.keep(task, f"library, {_BATCH} queries at a time", 1, batched)
    for n in counts:
        served_here = figures["colmodern serve", n]
        more: Figures = {}
        if n == 1:
            more = {"over_library": served_here["ms_p50"] - alone["ms_p50"], "unit": "ms"}
            over_same = served_here["ms_p50"] - on_one["ms_p50"]
            more["note"] = f"{over_same:.2f} ms over the library with PyTorch on one thread"
        elif n >= _BATCH:
            ratio = served_here["requests_per_s"] / batched["requests_per_s"]
            more = {"over_library": 100 * (1 - ratio), "unit": "% of requests/s"}
        bench.keep(task, "colmodern serve", n, served_here, **more)
    size = round(figures["colmodern serve", counts[0]]["answer_bytes"])
    with _canned(size) as canned_port:
        for n in counts:
            limit = bench.clients.run(Job(canned_port, SEARCH, bodies, n, _WARM_S, 2.0))
            bench.keep(task, "canned", n, limit, note="the clients' limit")


def measure_rerank(bench: Bench, peer: ServerProcess | None, rounds: int) -> None:
    """Rerank the first 100 results of queries, through HTTP and with the library."""
    counts = (1, 16)
    requests = []
    for query in bench.queries[:60]:
        hits = bench.collection.search(query, _RERANKED, spans=False)
        requests.append((query, [hit.text for hit in hits]))
    bodies = [
        json.dumps({"model": "colmodern/tiny", "query": query, "documents": texts, "top_n": _K})
        for query, texts in requests
    ]
    ranker = Reranker(bench.collection.encoder)

    def library() -> Iterator[object]:
        for query, texts in itertools.cycle(requests):
            yield ranker.rank(query, dict(enumerate_ids(texts)), _K)

    seconds = max(8.0, bench.seconds)
    turns: dict[tuple[str, int], Callable[[], Figures]] = {
        ("library", 1): lambda: _timed(library(), seconds, 1)
    }
    servers = {"colmodern serve": bench.server}
    if peer is not None:
        servers["FastAPI and PyLate"] = peer
    for name, server in servers.items():
        for n in counts:
            job = Job(server.port, RERANK, bodies, n, _WARM_S, seconds)
            turns[name, n] = lambda job=job, server=server: bench.ask(job, server)  # type: ignore[misc]
    task, note = f"rerank {_RERANKED} documents", f"{sum(map(len, bodies)) // len(bodies)} B a body"
    for (engine, n), figures in _by_turns(turns, rounds).items():
        bench.keep(task, engine, n, figures, note=note)


def measure_memory(bench: Bench, n_requests: int) -> None:
    """Memory of the server after each tenth of many requests."""
    bodies = [json.dumps({"queries": [q], "k": _K, "spans": True}) for q in bench.queries]
    for tenth in range(1, 11):
        job = Job(bench.server.port, SEARCH, bodies, 16, n_requests=n_requests // 10)
        figures = bench.ask(job)
        memory = own_mb(bench.server.pid)
        note = f"after {tenth * (n_requests // 10):,} requests of this part"
        bench.keep("memory", "colmodern serve", 16, figures, memory_mb=memory, note=note)


def enumerate_ids(texts: list[str]) -> Iterator[tuple[str, str]]:
    """Texts with ids of their own."""
    return ((str(number), text) for number, text in enumerate(texts))


def _library_searches(bench: Bench, n: int, *, spans: bool) -> Iterator[object]:
    """Searches of one query at a time, or of a list of them; with the threads of the server."""
    threads = 1 if n == 1 else None
    search = bench.collection.search
    for first in itertools.cycle(range(0, len(bench.queries) - n, n)):
        batch = bench.queries[first : first + n]
        yield search(batch[0] if n == 1 else batch, _K, spans=spans, n_threads=threads)


def _timed(work: Iterator[object], seconds: float, n: int) -> Figures:
    """Requests a second and latencies of work that is done ``n`` requests at a time."""
    warm = time.perf_counter() + _WARM_S
    while time.perf_counter() < warm:
        next(work)
    begin, cpu, taken = time.perf_counter(), time.process_time(), []
    while (now := time.perf_counter()) < begin + seconds:
        next(work)
        taken.append(1000 * (time.perf_counter() - now))
    elapsed, done = time.perf_counter() - begin, n * len(taken)
    return {
        "requests": done,
        "requests_per_s": done / elapsed,
        "ms_p50": float(np.percentile(taken, 50)),
        "ms_p99": float(np.percentile(taken, 99)),
        "server_cpu_ms": 1000 * (time.process_time() - cpu) / done,
        "failed": 0,
    }


def _by_turns(
    turns: dict[tuple[str, int], Callable[[], Figures]], rounds: int
) -> dict[tuple[str, int], Figures]:
    """Medians of the figures of each turn; all take their turn in each round."""
    taken: dict[tuple[str, int], list[Figures]] = {name: [] for name in turns}
    for _ in range(rounds):
        for name, turn in turns.items():
            taken[name].append(turn())
    return {name: _medians(figures) for name, figures in taken.items()}


def _medians(rounds: list[Figures]) -> Figures:
    names = [name for name in rounds[0] if name != "statuses"]
    middle = {name: statistics.median(figures[name] for figures in rounds) for name in names}
    sums = {name: sum(figures[name] for figures in rounds) for name in ("requests", "failed")}
    return {**middle, **sums}


@contextmanager
def _canned(n_bytes: int) -> Iterator[int]:
    """The port of a server that answers at once with so many bytes."""
    script = Path(__file__).with_name("canned_server.py")
    command = [sys.executable, str(script), str(n_bytes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def _peer(python: Path, log: Path) -> ServerProcess:
    """The plain server around PyLate, with the checkpoint of colmodern/tiny."""
    checkpoint = Path(colmodern.__file__).parent / "tiny"
    script, port = Path(__file__).with_name("plain_server.py"), free_port()
    # -I keeps this folder off its path, where a module has the name of a package of transformers
    command = [str(python), "-I", str(script), str(checkpoint), str(port)]
    return ServerProcess(command, log, port, path="/health")


def _table(rows: list[Figures]) -> str:
    """The figures that are read first, in Markdown."""
    names = ("task", "engine", "clients", "requests_per_s", "ms_p50", "ms_p99", "over_library",
             "unit", "memory_mb", "failed")  # fmt: skip
    lines = [names, ["---"] * len(names)]
    lines += [[str(row.get(name, "")) for name in names] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


@click.command()
@click.option("--work", type=click.Path(path_type=Path), required=True)
@click.option("--n-docs", default=100_000, show_default=True)
@click.option("--corpus", "corpora", multiple=True, type=click.Path(path_type=Path, exists=True))
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), default=PARTS)
@click.option("--clients", "counts", multiple=True, default=(1, 16, 64), show_default=True)
@click.option("--seconds", default=6.0, show_default=True, help="of each turn")
@click.option("--rounds", default=3, show_default=True)
@click.option("--requests", default=50_000, show_default=True, help="of the part memory")
@click.option("--peer-python", type=click.Path(path_type=Path, exists=True))
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(
    work: Path,
    n_docs: int,
    corpora: tuple[Path, ...],
    parts: tuple[str, ...],
    counts: tuple[int, ...],
    seconds: float,
    rounds: int,
    requests: int,
    peer_python: Path | None,
    results: Path,
) -> None:
    """Measure the parts, print a line for each row, and append the rows."""
    work.mkdir(parents=True, exist_ok=True)
    folder = work / f"collection-{n_docs}"
    collection = opened_collection(folder, n_docs, corpora)
    with ExitStack() as stack:
        server = colmodern_server(work / "server.log", {"passages": folder}, "--read-only")
        stack.enter_context(server)
        bench = Bench(server, stack.enter_context(LoadClient()), collection, seconds)
        if "search" in parts:
            measure_search(bench, counts, rounds, spans=False)
        if "spans" in parts:
            measure_search(bench, counts, 1, spans=True)
        if "rerank" in parts:
            peer = None
            if peer_python is not None:
                peer = stack.enter_context(_peer(peer_python, work / "peer.log"))
            measure_rerank(bench, peer, 1)
        if "memory" in parts:
            measure_memory(bench, requests)
    append_rows(results, bench.rows, COLUMNS)
    click.echo(_table(bench.rows))


if __name__ == "__main__":
    main()
