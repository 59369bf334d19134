"""Search on a card: correctness, the card's own limits, each kernel's share of them, and peers.

    python experiments/benchmarks/gpu.py                                  # kernels, about 2 minutes
    python experiments/benchmarks/gpu.py --tune                           # choose launches first
    python experiments/benchmarks/gpu.py --wheels WHEELS --search         # peers and whole searches
    python experiments/benchmarks/gpu.py --device cpu                     # no card: the interpreter

Nothing comes from the network. WHEELS holds a folder of wheels for each peer, with what the machine
lacks of its needs; each is unpacked to a target of its own, and what cannot be is left out with its
reason. On a machine with Python 3.12, torch, Triton, numba and scipy, which another one with a
network prepares:

    get="python -m pip download --no-deps --only-binary=:all: --python-version 3.12 --implementation cp
      --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 --platform manylinux_2_17_x86_64
      --platform manylinux2014_x86_64"
    $get -d WHEELS/colmodern faiss-cpu pydantic==2.14.3 pydantic-core==2.50.4 annotated-types
      typing-inspection click rich
    $get -d WHEELS/kernels late-interaction-kernels==0.4.5 flash-maxsim==0.3.0
    $get -d WHEELS/fast-plaid fast-plaid==1.7.0.2110 fastkmeans==0.5.0 usearch
    $get -d WHEELS/xtr-warp xtr-warp-rs==2.1.0.2110 duckdb
    $get -d WHEELS/colsearch colsearch==0.1.7 latence-shard-engine==0.1.6 bm25s PyStemmer

and there, from the root of the repository,

    python -m pip install -q --no-index --no-deps --target /tmp/site WHEELS/colmodern/*.whl
    export PYTHONPATH=/tmp/site:.
    python experiments/benchmarks/gpu.py --tune --wheels WHEELS --search --results OUT

Times are medians: ``ms`` of the card alone, ``wall ms`` of a caller that waits for the result.
``share`` is of what the same run measured: bytes that have to be read over the bandwidth of a copy,
or operations over those of a bfloat16 product. With a card, rows are appended to
experiments/results/gpu.csv; without one, times mean nothing and none are.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

import click

RESULTS = Path(__file__).resolve().parents[1] / "results"
COLUMNS = (
    "date",
    "commit",
    "card",
    "versions",
    "work",
    "shape",
    "engine",
    "ms",
    "wall_ms",
    "share",
    "of",
    "ns_per_token_query",
    "build_s",
    "latency_ms_median",
    "batch_qps",
    "overlap@10",
    "note",
)


def unpack(wheels: Path | None, folder: Path) -> dict[str, Path]:
    """Install each peer's wheels to a target of its own; peer -> target."""
    targets = {}
    for source in sorted(wheels.iterdir()) if wheels else ():
        files = [str(path) for path in sorted(source.glob("*.whl"))]
        if not files or source.name == "colmodern":
            continue
        target = folder / source.name
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps"]
        done = subprocess.run(
            [*command, "--target", str(target), *files], capture_output=True, text=True
        )
        if done.returncode:
            print(f"left out: {source.name} ({done.stderr.strip().splitlines()[-1]})")
        else:
            targets[source.name] = target
    return targets


def versions() -> str:
    import torch
    import triton

    return f"torch {torch.__version__}, triton {triton.__version__}"


@click.command()
@click.option("--device", type=click.Choice(["cuda", "cpu"]), default="cuda", show_default=True)
@click.option("--wheels", type=click.Path(path_type=Path, exists=True), help="Peers' wheels.")
@click.option("--tune", is_flag=True, help="Time all launches of each kernel and keep the fastest.")
@click.option("--kernels/--no-kernels", default=True, show_default=True)
@click.option("--search", "searches", is_flag=True, help="Whole searches, beside peers.")
@click.option("--documents", type=click.Path(path_type=Path, exists=True), help="Embedding store.")
@click.option("--queries", type=click.Path(path_type=Path, exists=True), help="Embedding store.")
@click.option(
    "--docs", "n_docs", default=20_000, show_default=True, help="Made up, without stores."
)
@click.option("--engines", default="", help="Only these of the searches, as colmodern,exact.")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(
    device: str,
    wheels: Path | None,
    tune: bool,
    kernels: bool,
    searches: bool,
    documents: Path | None,
    queries: Path | None,
    n_docs: int,
    engines: str,
    results: Path,
) -> None:
    """Check, measure and print one table."""
    if device == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        targets = unpack(wheels, Path(folder, "targets"))
        if "kernels" in targets:
            sys.path.append(str(targets["kernels"]))
        rows: list[dict[str, Any]] = []
        if kernels:
            from gpu_kernels import measure_kernels

            rows += measure_kernels(device, tune=tune)
        if searches:
            from gpu_search import measure_searches

            stores = (documents, queries) if documents and queries else None
            chosen = tuple(filter(None, engines.split(",")))
            rows += measure_searches(device, Path(folder), targets, stores, n_docs, chosen)
    finish(device, rows, results)


def finish(device: str, rows: list[dict[str, Any]], results: Path) -> None:
    """Print the table; append it where it was measured on a card."""
    from gpu_table import show
    from results import append_rows, machine_and_commit

    show(rows, is_real=device == "cuda")
    if device == "cuda":
        import torch

        about = {
            "date": date.today().isoformat(),
            "commit": machine_and_commit()["commit"],
            "card": torch.cuda.get_device_name(),
            "versions": versions(),
        }
        append_rows(results / "gpu.csv", [{**about, **row} for row in rows], COLUMNS)


if __name__ == "__main__":
    main()
