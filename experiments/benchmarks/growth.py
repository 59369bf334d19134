"""Search latency and memory as a collection grows: real passages, and noisy copies of them.

    python experiments/benchmarks/growth.py DOCS_STORE QUERIES_STORE --copies 8 --work FOLDER

A copy has every token of the original plus noise of a tenth of its length, renormalised; so eight
copies of 123,522 passages stand for a million. Copies are made while the index is built and never
stored. Appends rows to experiments/results/growth.csv.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from statistics import median, quantiles

import click
import numpy as np
from results import append_rows, machine_and_commit

from colmodern import PlaidIndex, TokenEmbeddings
from colmodern.ragged.store import EmbeddingStore

RESULTS = Path(__file__).resolve().parents[1] / "results"
COLUMNS = (
    "date",
    "commit",
    "machine",
    "collection",
    "copies",
    "n_docs",
    "n_tokens",
    "dim",
    "nbits",
    "k",
    "threads",
    "build_s",
    "index_mb",
    "bytes_per_token",
    "latency_ms_median",
    "latency_ms_p90",
    "search_peak_mb",
    "search_anonymous_mb",
)
_NOISE = 0.1
_BANK = 1 << 16  # rows of noise, used from another place for every piece


class NoisyCopies(EmbeddingStore):
    """A store read ``copies`` times, every time but the first with other noise."""

    def __init__(self, folder: Path, copies: int) -> None:
        super().__init__(folder)
        self._copies = copies
        self._own_docs, self._own_ids = self.n_docs, super().doc_ids
        self.n_docs, self.n_tokens = self.n_docs * copies, self.n_tokens * copies
        noise = np.random.default_rng(0).standard_normal((_BANK, self.dim), dtype=np.float32)
        self._noise = noise * np.float32(_NOISE / np.sqrt(self.dim))

    @property
    def doc_ids(self) -> list[str]:
        """The ids of every copy."""
        return [f"{copy}/{doc_id}" for copy in range(self._copies) for doc_id in self._own_ids]

    def chunks(
        self, max_tokens: int, max_docs: int = 1 << 62
    ) -> Iterator[tuple[int, TokenEmbeddings]]:
        """As EmbeddingStore.chunks, copy after copy."""
        for copy in range(self._copies):
            for first, piece in super().chunks(max_tokens, max_docs):
                first_doc = copy * self._own_docs + first
                yield (
                    first_doc,
                    piece if copy == 0 or max_tokens > 1 << 40 else self._blur(piece, first_doc),
                )

    def _blur(self, piece: TokenEmbeddings, first_doc: int) -> TokenEmbeddings:
        rows = np.random.default_rng(first_doc).integers(0, _BANK, piece.n_tokens)
        values = piece.values + self._noise[rows]
        values /= np.linalg.norm(values, axis=1, keepdims=True)
        return TokenEmbeddings(values, piece.offsets, piece.token_ids)


def memory_mb(field: str) -> float:
    """A line of this process's status, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1000
    return float("nan")


def time_searches(
    index: PlaidIndex, queries: TokenEmbeddings, k: int, threads: int
) -> tuple[float, float]:
    """Median and 90th percentile of a query's fastest of three, in ms."""
    milliseconds = []
    for query in queries:
        best = np.inf
        for _ in range(3):
            start = time.perf_counter()
            index.search(query, k, n_threads=threads)
            best = min(best, time.perf_counter() - start)
        milliseconds.append(best * 1000)
    return median(milliseconds), quantiles(milliseconds, n=10)[-1]


@click.command()
@click.argument("documents", type=click.Path(exists=True, path_type=Path))
@click.argument("queries", type=click.Path(exists=True, path_type=Path))
@click.option("--copies", multiple=True, type=int, default=(1, 8), show_default=True)
@click.option("--nbits", default=2, show_default=True)
@click.option("--k", default=100, show_default=True)
@click.option("--max-queries", default=60, show_default=True)
@click.option("--name", default="passages", show_default=True)
@click.option("--work", type=click.Path(path_type=Path), required=True)
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(
    documents: Path,
    queries: Path,
    copies: tuple[int, ...],
    nbits: int,
    k: int,
    max_queries: int,
    name: str,
    work: Path,
    results: Path,
) -> None:
    """Build at each size and time searches with automatic settings."""
    query_embeddings = EmbeddingStore(queries).to_memory()[:max_queries]
    rows = []
    for n in copies:
        path, start = work / f"growth-{n}-{nbits}", time.perf_counter()
        build = {}
        if not path.exists():
            store = NoisyCopies(documents, n)
            PlaidIndex.build(store, path, nbits=nbits, max_memory="2G")
            build["build_s"] = round(time.perf_counter() - start, 1)
        index = PlaidIndex.load(path)
        info = index.info()
        for threads in (1, 2):
            middle, slow = time_searches(index, query_embeddings, k, threads)
            row = {"date": date.today().isoformat(), **machine_and_commit(), "collection": name}
            row |= {"copies": n, "n_docs": info["documents"], "n_tokens": info["tokens"]}
            row |= {"dim": info["dim"], "nbits": nbits, "k": k, "threads": threads, **build}
            row["index_mb"] = round(info["bytes"]["total"] / 1e6, 1)
            row["bytes_per_token"] = info["bytes_per_token"]["total"]
            row["latency_ms_median"], row["latency_ms_p90"] = round(middle, 2), round(slow, 2)
            row["search_peak_mb"] = round(memory_mb("VmHWM"), 1)
            row["search_anonymous_mb"] = round(memory_mb("RssAnon"), 1)
            click.echo(row)
            rows.append(row)
    append_rows(results / "growth.csv", rows, COLUMNS)


if __name__ == "__main__":
    main()
