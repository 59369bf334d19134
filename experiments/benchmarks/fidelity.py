"""What an index loses against exact search, by size: overlap and nDCG@10 for several query sets.

    python experiments/benchmarks/fidelity.py DOCS_STORE --query-set NAME QUERIES_STORE QRELS ... \
        --work FOLDER

All query sets are asked of one index of all documents. Ids of judged documents are NAME:ID. Exact
results are computed once and kept in the work folder. Rows go to experiments/results/fidelity.csv.
"""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import click
from results import append_rows, machine_and_commit

from colmodern import ExactIndex, PlaidIndex, TokenEmbeddings, evaluate
from colmodern.evaluation.fidelity import compare
from colmodern.ragged.store import EmbeddingStore
from colmodern.types import Qrels, ScoredDoc

Found = list[list[ScoredDoc]]

RESULTS = Path(__file__).resolve().parents[1] / "results"
COLUMNS = (
    "date",
    "commit",
    "machine",
    "collection",
    "n_docs",
    "n_tokens",
    "dim",
    "queries",
    "n_queries",
    "index",
    "bytes_per_token",
    "k",
    "overlap@10",
    "overlap@100",
    "nDCG@10",
    "exact_nDCG@10",
)
_K = 100


def exact_results(path: Path, store: EmbeddingStore, queries: TokenEmbeddings) -> Found:
    """The best documents by exact MaxSim, from the file if it is there."""
    if not path.exists():
        results = ExactIndex(store, store.doc_ids, max_memory="2G").search_batch(queries, _K)
        path.write_text(json.dumps(results))
    return [[ScoredDoc(*scored) for scored in ranking] for ranking in json.loads(path.read_text())]


def qrels_of(path: Path, name: str, query_ids: list[str]) -> Qrels:
    """Judgments of a BEIR file for these queries, with the set's name before the document's."""
    qrels: dict[str, dict[str, int]] = {}
    for line in path.read_text().splitlines()[1:]:
        query_id, doc_id, grade = line.split("\t")
        if query_id in query_ids:
            qrels.setdefault(query_id, {})[f"{name}:{doc_id}"] = int(grade)
    return qrels


@click.command()
@click.argument("documents", type=click.Path(exists=True, path_type=Path))
@click.option("--query-set", "sets", type=(str, Path, Path), multiple=True, required=True)
@click.option("--max-queries", default=40, show_default=True)
@click.option("--name", default="passages", show_default=True)
@click.option("--work", type=click.Path(path_type=Path), required=True)
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(
    documents: Path,
    sets: tuple[tuple[str, Path, Path], ...],
    max_queries: int,
    name: str,
    work: Path,
    results: Path,
) -> None:
    """Compare indexes of several sizes with exact search."""
    store = EmbeddingStore(documents)
    work.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for nbits in (1, 2, 4):
        path = work / f"{name}-{nbits}"
        if not path.exists():
            PlaidIndex.build(store, path, nbits=nbits, max_memory="2G")
        index = PlaidIndex.load(path)
        size = index.info()["bytes_per_token"]["total"]
        for rescore in (False, True):
            for set_name, queries_at, qrels_at in sets:
                query_store = EmbeddingStore(queries_at)
                queries = query_store.to_memory()[:max_queries]
                ids = query_store.doc_ids[:max_queries]
                exact = exact_results(work / f"{name}-{set_name}-exact.json", store, queries)
                options = {"rescore": store} if rescore else {}
                approximate = index.search_batch(queries, _K, **options)
                qrels = qrels_of(qrels_at, set_name, ids)
                run, truth = (
                    dict(zip(ids, approximate, strict=True)),
                    dict(zip(ids, exact, strict=True)),
                )
                lost = compare(run, truth, qrels, measures=["nDCG@10"], k=_K)
                reached = evaluate(run, qrels, ["nDCG@10"])
                row = {"date": date.today().isoformat(), **machine_and_commit()}
                row |= {"collection": name, "n_docs": store.n_docs, "n_tokens": store.n_tokens}
                row |= {"dim": store.dim, "queries": set_name, "n_queries": len(ids), "k": _K}
                row["index"] = f"nbits={nbits}{' rescored' if rescore else ''}"
                row["bytes_per_token"] = size + (2 * store.dim if rescore else 0)
                row |= {name: round(value, 4) for name, value in lost.overlap.items()}
                row["nDCG@10"] = round(reached.mean["nDCG@10"], 4)
                row["exact_nDCG@10"] = round(lost.exact.mean["nDCG@10"], 4)
                click.echo({key: row[key] for key in COLUMNS[7:]})
                rows.append(row)
    append_rows(results / "fidelity.csv", rows, COLUMNS)


if __name__ == "__main__":
    main()
