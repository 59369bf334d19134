"""Pairs of a query and a text for `colmodern mine tiny`.

python pairs.py OUT.jsonl.gz SETS/wiki_title SETS/docs_heading ... [--each 2000] [--seed 0]

SETS are folders of gather.py with an asks.json; of each so many texts are drawn.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path)
    parser.add_argument("collections", nargs="+", type=Path)
    parser.add_argument("--each", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, pairs = random.Random(options.seed), []
    for folder in options.collections:
        asks = json.loads((folder / "asks.json").read_text("utf-8"))
        with (folder / "corpus.jsonl").open(encoding="utf-8") as lines:
            texts = {row["_id"]: row["text"] for row in map(json.loads, lines)}
        for doc_id in rng.sample(sorted(asks), min(options.each, len(asks))):
            pairs.append({"query": asks[doc_id], "positive": texts[doc_id]})
    rng.shuffle(pairs)
    with gzip.open(options.out, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(pair) + "\n" for pair in pairs)


if __name__ == "__main__":
    main()
