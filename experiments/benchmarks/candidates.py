"""Would candidates of BM25 help the compressed index? Few probed centroids, with and without them.

    python experiments/benchmarks/candidates.py --work FOLDER DATASET [DATASET ...]

Reads what experiments/benchmarks/stages.py left in FOLDER. The candidates of BM25 are scored by all of
their compressed tokens and united with the results of the usual search, which is what one search with both
kinds of candidates would return. Rows go to experiments/results/candidates.csv. Needs the extra bm25.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import click
import numpy as np
from results import Row, append_rows, machine_and_commit

from colmodern import BM25Index, PlaidIndex, ScoredDoc, evaluate
from colmodern.evaluation.fidelity import overlap
from colmodern.evaluation.significance import randomisation_test
from colmodern.evaluation.trec import read_qrels, read_run
from colmodern.pipeline.open.artifacts import index_of, stores_of

RESULTS = Path(__file__).resolve().parents[1] / "results" / "candidates.csv"
K, N_QUERIES = 100, 500
NPROBE = (1, 2, 4, 8, None)
DEPTHS = (100, 1000)
COLUMNS = (
    *("date", "commit", "machine", "dataset", "n_docs", "n_tokens", "n_queries", "nprobe"),
    *("bm25_depth", "nDCG@10", "R@100", "overlap@10", "overlap@100", "ms_median", "p_nDCG"),
)


@click.command()
@click.argument("datasets", nargs=-1, required=True)
@click.option("--work", required=True, type=click.Path(path_type=Path))
@click.option("--keep/--no-keep", default=True, show_default=True, help="Append the rows.")
def main(datasets: tuple[str, ...], work: Path, keep: bool) -> None:
    """Search with each number of probed centroids, and add BM25's candidates."""
    for name in datasets:
        plaid_run, words_run = (
            next(folder for folder in sorted(work.glob(f"stages-{name}-{number}")))
            for number in (3, 0)
        )
        rows = _measure(name, plaid_run, words_run, work / f"stages-{name}-7")
        if keep:
            append_rows(RESULTS, rows, COLUMNS)


def _measure(name: str, plaid_run: Path, words_run: Path, exact_run: Path) -> list[Row]:
    plaid_folder, words_folder = index_of(plaid_run), index_of(words_run)
    assert plaid_folder is not None, plaid_run
    assert words_folder is not None, words_run
    plaid = PlaidIndex.load(plaid_folder, while_compiling="wait", n_threads=1)
    words, queries = BM25Index.load(words_folder), stores_of(plaid_run)["queries"]
    texts = _texts(plaid_run)
    qrels, exact = read_qrels(plaid_run / "qrels.trec"), read_run(exact_run / "run.trec")
    ids, embeddings = queries.doc_ids[:N_QUERIES], queries.to_memory()
    rows: list[Row] = []
    for nprobe in NPROBE:
        base: dict[str, dict[str, float]] | None = None
        for depth in (0, *DEPTHS):

            def search(position: int, nprobe: Any = nprobe, depth: int = depth) -> list[ScoredDoc]:
                query = embeddings[position]
                found = plaid.search(query, K, nprobe=nprobe)
                if not depth:
                    return list(found)
                first = [doc_id for doc_id, _ in words.search(texts[ids[position]], depth)]
                if not first:
                    return list(found)
                added = plaid.search(query, K, filter=first, n_candidates=max(K, len(first)))
                united = {**dict(added), **dict(found)}
                best = sorted(united.items(), key=lambda pair: (-pair[1], pair[0]))[:K]
                return [ScoredDoc(*pair) for pair in best]

            run, median = _timed(search, ids)
            evaluation = evaluate(run, qrels, ["nDCG@10", "R@100"])
            row: Row = {
                "date": date.today().isoformat(),
                **machine_and_commit(),
                "dataset": name,
                "n_docs": plaid.n_docs,
                "n_tokens": plaid.info()["tokens"],
                "n_queries": len(ids),
                "nprobe": "default" if nprobe is None else nprobe,
                "bm25_depth": depth,
                **{measure: f"{value:.4f}" for measure, value in evaluation.mean.items()},
                "ms_median": f"{median * 1e3:.3f}",
            }
            for n in (10, 100):
                shares = [overlap(run[q], exact.get(q, []), n) for q in ids]
                row[f"overlap@{n}"] = f"{np.mean(shares):.4f}"
            if base is None:
                base = evaluation.per_query
            else:
                values = [evaluation.per_query[q]["nDCG@10"] - base[q]["nDCG@10"] for q in base]
                row["p_nDCG"] = f"{randomisation_test([np.array(values)]):.4f}"
            rows.append(row)
            shown = ("dataset", "nprobe", "bm25_depth", *COLUMNS[9:])
            print({column: row.get(column) for column in shown}, flush=True)
    return rows


def _timed(
    search: Callable[[int], list[ScoredDoc]], ids: list[str]
) -> tuple[dict[str, list[ScoredDoc]], float]:
    """The run, and the median seconds of a query."""
    search(0)
    run, seconds = {}, []
    for position, query_id in enumerate(ids):
        start = time.perf_counter()
        run[query_id] = search(position)
        seconds.append(time.perf_counter() - start)
    return run, statistics.median(seconds)


def _texts(run: Path) -> dict[str, str]:
    """Query texts of a run, by id."""
    lines = (run / "per_query.jsonl").read_text().splitlines()
    return {row["query_id"]: row["query"] for row in map(json.loads, lines)}


if __name__ == "__main__":
    main()
