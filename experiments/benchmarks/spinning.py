"""What OpenMP's waiting threads cost, alone and beside programs that keep every CPU busy.

    python experiments/benchmarks/spinning.py CORPUS.jsonl

Each round encodes the same texts in a new process with and without OMP_WAIT_POLICY=passive. Rows go to
experiments/results/spinning.csv.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import click
from results import Row, append_rows, machine_and_commit

RESULTS = Path(__file__).resolve().parents[1] / "results" / "spinning.csv"
COLUMNS = ("date", "commit", "machine", "load", "busy", "policy", "n_texts", "texts_s", "query_ms")
_QUERIES = 20
_LONGEST = 40  # characters of a query


@click.command()
@click.argument("corpus", type=click.Path(exists=True, path_type=Path))
@click.option("--n-texts", default=400, show_default=True)
@click.option("--rounds", default=2, show_default=True)
@click.option("--only-this", is_flag=True, help="Measure this process, and print two numbers.")
def main(corpus: Path, n_texts: int, rounds: int, only_this: bool) -> None:
    """Time the texts of a corpus; 2 rounds take half a minute."""
    if only_this:
        print(*_seconds(corpus, n_texts))
        return
    facts: Row = {"date": date.today().isoformat(), **machine_and_commit(), "n_texts": n_texts}
    command = [sys.executable, __file__, str(corpus), f"--n-texts={n_texts}", "--only-this"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    for _ in range(rounds):
        for busy in (0, os.cpu_count() or 1):
            for policy in ("", "passive"):
                environment = {**kept, **({"OMP_WAIT_POLICY": policy} if policy else {})}
                load = os.getloadavg()[0]
                others = [
                    subprocess.Popen([sys.executable, "-c", "while True: pass"])
                    for _ in range(busy)
                ]
                try:
                    printed = subprocess.check_output(command, env=environment, text=True)
                finally:
                    for other in others:
                        other.kill()
                texts_s, query_s = map(float, printed.split())
                row = {"load": f"{load:.1f}", "busy": busy, "policy": policy or "spinning"}
                row |= {"texts_s": round(texts_s, 2), "query_ms": round(query_s * 1000, 1)}
                append_rows(RESULTS, [{**facts, **row}], COLUMNS)
                print(row, flush=True)


def _seconds(corpus: Path, n_texts: int) -> tuple[float, float]:
    """Seconds for all texts together, and for one query."""
    from colmodern import Encoder  # after OpenMP's variables are set

    with corpus.open() as lines:
        texts = [json.loads(line)["text"] for _, line in zip(range(n_texts), lines, strict=False)]
    encoder = Encoder.from_pretrained("colmodern/tiny", device="cpu")
    encoder.encode_documents(texts[:8])
    start = time.perf_counter()
    encoder.encode_documents(texts)
    middle = time.perf_counter()
    for text in texts[:_QUERIES]:
        encoder.encode_queries([text[:_LONGEST]])
    return middle - start, (time.perf_counter() - middle) / _QUERIES


if __name__ == "__main__":
    main()
