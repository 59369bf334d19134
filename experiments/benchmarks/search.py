"""Search engines side by side on the same embeddings, each in a process of its own.

    pip install -r experiments/benchmarks/requirements.txt         # beside colmodern: the picture
    python3 -m venv PEERS && PEERS/bin/pip install -r experiments/benchmarks/requirements-engines.txt

    python experiments/benchmarks/search.py DOCUMENTS QUERIES --qrels FOLDER/qrels/test.tsv \
        --engines colmodern,fast-plaid,xtr-warp --peer-python PEERS/bin/python \
        --threads 1 --threads 2 --work WORK [--max-docs 4000] [--max-queries 100]

DOCUMENTS and QUERIES are embedding stores (``colmodern encode``; project_store.py cuts their
dimensions). Built indexes and exact results stay in WORK for the next call. Rows are appended to
experiments/results/search.csv; the picture is search-COLLECTION-N_DOCS.png beside it. The settings
measured are in settings.py, how they are timed in worker.py.

Quality is that of one query at a time; batch_overlap@10 is what the batch found, where an engine may
choose other settings. bytes_per_token is all that a search reads: the index and, where it rescores,
the store. Peaks are resident memory, pages of mapped files included. build_s ">600" is a build that
was stopped. Run it on an idle machine: beside another job, fast-plaid with two threads took 3 to 20
times as long as with one.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import click
import numpy as np
from collection import Collection, exact_results, open_collection, read_qrels
from launch import Launcher, WorkerFailed, WorkerTimeout
from measure import ndcg, overlap
from picture import draw
from results import COLUMNS, append_rows, machine_and_commit, show
from settings import PACKAGES, SETTINGS, Setting, describe

from colmodern.errors import ColmodernError
from colmodern.ragged.store import EmbeddingStore

RESULTS = Path(__file__).resolve().parents[1] / "results"
Row = dict[str, Any]


def measure_engine(
    engine: str,
    settings: list[Setting],
    launcher: Launcher,
    *,
    threads: tuple[int, ...],
    k: int,
    common: Row,
) -> list[Row]:
    """One row a setting and number of threads; what failed has a row that says so."""
    rows, store = [], launcher.collection.documents
    for setting in settings:
        row = {**common, "engine": engine, "settings": describe(setting)}
        row |= {"build": setting.build, "search": setting.search}
        row["version"] = launcher.version(engine)
        click.echo(f"{engine} {row['settings']}", err=True)
        try:
            built = launcher.build(engine, setting)
        except WorkerFailed as error:
            if isinstance(error, WorkerTimeout):
                row["build_s"] = f">{error.seconds:.0f}"
            rows.append(skipped(row, error))
            continue
        for n_threads in threads:
            row["threads"] = n_threads
            try:
                searched = launcher.search(engine, built["index"], setting, threads=n_threads, k=k)
            except WorkerFailed as error:
                rows.append(skipped(row, error))
                continue
            measured = figures(built, searched, launcher.collection, k)
            if engine == "exact" or "rescore" in setting.search:
                measured["bytes_per_token"] += round(store.n_bytes / store.n_tokens, 1)
            rows.append({**row, **measured})
    return rows


def skipped(row: Row, error: WorkerFailed) -> Row:
    """The row, saying why it has no figures; one of a worker that broke is not a result."""
    click.echo(f"  skipped: {error}", err=True)
    return {**row, "note": str(error), "is_result": isinstance(error, WorkerTimeout)}


def figures(built: Row, searched: Row, collection: Collection, k: int) -> Row:
    """The measured columns of a row, from the worker's two answers."""
    exact = exact_results(collection, k)
    latencies = searched["latencies_ms"]
    return {
        "build_s": round(built["seconds"], 2),
        "build_peak_mb": round(built["peak_mb"]),
        "bytes_per_token": round(built["n_bytes"] / built["n_tokens"], 1),
        "latency_ms_median": round(float(np.median(latencies)), 3),
        "latency_ms_p90": round(float(np.percentile(latencies, 90)), 3),
        "batch_qps": round(len(latencies) / searched["batch_s"], 1),
        "search_peak_mb": round(searched["peak_mb"]),
        "overlap@10": round(overlap(searched["rows"], exact, 10), 4),
        "overlap@100": round(overlap(searched["rows"], exact, 100), 4) if k >= 100 else "",
        "nDCG@10": _rounded(ndcg(searched["rows"], collection)),
        "batch_overlap@10": round(overlap(searched["batch_rows"], exact, 10), 4),
    }


