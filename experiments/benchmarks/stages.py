"""BM25, BM25 with MaxSim on top, the compressed index and hybrid search, side by side.

    python experiments/benchmarks/stages.py --work FOLDER DATASET [DATASET ...]
    python experiments/benchmarks/stages.py --work FOLDER --latency 100000 DATASET [PAIRS.jsonl.gz ...]

A DATASET is a folder in the BEIR layout. Of a large one, --max-docs takes a seeded sample with all
relevant documents of the queries. Encodings, indexes and runs stay in FOLDER, so that a second call only
measures what is new. Every row is compared with the better of BM25 and the index alone, query by
query: two-sided randomisation tests, adjusted by Holm over the rows of a data set. Rows go to
experiments/results/stages.csv. Needs the extra bm25. With --latency, stage_latency.py times the searches
among so many passages of the data sets and of the positives in files of pairs.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import click
import numpy as np
from differences import differences
from results import Row, append_rows, machine_and_commit
from rich.console import Console
from rich.table import Table
from stage_latency import SHOWN as LATENCY_COLUMNS
from stage_latency import measure_latency

from colmodern import Encoder, load_dataset, run_eval
from colmodern.config.load import parse_overrides
from colmodern.files import staging
from colmodern.pipeline.result import EvalResult

RESULTS = Path(__file__).resolve().parents[1] / "results" / "stages.csv"
MEASURES = ("nDCG@10", "RR@10", "R@100")
SINGLE = ("bm25", "plaid")
SYSTEMS: dict[str, dict[str, Any]] = {
    "bm25": {"kind": "bm25"},
    "bm25 + MaxSim, depth 100": {"kind": "rerank", "depth": 100, "compare_with_exact": False},
    "bm25 + MaxSim, depth 1000": {"kind": "rerank", "depth": 1000, "compare_with_exact": False},
    "plaid": {"kind": "plaid", "compare_with_exact": False},
    "hybrid, rrf, depth 1000": {"kind": "hybrid", "fusion": "rrf", "depth": 1000},
    "hybrid, weighted, depth 1000": {"kind": "hybrid", "fusion": "weighted", "depth": 1000},
    "hybrid, interleave, depth 1000": {"kind": "hybrid", "fusion": "interleave", "depth": 1000},
    "exact": {"kind": "exact"},
    "hybrid, rrf, depth 100": {"kind": "hybrid", "fusion": "rrf", "depth": 100},
    "hybrid, weighted, depth 100": {"kind": "hybrid", "fusion": "weighted", "depth": 100},
}
# stages whose seconds a query waits for
SEARCHES = ("search", "find candidates", "search bm25", "search plaid")
COLUMNS = (
    *("date", "commit", "machine", "dataset", "n_docs", "n_queries", "model", "system"),
    *(*MEASURES, "first_stage_recall", "ms_per_query", "compared_with", "difference", "low"),
    *("high", "p", "p_holm"),
)
_SHOWN = ("system", *MEASURES, "first_stage_recall", "ms_per_query", "difference", "p_holm")


@click.command()
@click.argument("datasets", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--work", required=True, type=click.Path(path_type=Path))
@click.option("--model", default="colmodern/tiny", show_default=True)
@click.option("--document-length", default=256, show_default=True)
@click.option(
    "--max-queries", default=1000, show_default=True, help="Seeded sample of the queries."
)
@click.option("--max-docs", type=int, help="Seeded sample of the documents; default: all.")
@click.option("--set", "settings", multiple=True, help="Encoder setting, as overflow=split.")
@click.option("--only", multiple=True, help="Systems to run; default: all.")
@click.option("--latency", type=int, help="Time searches among so many passages instead.")
@click.option("--copies", default=5, show_default=True, help="Copies of the encoded ones.")
@click.option("--keep/--no-keep", default=True, show_default=True, help="Append the rows.")
def main(
    datasets: tuple[Path, ...],
    work: Path,
    model: str,
    document_length: int,
    max_queries: int,
    max_docs: int | None,
    settings: tuple[str, ...],
    only: tuple[str, ...],
    latency: int | None,
    copies: int,
    keep: bool,
) -> None:
    """Evaluate every system on every data set, and keep and print the rows."""
    if latency is not None:
        length = {"document_length": document_length, **parse_overrides(settings)}
        encoder = Encoder.from_pretrained(model, device="cpu", **length)
        rows = measure_latency(datasets, work, encoder, latency, copies, max_queries)
        _print(rows, LATENCY_COLUMNS, "passages")
        return
    for folder in datasets:
        dataset = sampled(folder, work / "sets", max_docs, max_queries)
        encoder = {"model": model, "document_length": document_length, **parse_overrides(settings)}
        base = {
            "dataset": {"name": str(dataset), "max_queries": max_queries, "sample_seed": 0},
            "encoder": encoder,
            "measures": list(MEASURES),
            "output": str(work),
        }
        results = {}
        for number, (system, index) in enumerate(SYSTEMS.items()):
            if only and system not in only:
                continue
            name = f"stages-{folder.name}-{number}"
            results[system] = run_eval({**base, "name": name, "index": index}, progress=True)
        described = ", ".join([f"{model}, document_length {document_length}", *settings])
        rows = list(_rows(folder.name, described, results))
        if keep:
            append_rows(RESULTS, rows, COLUMNS)
        _print(rows, _SHOWN, folder.name)


def sampled(folder: Path, work: Path, max_docs: int | None, max_queries: int) -> Path:
    """The folder of a data set, or of a seeded sample of it."""
    dataset = load_dataset(folder, max_queries=max_queries, sample_seed=0)
    if max_docs is None or len(dataset.corpus) <= max_docs:
        return folder
    target = work / f"{folder.name}-{max_docs}-{max_queries}"
    if target.is_dir():
        return target
    relevant = {d for grades in dataset.qrels.values() for d, grade in grades.items() if grade > 0}
    others = [document.doc_id for document in dataset.corpus if document.doc_id not in relevant]
    n_others = max(0, max_docs - len(relevant))
    kept = relevant | set(random.Random(0).sample(others, min(n_others, len(others))))
    with staging(target) as staged:
        (staged / "qrels").mkdir()
        documents = [d._asdict() for d in dataset.corpus if d.doc_id in kept]
        for record in documents:
            record["_id"] = record.pop("doc_id")
        queries = [{"_id": query_id, "text": text} for query_id, text in dataset.queries.items()]
        for name, records in (("corpus", documents), ("queries", queries)):
            lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
            (staged / f"{name}.jsonl").write_text("".join(lines))
        judgments = [
            f"{query_id}\t{doc_id}\t{grade}\n"
            for query_id, grades in dataset.qrels.items()
            for doc_id, grade in grades.items()
            if doc_id in kept
        ]
        header = "query-id\tcorpus-id\tscore\n"
        (staged / "qrels" / "test.tsv").write_text(header + "".join(judgments))
    return target


def _rows(dataset: str, model: str, results: dict[str, EvalResult]) -> Iterator[Row]:
    """A row of each system, compared with the better of the single ones."""
    measure = MEASURES[0]
    values = {
        system: np.array([row[measure] for row in result.evaluation.per_query.values()])
        for system, result in results.items()
    }
    single = max((s for s in SINGLE if s in values), key=lambda s: values[s].mean(), default=None)
    compared = differences(values, single)
    for system, result in results.items():
        timings = result.timings
        seconds = sum(timings[s].seconds / timings[s].items for s in SEARCHES if s in timings)
        row: Row = {
            "date": date.today().isoformat(),
            **machine_and_commit(),
            "dataset": dataset,
            "n_docs": result.facts["documents"],
            "n_queries": len(values[system]),
            "model": model,
            "system": system,
            **{name: f"{value:.4f}" for name, value in result.evaluation.mean.items()},
            "ms_per_query": f"{seconds * 1e3:.2f}",
        }
        if result.stages:
            recalls = [f"{stage.name} {stage.recall:.4f}" for stage in result.stages[:-1]]
            row["first_stage_recall"] = "; ".join(recalls)
        yield row | compared.get(system, {})


def _print(rows: list[Row], names: Sequence[str], dataset: str) -> None:
    """A table of some columns."""
    table = Table(title=f"{dataset}: {rows[0]['n_docs']:,} documents", title_justify="left")
    for name in names:
        table.add_column(name, justify="left" if name == "system" else "right")
    for row in rows:
        table.add_row(*(str(row.get(name, "")) for name in names))
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
