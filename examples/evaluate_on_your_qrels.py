"""Evaluate a model on judgments of your own, and look at the queries that it answers worst.

    python examples/evaluate_on_your_qrels.py
    python examples/evaluate_on_your_qrels.py corpus.jsonl queries.jsonl qrels.tsv --model MODEL

corpus.jsonl has {"_id": ..., "text": ...} on every line, queries.jsonl likewise, and qrels.tsv the
columns query-id, corpus-id and score under a first line with these names; TREC qrels are read too.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from colmodern import load_dataset, run_eval

N_EXAMPLES = 100  # judged queries of the collection that is written where no files are given


def write_example(folder: Path) -> list[Path]:
    """A small part of the built-in collection, in the files that a collection of yours has."""
    dataset = load_dataset("stdlib", max_queries=N_EXAMPLES, sample_seed=0)
    judged = {doc_id for grades in dataset.qrels.values() for doc_id in grades}
    documents = [doc for i, doc in enumerate(dataset.corpus) if doc.doc_id in judged or i % 20 == 0]
    corpus = [{"_id": doc.doc_id, "text": doc.text} for doc in documents]
    queries = [{"_id": query_id, "text": text} for query_id, text in dataset.queries.items()]
    grades = [
        f"{query_id}\t{doc_id}\t{grade}"
        for query_id, row in dataset.qrels.items()
        for doc_id, grade in row.items()
    ]
    paths = [folder / name for name in ("corpus.jsonl", "queries.jsonl", "qrels.tsv")]
    folder.mkdir(parents=True, exist_ok=True)
    paths[0].write_text("".join(json.dumps(record) + "\n" for record in corpus), "utf-8")
    paths[1].write_text("".join(json.dumps(record) + "\n" for record in queries), "utf-8")
    paths[2].write_text("\n".join(["query-id\tcorpus-id\tscore", *grades, ""]), "utf-8")
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description="Evaluate a model on judgments of your own.")
    parser.add_argument("files", nargs="*", type=Path, metavar="CORPUS QUERIES QRELS")
    parser.add_argument("--model", default="colmodern/tiny", help="a checkpoint's name or folder")
    parser.add_argument("--output", type=Path, default=Path("runs"), help="folder of runs")
    options = parser.parse_args()
    if len(options.files) not in (0, 3):
        parser.error("give three files: corpus, queries and qrels")

    corpus, queries, qrels = options.files or write_example(options.output / "example-collection")
    config = {
        "name": "mine",
        "dataset": {
            "name": "mine",
            "corpus": str(corpus),
            "queries": str(queries),
            "qrels": str(qrels),
        },
        "encoder": {"model": options.model, "document_length": 128},
        "measures": ["nDCG@10", "RR@10", "R@100"],
        "output": str(options.output),
    }
    result = run_eval(config, progress=True)

    for measure, value in result.evaluation.mean.items():
        print(f"{measure:8} {value:.4f}")
    texts = load_dataset("mine", files=(corpus, queries, qrels)).queries
    worst = sorted(result.evaluation.per_query.items(), key=lambda row: row[1]["nDCG@10"])[:5]
    print("the queries with the lowest nDCG@10:")
    for query_id, values in worst:
        print(f"  {values['nDCG@10']:.3f}  {texts[query_id][:80]}")
    print(f"everything else: {result.folder / 'report.html'}")


if __name__ == "__main__":
    main()