def exact_ndcg(collection: Collection, k: int) -> float | None:
    """nDCG@10 of exact search: what a fast one may lose."""
    return ndcg(exact_results(collection, k)[0].tolist(), collection)


def _rounded(value: float | None) -> float | str:
    return "" if value is None else round(value, 4)


@click.command()
@click.argument("documents", type=click.Path(path_type=Path, exists=True))
@click.argument("queries", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--qrels", type=click.Path(path_type=Path, exists=True), help="BEIR tsv; adds nDCG@10."
)
@click.option("--qrels-prefix", default="", help='Before its document ids, as in "npl:".')
@click.option("--name", help="Of the collection; default the documents' folder.")
@click.option("--max-docs", type=int, help="A seeded sample, with all relevant documents.")
@click.option("--max-queries", type=int, help="A seeded sample.")
@click.option("--engines", default=",".join(SETTINGS), show_default=True)
@click.option("--defaults-only", is_flag=True, help="Only the first setting of each engine.")
@click.option("--peer-python", default="python3", help="Of the environment with the peers.")
@click.option("--threads", multiple=True, type=int, default=(1, 2), show_default=True)
@click.option("--k", default=100, show_default=True)
@click.option(
    "--work", type=click.Path(path_type=Path), required=True, help="Indexes, exact results."
)
@click.option("--build-timeout", default=1800.0, show_default=True, help="Seconds.")
@click.option("--search-timeout", default=1800.0, show_default=True, help="Seconds a setting.")
@click.option("--rebuild", is_flag=True, help="Take no index from an earlier call.")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(documents: Path, queries: Path, **options: Any) -> None:
    """Measure search engines on one collection."""
    engines = options["engines"].split(",")
    if unknown := set(engines) - set(PACKAGES):
        raise click.ClickException(f"no engine {sorted(unknown)}; there are {', '.join(PACKAGES)}")
    try:
        collection = open_collection(
            options["name"] or documents.resolve().name.removeprefix("d-"),
            EmbeddingStore(documents),
            EmbeddingStore(queries),
            read_qrels(options["qrels"], options["qrels_prefix"]) if options["qrels"] else {},
            options["work"],
            max_docs=options["max_docs"],
            max_queries=options["max_queries"],
        )
    except ColmodernError as error:
        raise click.ClickException(str(error)) from error
    run(collection, engines, options)


def run(collection: Collection, engines: list[str], options: dict[str, Any]) -> None:
    """Measure, append the rows, draw, print."""
    store, k, results = collection.documents, options["k"], options["results"]
    exact_results(collection, k)
    launcher = Launcher(
        collection,
        options["peer_python"],
        build_threads=max(options["threads"]),
        build_timeout=options["build_timeout"],
        search_timeout=options["search_timeout"],
        rebuild=options["rebuild"],
    )
    common = {
        "date": date.today().isoformat(),
        **machine_and_commit(),
        "collection": collection.name,
        "n_docs": store.n_docs,
        "n_tokens": store.n_tokens,
        "dim": store.dim,
        "n_queries": collection.queries.n_docs,
        "build_threads": launcher.build_threads,
        "k": k,
    }
    rows: list[Row] = []
    for engine in engines:
        settings = SETTINGS[engine][:1] if options["defaults_only"] else SETTINGS[engine]
        measured = measure_engine(
            engine, settings, launcher, threads=options["threads"], k=k, common=common
        )
        # at once: the next engine may be stopped
        kept = [row for row in measured if row.get("is_result", True)]
        append_rows(results / "search.csv", kept)
        rows += measured
    show(rows, _rounded(exact_ndcg(collection, k)))
    path = results / f"search-{collection.name}-{store.n_docs}.png"
    if draw(rows, path):
        click.echo(f"rows: {results / 'search.csv'}, {len(COLUMNS)} columns; picture: {path}")


if __name__ == "__main__":
    main()
