"""Exact rerank kernels side by side: nanoseconds per document token.

    python experiments/benchmarks/kernels.py --peer-python PEERS/bin/python

1,000 documents of 122 tokens, 32 query tokens, 128 dimensions, float32, random unit rows: more
than the caches hold. The kernels are in kernel_worker.py; those that two environments have (NumPy,
torch) are timed in both. Rows are appended to experiments/results/kernels.csv.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import click
from launch import thread_environment
from results import append_rows, machine_and_commit

RESULTS = Path(__file__).resolve().parents[1] / "results"
COLUMNS = (
    "date",
    "commit",
    "machine",
    "kernel",
    "environment",
    "n_docs",
    "n_doc_tokens",
    "n_query_tokens",
    "dim",
    "threads",
    "ns_per_doc_token",
    "largest_difference",
)
_WORKER = Path(__file__).with_name("kernel_worker.py")


def run_worker(python: str, threads: int, shape: tuple[int, ...]) -> dict[str, dict[str, Any]]:
    """Kernel -> seconds and difference, for the kernels of that environment."""
    with tempfile.TemporaryDirectory() as folder:
        request, answer = Path(folder, "request.json"), Path(folder, "answer.json")
        request.write_text(json.dumps({"threads": threads, "shape": shape, "answer": str(answer)}))
        environment = thread_environment(threads)
        subprocess.run([python, str(_WORKER), str(request)], env=environment, check=True)
        return json.loads(answer.read_text())


@click.command()
@click.option("--peer-python", default="python3", help="Of the environment with the peers.")
@click.option("--threads", multiple=True, type=int, default=(1, 2), show_default=True)
@click.option("--docs", "n_docs", default=1000, show_default=True)
@click.option("--doc-tokens", default=122, show_default=True)
@click.option("--query-tokens", default=32, show_default=True)
@click.option("--dim", default=128, show_default=True)
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(
    peer_python: str,
    threads: tuple[int, ...],
    n_docs: int,
    doc_tokens: int,
    query_tokens: int,
    dim: int,
    results: Path,
) -> None:
    """Time the exact rerank kernels."""
    common = {"date": date.today().isoformat(), **machine_and_commit()}
    common |= {"n_docs": n_docs, "n_doc_tokens": doc_tokens}
    common |= {"n_query_tokens": query_tokens, "dim": dim}
    rows = []
    for n_threads in threads:
        for environment, python in (("colmodern", sys.executable), ("peers", peer_python)):
            timed = run_worker(python, n_threads, (n_docs, doc_tokens, query_tokens, dim))
            for kernel, timing in timed.items():
                nanoseconds = timing["seconds"] / (n_docs * doc_tokens) * 1e9
                wrong = "  DIFFERS" if timing["wrong"] else ""
                label = f"{kernel} ({environment}, {n_threads} threads)"
                click.echo(f"{label:50} {nanoseconds:8.1f} ns/token{wrong}")
                row = {"kernel": kernel, "environment": environment, "threads": n_threads}
                row["ns_per_doc_token"] = round(nanoseconds, 2)
                row["largest_difference"] = f"{timing['difference']:.1e}"
                rows.append({**common, **row})
    append_rows(results / "kernels.csv", rows, COLUMNS)


if __name__ == "__main__":
    main()
