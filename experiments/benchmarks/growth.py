"""Search latency, fidelity and memory as a collection grows.

    python experiments/benchmarks/growth.py DOCS_STORE QUERIES_STORE --docs 100000 --docs 1000000 \
        --work FOLDER

Documents are those of the store, and behind them documents made of halves of two of them with noise
(growth_corpus.py). Every size is built, its searches are timed, and overlap@10 with exact MaxSim over
all documents is counted, without and with rescoring. Rescoring reads embeddings that were made before
the clock started, since nothing is stored. A build that was stopped goes on where it was when the same
command runs again: with --seconds it stops by itself.
Appends rows to experiments/results/growth.csv.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import click
import numpy as np
import numpy.typing as npt
from growth_corpus import ResampledStore
from results import append_rows, machine_and_commit

from colmodern import PlaidIndex, TokenEmbeddings
from colmodern.errors import StorageError
from colmodern.files import read_json_object, write_json
from colmodern.index.plaid.search.request import SearchRequest
from colmodern.index.plaid.search.steps import search_view
from colmodern.ragged.store import EmbeddingStore
from colmodern.threads import Threads

RESULTS = Path(__file__).resolve().parents[1] / "results"
COLUMNS = (
    *("date", "commit", "machine", "collection", "copies", "n_docs", "n_tokens", "dim", "nbits"),
    *("k", "threads", "build_s", "index_mb", "bytes_per_token", "latency_ms_median"),
    *("latency_ms_p90", "search_peak_mb", "search_anonymous_mb", "load", "build_cpu_s"),
    *("build_peak_mb", "n_centroids", "n_queries", "rescored_ms_median", "rescored_ms_p90"),
    *("overlap@10", "rescored_overlap@10", "latency_cpu_ms_median", "rescored_cpu_ms_median"),
)
_SCORED = 5000  # documents that exact search scores
_AT_ONCE = 1000  # and those that it makes at once

Row = dict[str, Any]


def memory_mb(field: str) -> float:
    """A line of this process's status, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1000
    return float("nan")


def build(corpus: ResampledStore, path: Path, nbits: int, max_memory: str) -> Row:
    """Build the index, or go on; what it took, all runs together."""
    notes = path.with_name(path.name + ".json")
    if path.exists():
        return read_json_object(notes, StorageError, cure="delete it") if notes.exists() else {}
    spent = read_json_object(notes, StorageError, cure="delete it") if notes.exists() else {}
    start, used = time.perf_counter(), time.process_time()
    try:
        PlaidIndex.build(corpus, path, nbits=nbits, max_memory=max_memory, progress=True).close()
    finally:
        seconds, cpu = time.perf_counter() - start, time.process_time() - used
        spent["build_s"] = round(spent.get("build_s", 0) + seconds, 1)
        spent["build_cpu_s"] = round(spent.get("build_cpu_s", 0) + cpu, 1)
        spent["build_peak_mb"] = max(spent.get("build_peak_mb", 0), memory_mb("VmHWM"))
        write_json(notes, spent)
    return spent


def exact_best(corpus: ResampledStore, query: npt.NDArray[np.float32]) -> set[int]:
    """The ten best documents by exact MaxSim.

    Only those that are best without noise are scored; noise moves no score by as much as the others lack.
    """
    rough = corpus.maxsim_without_noise(query)
    docs = np.sort(np.argpartition(-rough, _SCORED)[:_SCORED])
    scores = np.empty(len(docs), np.float32)
    for start in range(0, len(docs), _AT_ONCE):
        made = corpus.make(docs[start : start + _AT_ONCE])
        similarities = made.values.astype(np.float32) @ query.T
        best = np.maximum.reduceat(similarities, made.offsets[:-1], axis=0)
        scores[start : start + _AT_ONCE] = best.sum(axis=1)
    lacking = np.sort(scores)[-10] - rough[docs].min()
    if (scores - rough[docs]).max() > lacking / 4:
        raise click.ClickException(
            f"noise may lift a document that was left out by {lacking:.2f}; score more than {_SCORED:,}"
        )
    return ten_best((docs, scores))


class MadeDocuments:
    """Stored embeddings as a search takes them: made when they are first asked for, then kept."""

    def __init__(self, corpus: ResampledStore) -> None:
        self._corpus = corpus
        self._values: dict[int, npt.NDArray[np.floating]] = {}
        self._addresses: dict[bytes, npt.NDArray[np.uint64]] = {}

    def __call__(self, docs: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.uint64], bool]:
        """Addresses of the documents' values, and that they are float16."""
        found = self._addresses.get(docs.tobytes())
        if found is None:
            for doc in docs.tolist():
                if doc not in self._values:
                    made = self._corpus.make(np.array([doc])).values
                    self._values[doc] = np.ascontiguousarray(made)
            found = np.array([self._values[d].ctypes.data for d in docs.tolist()], np.uint64)
            self._addresses[docs.tobytes()] = found
        return found, True


def fastest(call: Callable[[], Any]) -> tuple[float, float, Any]:
    """Milliseconds of the fastest of three calls, after one that is not timed; CPU time; its result."""
    result, best, least = call(), np.inf, np.inf
    for _ in range(3):
        start, used = time.perf_counter(), time.process_time()
        result = call()
        best, least = (
            min(best, time.perf_counter() - start),
            min(least, time.process_time() - used),
        )
    return best * 1000, least * 1000, result


