"""Rerank the results of any search engine: texts in, the same texts in a better order out.

    python examples/rerank_search_results.py
    python examples/rerank_search_results.py "my question" results.jsonl --model MODEL

The file has a JSON object with "id" and "text" on every line, in the order of the engine.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from colmodern import Reranker

QUERY = "when do I get a bill"
# as a search for single words might return them
RESULTS = {
    "sign-in": "Two-factor codes are asked for when you sign in from a new device.",
    "delete": "You can delete your account in Settings. Your files are removed after thirty days.",
    "keyboard": "To get the old shortcuts back, open Settings and press Restore Defaults.",
    "invoice": "Invoices are sent by e-mail on the first day of each month.",
    "password": "Forgotten your password? Use the link on the sign-in page to choose a new one.",
}


def read_results(path: Path) -> dict[str, str]:
    records = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    return {str(record["id"]): str(record["text"]) for record in records}


def main() -> None:
    parser = argparse.ArgumentParser(description="Rerank the results of a search engine.")
    parser.add_argument("query", nargs="?", default=QUERY)
    parser.add_argument("results", nargs="?", type=Path, help='lines of {"id": ..., "text": ...}')
    parser.add_argument("--model", default="colmodern/tiny", help="a checkpoint's name or folder")
    parser.add_argument("-k", type=int, default=5, help="results to print")
    options = parser.parse_args()

    results = RESULTS if options.results is None else read_results(options.results)
    ranks_before = {doc_id: rank for rank, doc_id in enumerate(results, start=1)}
    reranker = Reranker(options.model)
    print(f"query: {options.query}")
    for hit in reranker.rank(options.query, results, k=options.k):
        text = results[hit.doc_id][:70]
        print(
            f"{hit.rank}. (was {ranks_before[hit.doc_id]}) {hit.score:6.2f}  {hit.doc_id}: {text}"
        )


if __name__ == "__main__":
    main()
