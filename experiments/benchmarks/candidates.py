"""What do candidates of BM25 do in the compressed index? Few probed centroids, with and without them.

    python experiments/benchmarks/candidates.py --work FOLDER DATASET [DATASET ...]
    python experiments/benchmarks/candidates.py --work FOLDER --latency LATENCY_FOLDER DATASET [DATASET ...]

Reads what experiments/benchmarks/stages.py left in FOLDER. Every query is searched in all ways in turn,
on one thread, so that a busy machine slows all of them alike; the time of BM25 is that of its own search
and part of the search that takes its candidates. With --latency only time is taken, in the indexes that
stages.py --latency made of 100,000 passages, for queries of the data sets. Rows go to
experiments/results/candidates.csv. Needs the extra bm25.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path

import click
import numpy as np
from results import Row, append_rows, machine_and_commit

from colmodern import BM25Index, PlaidIndex, ScoredDoc, evaluate
from colmodern.evaluation.fidelity import overlap
from colmodern.evaluation.significance import randomisation_test
from colmodern.evaluation.trec import read_qrels, read_run
from colmodern.pipeline.open.artifacts import index_of, stores_of

RESULTS = Path(__file__).resolve().parents[1] / "results" / "candidates.csv"
K, WARM = 100, 5
NPROBE = (1, 2, 4, 8, None)
DEPTHS = (100, 1000)
COLUMNS = (
    *("date", "commit", "machine", "dataset", "n_docs", "n_tokens", "n_queries", "nprobe"),
    *("bm25_depth", "nDCG@10", "R@100", "overlap@10", "overlap@100", "ms_median", "p_nDCG"),
    *("k", "ms_p99", "load"),
)


Way = tuple[int | None, int]  # nprobe, and how many documents of BM25 are candidates
Search = Callable[[int], Sequence[ScoredDoc]]


@click.command()
@click.argument("datasets", nargs=-1, required=True)
@click.option("--work", required=True, type=click.Path(path_type=Path))
@click.option("--latency", type=click.Path(path_type=Path, exists=True))
@click.option("--max-queries", default=500, show_default=True)
@click.option("--keep/--no-keep", default=True, show_default=True, help="Append the rows.")
def main(
    datasets: tuple[str, ...], work: Path, latency: Path | None, max_queries: int, keep: bool
) -> None:
    """Search with each number of probed centroids, alone and with BM25's candidates."""
    if latency is not None:
        rows = _times_among_many(datasets, work, latency, max_queries)
        if keep:
            append_rows(RESULTS, rows, COLUMNS)
        return
    for name in datasets:
        rows = _measure(name, work, max_queries)
        if keep:
            append_rows(RESULTS, rows, COLUMNS)


def _measure(name: str, work: Path, max_queries: int) -> list[Row]:
    words_run, plaid_run, exact_run = (work / f"stages-{name}-{number}" for number in (0, 3, 7))
    plaid_folder, words_folder = index_of(plaid_run), index_of(words_run)
    assert plaid_folder is not None, plaid_run
    assert words_folder is not None, words_run
    plaid = PlaidIndex.load(plaid_folder, while_compiling="wait", n_threads=1)
    words, queries = BM25Index.load(words_folder), stores_of(plaid_run)["queries"]
    texts = _texts(plaid_run)
    qrels, exact = read_qrels(plaid_run / "qrels.trec"), read_run(exact_run / "run.trec")
    ids, embeddings = queries.doc_ids[:max_queries], queries.to_memory()
    ways = _ways(plaid, words, [texts[query_id] for query_id in ids], list(embeddings), K)
    runs, seconds = _searched(ways, len(ids))
    rows: list[Row] = []
    base: Mapping[str, Mapping[str, float]] = {}
    for (nprobe, depth), results in runs.items():
        run = dict(zip(ids, results, strict=True))
        evaluation = evaluate(run, qrels, ["nDCG@10", "R@100"])
        row = _row(name, plaid, nprobe, depth, K, seconds[nprobe, depth])
        row |= {measure: f"{value:.4f}" for measure, value in evaluation.mean.items()}
        for n in (10, 100):
            shares = [overlap(run[q], exact.get(q, []), n) for q in ids]
            row[f"overlap@{n}"] = f"{np.mean(shares):.4f}"
        if not depth:
            base = evaluation.per_query
        else:
            values = [evaluation.per_query[q]["nDCG@10"] - base[q]["nDCG@10"] for q in base]
            row["p_nDCG"] = f"{randomisation_test([np.array(values)]):.4f}"
        rows.append(row)
        _print(row)
    return rows


