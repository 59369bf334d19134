"""BM25 by bm25s on the same collections and with the same measures, for a row beside ours.

    pip install -r experiments/baselines/requirements.txt
    python experiments/baselines/bm25.py FOLDER [--max-queries 1000] [--run bm25.trec]

Settings are bm25s's own defaults (method "lucene", k1 1.5, b 0.75) with its English stop words
and no stemming.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import bm25s

from colmodern import evaluate, load_dataset
from colmodern.encoding.store import document_texts
from colmodern.evaluation.trec import write_run
from colmodern.types import ScoredDoc

K = 100


def main() -> None:
    """Index, search, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset")
    parser.add_argument("--max-queries", type=int)
    parser.add_argument("--sample-seed", type=int)
    parser.add_argument("--run", type=Path, help="TREC run to write")
    options = parser.parse_args()
    dataset = load_dataset(
        options.dataset, max_queries=options.max_queries, sample_seed=options.sample_seed
    )
    pairs = list(document_texts(dataset.corpus, join_titles=True))
    start = time.perf_counter()
    index = bm25s.BM25()
    index.index(
        bm25s.tokenize([text for _, text in pairs], show_progress=False), show_progress=False
    )
    queries = bm25s.tokenize(list(dataset.queries.values()), show_progress=False)
    rows, scores = index.retrieve(queries, k=min(K, len(pairs)), show_progress=False)
    seconds = time.perf_counter() - start
    run = {
        query_id: [
            ScoredDoc(pairs[i][0], float(s)) for i, s in zip(doc_rows, values, strict=True) if s > 0
        ]
        for query_id, doc_rows, values in zip(dataset.queries, rows, scores, strict=True)
    }
    result = evaluate(run, dataset.qrels)
    figures = "  ".join(f"{name} {value:.4f}" for name, value in result.mean.items())
    print(f"{dataset.name}: {len(pairs)} documents, {len(run)} queries, {seconds:.1f} s  {figures}")
    if options.run:
        write_run(options.run, run, tag="bm25s")


if __name__ == "__main__":
    main()
