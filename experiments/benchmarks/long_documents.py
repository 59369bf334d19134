"""Long documents as one encoding, as joined windows, and as passages that rank them.

    python experiments/benchmarks/long_documents.py --work FOLDER DATASET [DATASET ...]

A DATASET is a folder in the BEIR layout; --max-docs takes a seeded sample of its documents, with the
queries whose relevant documents are all in it. The long encoding has windows of --longest tokens, joined
to one document. Each --length is measured as passages, by their best score and by the sum of all; the
largest also with its windows joined, which have the same vectors. All of them read whole texts, so the
tokens are the same but for the special tokens of each passage.

Quality is that of exact search; the compressed index gives bytes, latency (one thread, one query after
another, in turns between the systems of a data set) and its own nDCG@10. Differences are from the long
encoding, query by query: two-sided randomisation tests, adjusted by Holm over the rows of a data set.
Rows go to experiments/results/long_documents.csv. Encodings, indexes and runs stay in FOLDER, so that
--only can make them in several calls; one with the long encoding among several systems keeps rows.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import click
import numpy as np
from differences import differences
from results import Row, append_rows, machine_and_commit
from rich.console import Console
from rich.table import Table

from colmodern import PassageIndex, PlaidIndex, load_dataset, run_eval
from colmodern.files import staging
from colmodern.pipeline.open.artifacts import index_of, stores_of
from colmodern.pipeline.result import EvalResult

RESULTS = Path(__file__).resolve().parents[1] / "results" / "long_documents.csv"
MEASURES = ("nDCG@10", "R@100")
LONG = "joined"
ROUNDS, TIMED_QUERIES = 2, 10
COLUMNS = (
    *("date", "commit", "machine", "dataset", "n_docs", "n_queries", "model", "document_length"),
    *("way", "n_stored", "n_tokens", *MEASURES, "plaid_nDCG@10", "plaid_overlap@10"),
    *("embedding_mb", "index_mb", "latency_ms_median", "latency_ms_p90", "compared_with"),
    *("difference", "low", "high", "p", "p_holm"),
)


@click.command()
@click.argument("datasets", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--work", required=True, type=click.Path(path_type=Path))
@click.option("--model", default="colmodern/tiny", show_default=True)
@click.option("--longest", default=2048, show_default=True, help="Tokens of the long windows.")
@click.option("--length", "lengths", multiple=True, type=int, default=(64, 128, 256))
@click.option("--max-queries", default=200, show_default=True, help="Seeded sample.")
@click.option("--max-docs", type=int, help="Seeded sample of the documents; default: all.")
@click.option("--only", multiple=True, help='Systems to evaluate, as "128 best".')
def main(
    datasets: tuple[Path, ...],
    work: Path,
    model: str,
    longest: int,
    lengths: tuple[int, ...],
    max_queries: int,
    max_docs: int | None,
    only: tuple[str, ...],
) -> None:
    """Evaluate every way of reading long documents, and keep and print the rows."""
    systems = [(longest, LONG), (max(lengths), LONG)]
    systems += [(length, way) for length in lengths for way in ("best", "sum")]
    for folder in datasets:
        results = {}
        sample = _sampled(folder, work / "sets", max_docs)
        for length, way in systems:
            if only and f"{length} {way}" not in only:
                continue
            config = _config(sample, work, model, length, way, max_queries)
            results[f"{length} {way}"] = run_eval(config, progress=True)
        reference = f"{longest} {LONG}"
        if len(results) < 2 or reference not in results:
            continue
        rows = list(_rows(sample.name, model, reference, results))
        append_rows(RESULTS, rows, COLUMNS)
        _show(rows)


def _sampled(folder: Path, work: Path, max_docs: int | None) -> Path:
    """The folder of a data set, or of a sample of its documents with the queries on them alone."""
    documents = _lines(folder / "corpus.jsonl")
    if max_docs is None or len(documents) <= max_docs:
        return folder
    target = work / f"{folder.name}-{max_docs}"
    if target.is_dir():
        return target
    kept = random.Random(0).sample(sorted(documents), max_docs)
    qrels = load_dataset(folder).qrels
    known = {q: grades for q, grades in qrels.items() if grades.keys() <= set(kept)}
    queries = _lines(folder / "queries.jsonl")
    with staging(target) as staged:
        (staged / "qrels").mkdir()
        (staged / "corpus.jsonl").write_text("".join(documents[doc_id] for doc_id in kept))
        (staged / "queries.jsonl").write_text("".join(queries[query] for query in known))
        judgments = [f"{q}\t{d}\t{n}\n" for q, grades in known.items() for d, n in grades.items()]
        header = "query-id\tcorpus-id\tscore\n"
        (staged / "qrels" / "test.tsv").write_text(header + "".join(judgments))
    return target


def _lines(path: Path) -> dict[str, str]:
    """The lines of a file of records by their ids."""
    with path.open() as lines:
        return {str(json.loads(line)["_id"]): line for line in lines}


def _config(
    folder: Path, work: Path, model: str, length: int, way: str, max_queries: int
) -> dict[str, Any]:
    is_passages = way in ("best", "sum")
    return {
        "name": f"long-{folder.name}-{length}-{way}",
        "dataset": {"name": str(folder), "max_queries": max_queries, "sample_seed": 0},
        "encoder": {
            "model": model,
            "document_length": length,
            "overflow": "split",
        },
        "index": {"kind": "plaid"},
        "search": {"k": 100, "passages": way if is_passages else None},
        "measures": list(MEASURES),
        "output": str(work),
    }


def _rows(
    dataset: str, model: str, reference: str, results: Mapping[str, EvalResult]
) -> Iterator[Row]:
    values = {system: _exact_values(result) for system, result in results.items()}
    compared = differences(values, reference)
    latencies = _latencies(results)
    for system, result in results.items():
        length, way = system.split()
        fidelity, store = result.fidelity, stores_of(result.folder)["documents"]
        assert fidelity is not None, "the config compares with exact search"
        median, most = np.percentile(latencies[system], [50, 90]) * 1e3
        row: Row = {
            "date": date.today().isoformat(),
            **machine_and_commit(),
            "dataset": dataset,
            "n_docs": result.facts["documents"],
            "n_queries": len(values[system]),
            "model": model,
            "document_length": length,
            "way": way,
            "n_stored": store.n_docs,
            "n_tokens": store.n_tokens,
            **{name: f"{value:.4f}" for name, value in fidelity.exact.mean.items()},
            "plaid_nDCG@10": f"{result.evaluation.mean['nDCG@10']:.4f}",
            "plaid_overlap@10": f"{fidelity.overlap['overlap@10']:.4f}",
            "embedding_mb": f"{store.n_bytes / 1e6:.1f}",
            "index_mb": f"{result.facts['index']['bytes']['total'] / 1e6:.1f}",
            "latency_ms_median": f"{median:.2f}",
            "latency_ms_p90": f"{most:.2f}",
        }
        yield row | compared.get(system, {})


def _exact_values(result: EvalResult) -> Any:
    """The first measure of each query, by exact search."""
    assert result.fidelity is not None, "the config compares with exact search"
    return np.array([row[MEASURES[0]] for row in result.fidelity.exact.per_query.values()])


def _latencies(results: Mapping[str, EvalResult]) -> dict[str, list[float]]:
    """Seconds of single searches of the compressed indexes, system by system in each round."""
    searches = {system: _search_of(result) for system, result in results.items()}
    seconds: dict[str, list[float]] = {system: [] for system in results}
    for round_number in range(ROUNDS + 1):  # the first one warms up
        for system, (index, queries) in searches.items():
            for query in queries:
                start = time.perf_counter()
                index.search(query, 10, n_threads=1)
                if round_number:
                    seconds[system].append(time.perf_counter() - start)
    return seconds


def _search_of(result: EvalResult) -> tuple[Any, list[Any]]:
    """The index of a run, and some of its queries."""
    folder = index_of(result.folder)
    assert folder is not None, "the run has an index"
    index = PlaidIndex.load(folder, while_compiling="wait")
    queries = stores_of(result.folder)["queries"].to_memory()
    rank = result.config.search.passages
    return (index if rank is None else PassageIndex(index, rank)), list(queries)[:TIMED_QUERIES]


def _show(rows: list[Row]) -> None:
    first = rows[0]
    table = Table(title=f"{first['dataset']}: {first['n_docs']:,} documents", title_justify="left")
    shown = ("document_length", "way", "n_stored", "n_tokens", *MEASURES, "plaid_nDCG@10")
    shown += ("plaid_overlap@10", "index_mb", "latency_ms_median", "difference", "p_holm")
    for name in shown:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*(str(row.get(name, "")) for name in shown))
    Console(width=180).print(table)


if __name__ == "__main__":
    main()