def _times_among_many(
    datasets: Sequence[str], work: Path, latency: Path, max_queries: int
) -> list[Row]:
    plaid = PlaidIndex.load(latency / "plaid", while_compiling="wait", n_threads=1)
    words = BM25Index.load(latency / "bm25")
    texts, embeddings = [], []
    for name in datasets:
        run = work / f"stages-{name}-3"
        queries, own = stores_of(run)["queries"], _texts(run)
        texts += [own[query_id] for query_id in queries.doc_ids]
        embeddings += list(queries.to_memory())
    drawn = random.Random(0).sample(range(len(texts)), min(max_queries, len(texts)))
    ways = _ways(plaid, words, [texts[i] for i in drawn], [embeddings[i] for i in drawn], 10)
    _, seconds = _searched(ways, len(drawn))
    rows = [_row("latency", plaid, *way, 10, taken) for way, taken in seconds.items()]
    for row in rows:
        _print(row)
    return rows


def _ways(
    plaid: PlaidIndex,
    words: BM25Index,
    texts: Sequence[str],
    embeddings: Sequence[np.ndarray],
    k: int,
) -> dict[Way, Search]:
    """Each number of probed centroids, without and with the first documents of BM25."""

    def way(nprobe: int | None, depth: int) -> Search:
        def search(position: int) -> Sequence[ScoredDoc]:
            first = words.search(texts[position], depth) if depth else None
            return plaid.search(embeddings[position], k, nprobe=nprobe, candidates_from=first)

        return search

    return {(nprobe, depth): way(nprobe, depth) for nprobe in NPROBE for depth in (0, *DEPTHS)}


def _searched(
    ways: Mapping[Way, Search], n_queries: int
) -> tuple[dict[Way, list[Sequence[ScoredDoc]]], dict[Way, np.ndarray]]:
    """Results of every way, and (n_queries,) seconds."""
    for position in range(min(WARM, n_queries)):
        for search in ways.values():
            search(position)
    found: dict[Way, list[Sequence[ScoredDoc]]] = {way: [] for way in ways}
    seconds = {way: np.empty(n_queries) for way in ways}
    names = list(ways)
    for position in range(n_queries):
        shift = position % len(names)  # none is always the first
        for way in names[shift:] + names[:shift]:
            start = time.perf_counter()
            found[way].append(ways[way](position))
            seconds[way][position] = time.perf_counter() - start
    return found, seconds


def _row(
    name: str, plaid: PlaidIndex, nprobe: int | None, depth: int, k: int, seconds: np.ndarray
) -> Row:
    median, most = np.percentile(seconds, [50, 99]) * 1e3
    return {
        "date": date.today().isoformat(),
        **machine_and_commit(),
        "load": f"{os.getloadavg()[0]:.1f}",
        "dataset": name,
        "n_docs": plaid.n_docs,
        "n_tokens": plaid.info()["tokens"],
        "n_queries": len(seconds),
        "k": k,
        "nprobe": "default" if nprobe is None else nprobe,
        "bm25_depth": depth,
        "ms_median": f"{median:.3f}",
        "ms_p99": f"{most:.3f}",
    }


def _print(row: Row) -> None:
    print({column: row[column] for column in COLUMNS[4:] if column in row}, flush=True)


def _texts(run: Path) -> dict[str, str]:
    """Query texts of a run, by id."""
    lines = (run / "per_query.jsonl").read_text().splitlines()
    return {row["query_id"]: row["query"] for row in map(json.loads, lines)}


if __name__ == "__main__":
    main()
