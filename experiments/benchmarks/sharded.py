"""Several shards beside one index: latency on one machine, and what codecs of their own lose.

    python experiments/benchmarks/sharded.py --work FOLDER
    python experiments/benchmarks/sharded.py DOCS_STORE QUERIES_STORE --name npl --work FOLDER

Without stores, documents are random: words of a vocabulary with the frequencies of a text, each token
with noise of its own. One index is built and split into shards with its codec; beside them the same
shards are built with codecs of their own. Every query is asked of all arrangements in turn, so that
other work on the machine meets all of them. Appends rows to experiments/results/sharded.csv.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import click
import numpy as np
from results import append_rows, machine_and_commit

from colmodern import ExactIndex, PlaidIndex, ShardedIndex, TokenEmbeddings, shard_index
from colmodern.index.sharded.placement import shards_of
from colmodern.ragged.offsets import offsets_of
from colmodern.ragged.store import EmbeddingStore

RESULTS = Path(__file__).resolve().parents[1] / "results"
COLUMNS = (
    "date",
    "commit",
    "machine",
    "load",
    "collection",
    "n_docs",
    "n_tokens",
    "dim",
    "nbits",
    "arrangement",
    "shards",
    "codecs",
    "threads",
    "n_queries",
    "k",
    "latency_ms_median",
    "latency_ms_p90",
    "cpu_ms_median",
    "overlap@10",
    "overlap@100",
)
_N_WORDS, _DIM = 4000, 64


def random_texts(lengths: Sequence[int], seed: int, subject: float = 0.4) -> TokenEmbeddings:
    """Unit rows around one place for each word, with a subject that the tokens of a text share."""
    places = np.random.default_rng(7).standard_normal((_N_WORDS, _DIM), np.float32)
    rng = np.random.default_rng(seed)
    words = (rng.zipf(1.2, sum(lengths)) % _N_WORDS).astype(np.int32)
    values = places[words]
    values += 0.5 * rng.standard_normal(values.shape, np.float32)
    shared = subject * rng.standard_normal((len(lengths), _DIM), np.float32)
    values += np.repeat(shared, lengths, axis=0)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return TokenEmbeddings(values.astype(np.float16), offsets_of(lengths), words)


def queries_of(documents: TokenEmbeddings, n: int, seed: int) -> TokenEmbeddings:
    """Eight tokens of a document each, with noise: it is among the best, and others compete."""
    rng = np.random.default_rng(seed)
    texts = []
    for doc in rng.choice(documents.n_docs, n, replace=False).tolist():
        tokens = np.asarray(documents[doc], np.float32)
        chosen = tokens[rng.integers(0, len(tokens), 8)]
        chosen = chosen + rng.standard_normal(chosen.shape, np.float32) * np.float32(
            0.6 / _DIM**0.5
        )
        texts.append(chosen / np.linalg.norm(chosen, axis=1, keepdims=True))
    return TokenEmbeddings.from_list(texts)


def arrangements(
    documents: Any,
    doc_ids: Sequence[str],
    work: Path,
    nbits: int,
    counts: Sequence[int],
    threads: int,
) -> dict[str, tuple[int, str, Any]]:
    """Number of shards, whose codecs, and the open index, by name."""
    whole = work / "whole"
    if not whole.exists():
        PlaidIndex.build(documents, whole, doc_ids, nbits=nbits, max_memory="2G")
    made: dict[str, tuple[int, str, Any]] = {
        "one index": (1, "one", PlaidIndex.load(whole, n_threads=threads))
    }
    for n in counts:
        folder = work / f"shards-{n}"
        if not folder.exists():
            shard_index(whole, folder, n)
        made[f"{n} shards, one codec"] = (n, "one", ShardedIndex.load(folder, n_threads=threads))
    for n in (count for count in counts if count > 1):
        owners, shards = shards_of(doc_ids, n), []
        for number in range(n):
            path, own = work / f"own-{n}-{number}", np.flatnonzero(owners == number)
            if not path.exists():
                ids = [doc_ids[i] for i in own.tolist()]
                PlaidIndex.build(documents.select(own), path, ids, nbits=nbits, max_memory="2G")
            shards.append(PlaidIndex.load(path, n_threads=max(1, threads // n)))
        made[f"{n} shards, own codecs"] = (n, "own", ShardedIndex(shards, is_hashed=True))
    return made


def time_searches(
    indexes: Mapping[str, Any], queries: TokenEmbeddings, k: int
) -> dict[str, dict[str, float]]:
    """Milliseconds of a query's fastest of three, and its CPU milliseconds, in each arrangement."""
    fastest: dict[str, list[float]] = {name: [] for name in indexes}
    cpu: dict[str, list[float]] = {name: [] for name in indexes}
    for index in indexes.values():
        index.search(queries[0], k)
    for query in queries:
        best = dict.fromkeys(indexes, (np.inf, np.inf))
        for _ in range(3):
            for name, index in indexes.items():
                start, used = time.perf_counter(), time.process_time()
                index.search(query, k)
                taken = time.perf_counter() - start, time.process_time() - used
                best[name] = tuple(map(min, zip(best[name], taken, strict=True)))
        for name, (seconds, used) in best.items():
            fastest[name].append(seconds * 1000)
            cpu[name].append(used * 1000)
    return {
        name: {
            "latency_ms_median": round(median(fastest[name]), 2),
            "latency_ms_p90": round(quantiles(fastest[name], n=10)[-1], 2),
            "cpu_ms_median": round(median(cpu[name]), 2),
        }
        for name in indexes
    }


