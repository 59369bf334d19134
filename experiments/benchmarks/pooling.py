"""What token pooling loses: nDCG@10 and R@100 by exact search at several pool factors.

    python experiments/benchmarks/pooling.py CONFIG FOLDER ... [--factor 2 --factor 4]

Documents are encoded once and pooled at each factor, which gives what an evaluation with that
pool_factor gives. Rows go to experiments/results/quality.csv.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path

import click
import numpy as np
from results import append_rows, machine_and_commit

from colmodern import ExactIndex, TokenEmbeddings, evaluate, load_dataset
from colmodern.config.load import load_eval_config
from colmodern.encoder.pooling import pool_tokens
from colmodern.encoding.store import document_texts
from colmodern.pipeline.open.encoder import encoder_from_config
from colmodern.types import Dataset

QUALITY = Path(__file__).resolve().parents[1] / "results" / "quality.csv"
COLUMNS = ("date", "commit", "machine", "dataset", "queries", "system", "settings")
MEASURES = ("nDCG@10", "RR@10", "R@100")


@click.command()
@click.argument("config")
@click.argument("folders", nargs=-1, required=True)
@click.option("--factor", "factors", multiple=True, type=int, default=(1, 2, 3, 4))
def main(config: str, folders: tuple[str, ...], factors: tuple[int, ...]) -> None:
    """Encode each collection, then pool, search and measure at every factor."""
    encoder = encoder_from_config(load_eval_config(config).encoder)
    subject = f"{config}: {encoder.checkpoint.name}, document_length "
    subject += f"{encoder.settings.document_length}, float16"
    for folder in folders:
        dataset = load_dataset(folder)
        pairs = list(document_texts(dataset.corpus, join_titles=True))
        start = time.perf_counter()
        documents = encoder.encode_documents([text for _, text in pairs])
        encoding = time.perf_counter() - start
        queries = encoder.encode_queries(dataset.queries.values())
        for factor in factors:
            start = time.perf_counter()
            pooled = pool_tokens(documents, factor, protected=encoder.settings.protected_tokens)
            pooling = time.perf_counter() - start
            stored = replace(pooled, values=pooled.values.astype(np.float16))
            means = measure(stored, [doc_id for doc_id, _ in pairs], queries, dataset)
            note = f"pool_factor {factor}: {pooled.n_tokens:,} of {documents.n_tokens:,} tokens"
            took = (
                ""
                if factor == 1
                else f"; pooling {pooling:.1f} s beside {encoding:.0f} s of encoding"
            )
            row = {
                "date": date.today().isoformat(),
                **machine_and_commit(),
                "dataset": dataset.name,
                "queries": len(dataset.queries),
                "system": "colmodern-exact",
                "settings": f"{subject}; {note}",
                **{name: f"{means[name]:.4f}" for name in MEASURES},
            }
            append_rows(QUALITY, [row], (*COLUMNS, *MEASURES))
            print(dataset.name, note, took, {name: row[name] for name in MEASURES}, flush=True)


def measure(
    documents: TokenEmbeddings, doc_ids: list[str], queries: TokenEmbeddings, dataset: Dataset
) -> Mapping[str, float]:
    """Means over the judged queries of exact search for 100 documents."""
    matches = ExactIndex(documents, doc_ids).search_batch(queries, 100)
    return evaluate(dict(zip(dataset.queries, matches, strict=True)), dataset.qrels, MEASURES).mean


if __name__ == "__main__":
    main()
