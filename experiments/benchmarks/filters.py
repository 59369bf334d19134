"""What a filter on fields costs, and whether narrow ones are exact: noisy copies of real documents.

    colmodern encode FOLDER -o DOCS -m colmodern/tiny       (and its queries with the library)
    python experiments/benchmarks/filters.py DATA_FOLDER --copies 9 --work FOLDER

Every query is searched without a filter and with each filter in turn, and the fastest of five is
kept, so that a busy machine slows all of them alike. A copy has every token of the original plus noise of a
tenth of its length. Exact search over the documents that a filter lets through is the truth of results that
are rescored with the stored embeddings, so that a missing result was not a candidate. Rows go to
experiments/results/filters.csv.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
from results import Row, append_rows, machine_and_commit

from colmodern import Encoder, ExactIndex, PlaidIndex, ScoredDoc, TokenEmbeddings
from colmodern.datasets.load import load_corpus, load_queries
from colmodern.encoding.store import document_texts
from colmodern.ragged.offsets import offsets_of

RESULTS = Path(__file__).resolve().parents[1] / "results" / "filters.csv"
COLUMNS = (
    *("date", "commit", "machine", "load", "collection", "n_docs", "n_tokens", "k", "threads"),
    *("filter", "share", "first_ms", "latency_ms_median", "without_ms_median", "overhead"),
    *("ratio_median", "queries_equal_to_exact", "n_queries", "field_mb", "index_mb", "fields_s"),
    *("overlap", "overlap_all_candidates", "all_candidates_ms"),
)
_NOISE = 0.1
Rankings = Sequence[Sequence[ScoredDoc]]
FILTERS: dict[str, dict[str, Any]] = {
    "all": {"year": {"exists": True}},
    "50 %, boolean": {"draft": False},
    "50 %, number and text": {"year": {"gte": 1960}, "lang": ["de", "en", "fr", "it", "es"]},
    "10 %, date": {"day": {"lt": "2010-01-01"}},
    "5 %, number": {"year": {"lt": 1955}},
    "2 %, number": {"year": {"lt": 1952}},
    "1 %, number": {"year": 1977},
    "1 %, of a list": {"tags": "t7"},
    "0.1 %, text": {"source": {"prefix": "s99"}},
}


def fields_of(n_docs: int) -> list[dict[str, Any]]:
    """Fields at random: every value is independent of the text."""
    rng = np.random.default_rng(0)
    languages = np.array(["de", "en", "fr", "it", "es", "pl", "cs", "nl"])
    years, langs = rng.integers(1950, 2050, n_docs), languages[rng.integers(0, 8, n_docs)]
    days, sources = rng.integers(0, 3650, n_docs), rng.integers(0, 1000, n_docs)
    tags, drafts = rng.integers(0, 200, (n_docs, 2)), rng.integers(0, 2, n_docs)
    first = np.datetime64("2009-01-01")
    return [
        {
            "year": int(years[i]),
            "lang": str(langs[i]),
            "day": str(first + days[i]),
            "source": f"s{sources[i]:04d}" if sources[i] else "s99",
            "tags": [f"t{tag}" for tag in tags[i]],
            "draft": bool(drafts[i]),
        }
        for i in range(n_docs)
    ]


def noisy_copies(documents: TokenEmbeddings, copies: int) -> TokenEmbeddings:
    """The documents, and copies of them with noise."""
    rng, values = np.random.default_rng(1), [documents.values.astype(np.float16)]
    for _ in range(copies - 1):
        noise = rng.standard_normal(documents.values.shape, dtype=np.float32)
        copy = documents.values + noise * np.float32(_NOISE / np.sqrt(documents.dim))
        copy /= np.linalg.norm(copy, axis=1, keepdims=True)
        values.append(copy.astype(np.float16))
    return TokenEmbeddings(np.concatenate(values), offsets_of(np.tile(documents.lengths, copies)))


@click.command()
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@click.option("--copies", default=9, show_default=True)
@click.option("--k", "ks", multiple=True, type=int, default=(10, 100), show_default=True)
@click.option("--max-queries", default=60, show_default=True)
@click.option("--work", type=click.Path(path_type=Path), required=True)
def main(data: Path, copies: int, ks: tuple[int, ...], max_queries: int, work: Path) -> None:
    """Build the index once in WORK, then time every filter."""
    encoder = Encoder.from_pretrained("colmodern/tiny", device="cpu")
    texts = [text for _, text in document_texts(load_corpus(data), join_titles=True)]
    documents = noisy_copies(encoder.encode_documents(texts, progress=True), copies)
    queries = encoder.encode_queries(list(load_queries(data).values())[:max_queries])
    fields = fields_of(documents.n_docs)
    ids = [f"d{i}" for i in range(documents.n_docs)]
    start = time.perf_counter()
    exact = ExactIndex(documents, ids, fields=fields)
    fields_s = time.perf_counter() - start
    folder = work / "index"
    index = (
        PlaidIndex.load(folder)
        if folder.exists()
        else PlaidIndex.build(documents, folder, ids, fields=exact.fields, progress=True)
    )
    info = index.info()
    facts: Row = {
        "date": date.today().isoformat(),
        **machine_and_commit(),
        "collection": f"{data.name}, {copies} noisy copies",
        "n_docs": index.n_docs,
        "n_tokens": info["tokens"],
        "threads": 1,
        "n_queries": len(queries),
        "field_mb": round(info["bytes"]["fields"] / 1e6, 1),
        "index_mb": round(info["bytes"]["total"] / 1e6, 1),
        "fields_s": round(fields_s, 1),
    }
    for k in ks:
        for row in rows(index, exact, queries, documents, k):
            row = {**facts, **row, "load": f"{os.getloadavg()[0]:.1f}"}
            append_rows(RESULTS, [row], COLUMNS)
            print({name: row[name] for name in COLUMNS[8:] if name in row}, flush=True)


def rows(
    index: PlaidIndex, exact: ExactIndex, queries: TokenEmbeddings, documents: Any, k: int
) -> list[Row]:
    """Figures of each filter."""
    index.search(queries[0], k, n_threads=1)
    first = {}
    for name, filter in FILTERS.items():
        start = time.perf_counter()
        index.search(queries[0], k, filter=filter, n_threads=1)
        first[name] = (time.perf_counter() - start) * 1000
    best = {name: np.full(len(queries), np.inf) for name in ("", *FILTERS)}
    for number, query in enumerate(queries):
        for _ in range(5):
            for name in best:
                start = time.perf_counter()
                index.search(query, k, filter=FILTERS.get(name), n_threads=1)
                seconds = time.perf_counter() - start
                best[name][number] = min(best[name][number], seconds)
    without = median((best[""] * 1000).tolist())
    table = []
    for name, filter in FILTERS.items():
        share = index.filter(filter).allowed[0].mean()
        row: Row = {
            "k": k,
            "filter": name,
            "share": round(float(share), 4),
            "first_ms": round(first[name], 2),
            "latency_ms_median": round(median((best[name] * 1000).tolist()), 2),
            "without_ms_median": round(without, 2),
            "ratio_median": round(median((best[name] / best[""]).tolist()), 3),
        }
        row["overhead"] = round(row["latency_ms_median"] / without - 1, 3)
        if share < 0.15:
            row |= fidelity(index, exact, queries, documents, k, filter)
        table.append(row)
    return table


def fidelity(
    index: PlaidIndex,
    exact: ExactIndex,
    queries: TokenEmbeddings,
    documents: TokenEmbeddings,
    k: int,
    filter: dict[str, Any],
) -> Row:
    """What filtered searches share with exact search, by default and with all candidates."""
    truth = exact.search_batch(queries, k, filter=filter)
    wanted = {"filter": filter, "rescore": documents}
    found = index.search_batch(queries, k, **wanted)
    start = time.perf_counter()
    everything = index.search_batch(queries, k, n_candidates=index.n_docs, n_threads=1, **wanted)
    seconds = time.perf_counter() - start
    return {
        "queries_equal_to_exact": sum(
            [hit.doc_id for hit in ours] == [hit.doc_id for hit in theirs]
            for ours, theirs in zip(found, truth, strict=True)
        ),
        "overlap": round(_overlap(found, truth), 4),
        "overlap_all_candidates": round(_overlap(everything, truth), 4),
        "all_candidates_ms": round(seconds / len(queries) * 1000, 2),
    }


def _overlap(found: Rankings, truth: Rankings) -> float:
    """Share of the true results that are among those of a search."""
    shared = [
        len({hit.doc_id for hit in ours} & {hit.doc_id for hit in theirs}) / len(theirs)
        for ours, theirs in zip(found, truth, strict=True)
    ]
    return float(np.mean(shared))


if __name__ == "__main__":
    main()