def ten_best(matches: tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]) -> set[int]:
    """The ten documents with the largest scores."""
    docs, scores = matches
    return set(docs[np.lexsort((docs, -scores))[:10]].tolist())


def measure(
    index: PlaidIndex,
    corpus: ResampledStore,
    queries: TokenEmbeddings,
    k: int,
    n_threads: int,
    truth: Sequence[set[int]],
) -> Row:
    """Latency with decoded tokens and rescored; overlap@10 of the queries with a truth."""
    state, threads = index._state, Threads(n_threads)  # as index.search does, with made embeddings
    times: dict[str, list[float]] = {"latency": [], "rescored": []}
    used: dict[str, list[float]] = {"latency": [], "rescored": []}
    shared: dict[str, list[float]] = {"overlap@10": [], "rescored_overlap@10": []}
    for number, query in enumerate(np.ascontiguousarray(q, np.float32) for q in queries):
        plain = SearchRequest(state, k, None, None, None, None)
        stored: Any = MadeDocuments(corpus)
        rescored = SearchRequest(state, k, None, None, None, stored)
        for name, overlap, request in (
            ("latency", "overlap@10", plain),
            ("rescored", "rescored_overlap@10", rescored),
        ):
            ms, cpu_ms, matches = fastest(
                lambda request=request, query=query: search_view(
                    query, request.view, request.budget, threads, stored=request.stored
                )
            )
            times[name].append(ms)
            used[name].append(cpu_ms)
            if number < len(truth):
                shared[overlap].append(len(ten_best(matches) & truth[number]) / 10)
    row: Row = {}
    for name, values in times.items():
        row[f"{name}_ms_median"] = round(median(values), 2)
        row[f"{name}_ms_p90"] = round(quantiles(values, n=10)[-1], 2)
        row[f"{name}_cpu_ms_median"] = round(median(used[name]), 2)
    for name, values in shared.items():
        row[name] = round(float(np.mean(values)), 4) if values else ""
    return row


def stop_after(seconds: int | None) -> None:
    """Interrupt this process after so many seconds, as the key does.

    Processes that a shell starts in the background ignore SIGINT, so none is sent.
    """

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    if seconds is not None:
        signal.signal(signal.SIGALRM, interrupt)
        signal.alarm(seconds)


@click.command()
@click.argument("documents", type=click.Path(exists=True, path_type=Path))
@click.argument("queries", type=click.Path(exists=True, path_type=Path))
@click.option("--docs", multiple=True, type=int, default=(100_000, 1_000_000), show_default=True)
@click.option("--nbits", default=2, show_default=True)
@click.option("--k", "ks", multiple=True, type=int, default=(10, 100), show_default=True)
@click.option("--threads", multiple=True, type=int, default=(1, 2), show_default=True)
@click.option("--max-queries", default=60, show_default=True, help="Queries that are timed.")
@click.option("--max-exact", default=60, show_default=True, help="Queries searched exactly.")
@click.option("--max-memory", default="2G", show_default=True, help="Of a build.")
@click.option("--seconds", type=int, help="Stop after so many; run again to go on.")
@click.option("--name", default="passages", show_default=True)
@click.option("--work", type=click.Path(path_type=Path), required=True)
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(
    documents: Path,
    queries: Path,
    docs: tuple[int, ...],
    nbits: int,
    ks: tuple[int, ...],
    threads: tuple[int, ...],
    max_queries: int,
    max_exact: int,
    max_memory: str,
    seconds: int | None,
    name: str,
    work: Path,
    results: Path,
) -> None:
    """Build at each size, search exactly, and time searches with automatic settings."""
    stop_after(seconds)
    embeddings = EmbeddingStore(queries).to_memory()[:max_queries]
    work.mkdir(parents=True, exist_ok=True)
    for n_docs in docs:
        corpus, path = ResampledStore(documents, n_docs), work / f"growth-{n_docs}-{nbits}"
        built = build(corpus, path, nbits, max_memory)
        truth = [exact_best(corpus, np.asarray(q, np.float32)) for q in embeddings[:max_exact]]
        index = PlaidIndex.load(path, while_compiling="wait")
        info, rows = index.info(), []
        for k in ks:
            for n_threads in threads:
                row = {"date": date.today().isoformat(), **machine_and_commit(), **built}
                row |= {"collection": name, "n_docs": n_docs, "n_tokens": info["tokens"]}
                row |= {"dim": info["dim"], "nbits": nbits, "k": k, "threads": n_threads}
                row |= {"n_centroids": info["centroids"], "load": round(os.getloadavg()[0], 1)}
                row |= {"n_queries": embeddings.n_docs}
                row |= measure(index, corpus, embeddings, k, n_threads, truth)
                row["index_mb"] = round(info["bytes"]["total"] / 1e6, 1)
                row["bytes_per_token"] = info["bytes_per_token"]["total"]
                row["search_peak_mb"] = round(memory_mb("VmHWM"), 1)
                row["search_anonymous_mb"] = round(memory_mb("RssAnon"), 1)
                click.echo(row)
                rows.append(row)
        append_rows(results / "growth.csv", rows, COLUMNS)


if __name__ == "__main__":
    main()