def overlap(results: Sequence[Any], truth: Sequence[Any], k: int) -> float:
    """Mean share of exact search's best k documents that are among the best k."""
    shares = [
        len({d.doc_id for d in found[:k]} & {d.doc_id for d in best[:k]}) / len(best[:k])
        for found, best in zip(results, truth, strict=True)
    ]
    return round(float(np.mean(shares)), 4)


@click.command()
@click.argument("documents", required=False, type=click.Path(exists=True, path_type=Path))
@click.argument("queries", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--n-docs", default=100_000, show_default=True, help="Of random documents.")
@click.option("--shards", "counts", multiple=True, type=int, default=(1, 2, 4), show_default=True)
@click.option("--nbits", default=2, show_default=True)
@click.option("--k", default=100, show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--max-queries", default=100, show_default=True)
@click.option("--name", default="random", show_default=True)
@click.option("--work", type=click.Path(path_type=Path), required=True)
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(
    documents: Path | None,
    queries: Path | None,
    n_docs: int,
    counts: tuple[int, ...],
    nbits: int,
    k: int,
    threads: int,
    max_queries: int,
    name: str,
    work: Path,
    results: Path,
) -> None:
    """Build the arrangements, time them in turn, and hold them against exact search."""
    work.mkdir(parents=True, exist_ok=True)
    corpus: Any
    if documents is None or queries is None:
        lengths = np.random.default_rng(0).integers(10, 40, n_docs).tolist()
        corpus = random_texts(lengths, seed=1)
        doc_ids = [f"d{i}" for i in range(n_docs)]
        asked = queries_of(corpus, max_queries, seed=2)
    else:
        corpus = EmbeddingStore(documents)
        doc_ids, asked = corpus.doc_ids, EmbeddingStore(queries).to_memory()[:max_queries]
    made = arrangements(corpus, doc_ids, work, nbits, counts, threads)
    load = os.getloadavg()[0]
    times = time_searches({name: index for name, (_, _, index) in made.items()}, asked, k)
    truth = ExactIndex(corpus, doc_ids, max_memory="2G").search_batch(asked, 100)
    rows = []
    for arrangement, (n, codecs, index) in made.items():
        found = index.search_batch(asked, 100)
        row = {"date": date.today().isoformat(), **machine_and_commit(), "load": round(load, 1)}
        row |= {"collection": name, "n_docs": len(doc_ids), "n_tokens": corpus.n_tokens}
        row |= {"dim": corpus.dim, "nbits": nbits, "arrangement": arrangement, "shards": n}
        row |= {"codecs": codecs, "threads": threads, "n_queries": len(asked), "k": k}
        row |= times[arrangement]
        row |= {f"overlap@{depth}": overlap(found, truth, depth) for depth in (10, 100)}
        click.echo(row)
        rows.append(row)
    append_rows(results / "sharded.csv", rows, COLUMNS)


if __name__ == "__main__":
    main()
