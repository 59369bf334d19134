"""What changing an index and filtering a search cost.

    python experiments/benchmarks/updates.py DOCS_STORE QUERIES_STORE --work FOLDER

Builds an index of all but the last 1,000 documents, adds those, deletes some, compacts; then times
searches without a filter, with one that lets half of the documents through, and with one that lets
through one in a hundred. Appends rows to experiments/results/updates.csv.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median

import click
import numpy as np
from results import append_rows, machine_and_commit

from colmodern import PlaidIndex, TokenEmbeddings
from colmodern.ragged.store import EmbeddingStore

RESULTS = Path(__file__).resolve().parents[1] / "results"
COLUMNS = ("date", "commit", "machine", "collection", "n_docs", "n_tokens", "what", "value", "unit")
_ADDED = 1000


def take(store: EmbeddingStore, start: int, stop: int) -> TokenEmbeddings:
    """Documents start to stop, copied into memory."""
    chunks, first = [], 0
    for shard in store.shards:
        low, high = max(0, start - first), min(shard.n_docs, stop - first)
        if low < high:
            chunks.append(shard[low:high])
        first += shard.n_docs
    ids = [chunk.token_ids for chunk in chunks]
    return TokenEmbeddings(
        np.concatenate([chunk.values for chunk in chunks]),
        np.concatenate([[0], np.cumsum(np.concatenate([chunk.lengths for chunk in chunks]))]),
        None if any(token_ids is None for token_ids in ids) else np.concatenate(ids),
    )


def seconds(call: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def latency_ms(search: Callable[[np.ndarray], object], queries: TokenEmbeddings) -> float:
    """Median over queries of the fastest of three, in ms."""
    return median(min(seconds(lambda q=q: search(q)) for _ in range(3)) for q in queries) * 1000


def measure(
    index: PlaidIndex, queries: TokenEmbeddings, ids: list[str], k: int
) -> list[tuple[str, float, str]]:
    """Rows about filters."""
    half, hundredth = ids[::2], ids[::100]
    made = index.filter(half)
    narrow = index.filter(hundredth)
    plain = latency_ms(lambda q: index.search(q, k), queries)
    filtered = latency_ms(lambda q: index.search(q, k, filter=made), queries)
    allowed, few, first = set(hundredth), min(10, len(hundredth)), queries[0]
    doc_ids = [doc.doc_id for doc in index.search(first, few, filter=narrow)]
    every = index.search(first, len(ids), n_candidates=len(ids))
    truth = [doc.doc_id for doc in every if doc.doc_id in allowed][:few]
    return [
        ("search, no filter", plain, "ms"),
        ("search, half of the documents, DocFilter", filtered, "ms"),
        ("search, 1 % of the documents, DocFilter", latency_ms(
            lambda q: index.search(q, k, filter=narrow), queries), "ms"),
        ("making a filter of half of the ids", seconds(lambda: index.filter(half)) * 1000, "ms"),
        ("1 % filter, top 10 equal to exhaustive search", float(doc_ids == truth), "1 is yes"),
    ]  # fmt: skip


@click.command()
@click.argument("documents", type=click.Path(exists=True, path_type=Path))
@click.argument("queries", type=click.Path(exists=True, path_type=Path))
@click.option("--nbits", default=2, show_default=True)
@click.option("--k", default=100, show_default=True)
@click.option("--name", default="passages", show_default=True)
@click.option("--work", type=click.Path(path_type=Path), required=True)
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(
    documents: Path, queries: Path, nbits: int, k: int, name: str, work: Path, results: Path
) -> None:
    """Time add, delete, compact and filters."""
    store = EmbeddingStore(documents)
    query_embeddings = EmbeddingStore(queries).to_memory()[:50]
    n = store.n_docs - _ADDED
    ids = [str(i) for i in range(store.n_docs)]
    work.mkdir(parents=True, exist_ok=True)
    rows = []
    for size in (n // 10, n):
        path = work / f"updates-{size}"
        index = PlaidIndex.build(
            take(store, 0, size), path, ids[:size], nbits=nbits, overwrite=True, max_memory="8G"
        )
        new = take(store, n, store.n_docs)
        index.add(new[:1], ["warm"])
        doc_ids = [
            (
                "add 1,000 documents",
                seconds(lambda index=index, new=new: index.add(new, ids[n:])),
                "s",
            ),
            (
                "delete 10 documents",
                seconds(lambda index=index: index.delete(ids[:10])) * 1000,
                "ms",
            ),
            ("load", seconds(lambda path=path: PlaidIndex.load(path)) * 1000, "ms"),
            *measure(index, query_embeddings, ids[10:size], k),
            ("compact", seconds(index.compact), "s"),
        ]
        info = index.info()
        for what, value, unit in doc_ids:
            row = {"date": date.today().isoformat(), **machine_and_commit(), "collection": name}
            row |= {"n_docs": info["documents"], "n_tokens": info["tokens"]}
            rows.append({**row, "what": what, "value": round(value, 3), "unit": unit})
            click.echo(f"{size:8} {what:50} {value:10.3f} {unit}")
    append_rows(results / "updates.csv", rows, COLUMNS)


if __name__ == "__main__":
    main()
