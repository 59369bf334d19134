"""What an index loses against exact search, by size: overlap and nDCG@10 for several query sets.

    python experiments/benchmarks/fidelity.py DOCS_STORE --query-set NAME QUERIES_STORE QRELS ... \
        --work FOLDER

All query sets are asked of one index of all documents. Ids of judged documents are NAME/ID. Exact
results are computed once and kept in the work folder. Rows go to experiments/results/fidelity.csv.
"""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import click
import ir_measures
import numpy as np
from results import append_rows, machine_and_commit

from colmodern import ExactIndex, PlaidIndex, TokenEmbeddings
from colmodern.ragged.store import EmbeddingStore

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
_K, _BEYOND = 100, 100
_TIE = 1e-5  # of a MaxSim score: documents this near to the last place may take it

Found = list[list[tuple[str, float]]]


def exact_results(path: Path, store: EmbeddingStore, queries: TokenEmbeddings) -> Found:
    """The best documents by exact MaxSim, from the file if it is there."""
    if not path.exists():
        found = ExactIndex(store, store.doc_ids, memory_budget="2G").search_batch(
            queries, _K + _BEYOND
        )
        path.write_text(json.dumps(found))
    return [[(doc_id, score) for doc_id, score in one] for one in json.loads(path.read_text())]


def overlap(found: Found, exact: Found, k: int) -> float:
    """Mean share of the exact k that was found; documents tied with the last one count."""
    shares = []
    for some, truth in zip(found, exact, strict=True):
        last = truth[min(k, len(truth)) - 1][1] - _TIE
        right = {doc_id for doc_id, score in truth if score >= last}
        shares.append(min(k, sum(doc_id in right for doc_id, _ in some[:k])) / k)
    return float(np.mean(shares))


def ndcg(found: Found, query_ids: list[str], qrels: list[ir_measures.Qrel]) -> float:
    """nDCG@10 over the queries."""
    run = [
        ir_measures.ScoredDoc(query_id, doc_id, score)
        for query_id, some in zip(query_ids, found, strict=True)
        for doc_id, score in some
    ]
    asked = [qrel for qrel in qrels if qrel.query_id in set(query_ids)]
    return float(ir_measures.calc_aggregate([ir_measures.nDCG @ 10], asked, run).popitem()[1])


def read_qrels(path: Path, name: str) -> list[ir_measures.Qrel]:
    """Judgments of a BEIR file, with the set's name before the document's."""
    lines = [line.split("\t") for line in path.read_text().splitlines()[1:]]
    return [ir_measures.Qrel(query, f"{name}/{doc}", int(grade)) for query, doc, grade in lines]


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
            PlaidIndex.build(store, path, nbits=nbits, max_ram="2G")
        index = PlaidIndex.load(path)
        size = index.info()["bytes_per_token"]["total"]
        for rescore in (False, True):
            for set_name, queries_at, qrels_at in sets:
                asked = EmbeddingStore(queries_at)
                queries = asked.to_memory()[:max_queries]
                ids = asked.doc_ids[:max_queries]
                exact = exact_results(work / f"{name}-{set_name}-exact.json", store, queries)
                options = {"rescore": store} if rescore else {}
                found = [[*map(tuple, one)] for one in index.search_batch(queries, _K, **options)]
                qrels = read_qrels(qrels_at, set_name)
                row = {"date": date.today().isoformat(), **machine_and_commit()}
                row |= {"collection": name, "n_docs": store.n_docs, "n_tokens": store.n_tokens}
                row |= {"dim": store.dim, "queries": set_name, "n_queries": len(ids), "k": _K}
                row["index"] = f"nbits={nbits}{' rescored' if rescore else ''}"
                row["bytes_per_token"] = size + (2 * store.dim if rescore else 0)
                row["overlap@10"] = round(overlap(found, exact, 10), 4)
                row["overlap@100"] = round(overlap(found, exact, 100), 4)
                row["nDCG@10"] = round(ndcg(found, ids, qrels), 4)
                row["exact_nDCG@10"] = round(ndcg(exact, ids, qrels), 4)
                click.echo({key: row[key] for key in COLUMNS[7:]})
                rows.append(row)
    append_rows(results / "fidelity.csv", rows, COLUMNS)


if __name__ == "__main__":
    main()
