"""What it costs to keep the characters of tokens: an encoding, bytes, a search; in CPU seconds.

    python experiments/benchmarks/spans.py [--max-docs 1000] [--work FOLDER]

Encodes the built-in collection with colmodern/tiny by turns with and without spans, pooled and not,
builds an index of each, and searches it with and without passages. Seconds are those of all threads
on the CPU, which other work on the machine changes little. Rows go to experiments/results/spans.csv.
"""

from __future__ import annotations

import itertools
import shutil
import statistics
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path

import click
from results import append_rows, machine_and_commit

from colmodern import (
    EmbeddingStore,
    Encoder,
    PlaidIndex,
    SpanSettings,
    TokenEmbeddings,
    load_dataset,
)
from colmodern.encoding.store import document_texts

RESULTS = Path(__file__).resolve().parents[1] / "results" / "spans.csv"
COLUMNS = ("date", "commit", "machine", "model", "collection", "n_docs", "n_tokens", "pool_factor")
FIGURES = (
    "tokenize_cpu_s", "tokenize_spans_cpu_s", "encode_cpu_s", "encode_spans_cpu_s",
    "store_bytes_per_token", "spans_bytes_per_token", "index_bytes_per_token",
    "index_spans_bytes_per_token", "search_cpu_ms", "search_passages_cpu_ms",
)  # fmt: skip


@click.command()
@click.option("--max-docs", default=1000)
@click.option("--repeats", default=3)
@click.option("--n-queries", default=100)
@click.option("--work", default="/dev/shm/spans", type=click.Path(path_type=Path))
def main(max_docs: int, repeats: int, n_queries: int, work: Path) -> None:
    """Measure by turns, and keep the quicker run of each."""
    dataset = load_dataset("stdlib")
    pairs = list(itertools.islice(document_texts(dataset.corpus, join_titles=True), max_docs))
    texts = dict(pairs)
    queries = list(dataset.queries.values())[:n_queries]
    common = {
        "date": date.today().isoformat(),
        **machine_and_commit(),
        "model": "colmodern/tiny, document_length 256",
        "collection": "stdlib",
        "n_docs": len(texts),
    }
    rows = []
    for factor in (1, 2):
        encoder = Encoder.from_pretrained(
            "colmodern/tiny", device="cpu", document_length=256, pool_factor=factor
        )
        encoder.encode_documents([*texts.values()][:64], spans=True)
        rows.append(
            {**common, "pool_factor": factor, **_costs(encoder, texts, queries, repeats, work)}
        )
    append_rows(RESULTS, rows, (*COLUMNS, *FIGURES))
    shutil.rmtree(work, ignore_errors=True)


def _costs(
    encoder: Encoder, texts: dict[str, str], queries: list[str], repeats: int, work: Path
) -> dict[str, float]:
    made: dict[bool, TokenEmbeddings] = {}
    seconds: dict[tuple[str, bool], float] = {}
    for _, spans in itertools.product(range(repeats), (False, True)):
        start = time.process_time()
        tokenized = encoder.tokenize(texts.values(), "document", spans=spans)
        middle = time.process_time()
        made[spans] = encoder.pool(encoder.encode_tokens(tokenized))
        times = {"tokenize": middle - start, "encode": time.process_time() - start}
        for task, took in times.items():
            seconds[task, spans] = min(took, seconds.get((task, spans), took))
    stored, indexed, latencies = {}, {}, {}
    embedded = encoder.encode_queries(queries)
    for spans, embeddings in made.items():
        folder = work / f"{encoder.settings.pool_factor}-{spans}"
        shutil.rmtree(folder, ignore_errors=True)
        EmbeddingStore.write(folder / "store", embeddings, list(texts), dtype="float16")
        index = PlaidIndex.build(folder / "store", folder / "index")
        files = [path for path in (folder / "store").rglob("*") if path.is_file()]
        stored[spans] = sum(path.stat().st_size for path in files) / embeddings.n_tokens
        indexed[spans] = index.info()["bytes"]["total"] / embeddings.n_tokens
        settings = SpanSettings(texts=texts) if spans else False
        for query in embedded:  # the first searches compile
            index.search(query, 10, spans=settings)
        latencies[spans] = _median_ms(partial(index.search, k=10, spans=settings), embedded)
    return {
        "n_tokens": made[True].n_tokens,
        "tokenize_cpu_s": round(seconds["tokenize", False], 3),
        "tokenize_spans_cpu_s": round(seconds["tokenize", True], 3),
        "encode_cpu_s": round(seconds["encode", False], 3),
        "encode_spans_cpu_s": round(seconds["encode", True], 3),
        "store_bytes_per_token": round(stored[False], 2),
        "spans_bytes_per_token": round(stored[True] - stored[False], 2),
        "index_bytes_per_token": round(indexed[False], 2),
        "index_spans_bytes_per_token": round(indexed[True] - indexed[False], 2),
        "search_cpu_ms": round(latencies[False], 3),
        "search_passages_cpu_ms": round(latencies[True], 3),
    }


def _median_ms(search: Callable[[object], object], queries: TokenEmbeddings) -> float:
    times = []
    for query in queries:
        start = time.process_time()
        search(query)
        times.append(time.process_time() - start)
    return 1000 * statistics.median(times)


if __name__ == "__main__":
    main()
