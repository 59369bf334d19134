r"""Search on a GPU: correctness, the GPU's own limits, each kernel's share of them, and peers.

    python experiments/benchmarks/gpu.py                                  # kernels, about 2 minutes
    python experiments/benchmarks/gpu.py --device cpu                     # no GPU: the interpreter

Nothing comes from the network. WHEELS holds a folder of wheels for each peer, with what the machine
lacks of its needs; each is unpacked to a target of its own, and what cannot be is left out with its
reason. On a machine with Python 3.12, torch, Triton, numba and scipy, which another one with a
network prepares:

    get="python -m pip download --no-deps --only-binary=:all: --python-version 3.12 --implementation cp
      --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 --platform manylinux_2_17_x86_64
      --platform manylinux2014_x86_64"
    $get -d WHEELS/colmodern faiss-cpu pydantic==2.14.3 pydantic-core==2.50.4 annotated-types \
      typing-inspection click rich
    $get -d WHEELS/kernels late-interaction-kernels==0.4.5 flash-maxsim==0.3.0
    $get -d WHEELS/fast-plaid fast-plaid==1.7.0.2110 fastkmeans==0.5.0 usearch numkong
    $get -d WHEELS/xtr-warp xtr-warp-rs==2.1.0.2110 duckdb
    $get -d WHEELS/colsearch colsearch==0.1.7 latence-shard-engine==0.1.6 bm25s PyStemmer

and there, from the root of the repository, with ROOM a folder on a large disk. Three calls of under five
minutes each, of use alone where time is short: kernels, an encoder with random weights beside
transformers, and ``colmodern eval`` with it; searches of 100,000 documents; those of a million, which
take 50 GB of disk. A part that is cut off keeps its rows:

    python -m pip install -q --no-index --no-deps --target ROOM/site WHEELS/colmodern/*.whl
    export PYTHONPATH=ROOM/site:. PYTHONUNBUFFERED=1 TMPDIR=ROOM
    timeout 280 python experiments/benchmarks/gpu.py --tune --encoder --eval --wheels WHEELS --results OUT
    timeout 280 python experiments/benchmarks/gpu.py --no-kernels --search --wheels WHEELS --results OUT
    timeout 280 python experiments/benchmarks/gpu.py --no-kernels --search --wheels WHEELS --results OUT \
      --docs 1000000 --engines colmodern,fast-plaid,xtr-warp

The wheels of colmodern are 22 MB, of kernels 0.2, of fast-plaid 15, of xtr-warp 26, and the repository is
20: where a call may carry 64 MiB, the first takes colmodern's and kernels' (42 MB with the repository), the
second colmodern's and fast-plaid's (57 MB). xtr-warp's do not fit beside fast-plaid's. Colmodern's alone
do for all rows but peers'. ``--device cpu`` is the dry run of each.

Every kernel is checked before anything is timed, and again with the launch that was chosen for it.
More shapes, and searches on the GPU: ``python tests/on_gpu.py``, which takes pytest and hypothesis.

Times are medians: ``ms`` of the GPU alone, ``wall ms`` of a caller that waits for the result.
``share`` is of what the same run measured: bytes that have to be read over the bandwidth of a copy,
or operations over those of a bfloat16 product. With a GPU each row is appended to
experiments/results/gpu.csv as soon as it is measured; without one, times mean nothing and none are.
The last table sets what was measured beside what is to be reached (gpu_targets.py). The exit status
is 1 when a kernel was wrong or something of ours did not run: its row says why, and has no times.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

import click

RESULTS = Path(__file__).resolve().parents[1] / "results"
Row = dict[str, Any]
COLUMNS = (
    "date",
    "commit",
    "gpu",
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
    "tokens_per_s",
    "peak_mb",
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
@click.option("--encoder", "encoders", is_flag=True, help="ModernBERT-base, beside transformers.")
@click.option("--eval", "evals", is_flag=True, help="colmodern eval of made-up passages.")
@click.option("--documents", type=click.Path(path_type=Path, exists=True), help="Embedding store.")
@click.option("--queries", type=click.Path(path_type=Path, exists=True), help="Embedding store.")
@click.option(
    "--docs", "n_docs", default=100_000, show_default=True, help="Made up, without stores."
)
@click.option("--engines", default="", help="Only these of the searches, as colmodern,exact.")
@click.option(
    "--timeout", default=300.0, show_default=True, help="Seconds of an engine's build or searches."
)
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(
    device: str,
    wheels: Path | None,
    tune: bool,
    kernels: bool,
    searches: bool,
    encoders: bool,
    evals: bool,
    documents: Path | None,
    queries: Path | None,
    n_docs: int,
    engines: str,
    timeout: float,
    results: Path,
) -> None:
    """Check, measure, and print tables of what was measured and of what is to be reached."""
    if device == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"
    gpu_facts = about_gpu() if device == "cuda" else None
    file = results / "gpu.csv"
    with tempfile.TemporaryDirectory() as folder:
        targets = unpack(wheels, Path(folder, "targets"))
        if "kernels" in targets:
            sys.path.append(str(targets["kernels"]))
        rows: list[Row] = []
        if kernels:
            from gpu_kernels import measure_kernels

            rows += keep(measure_kernels(device, tune=tune), gpu_facts, file)
        if encoders:
            from gpu_encoder import measure_encoders
            from gpu_timing import measure_limits

            rows += keep(measure_encoders(device, measure_limits()[0]), gpu_facts, file)
        if evals:
            from gpu_eval import measure_eval

            work = measure_eval(device, Path(folder, "eval"), n_docs, timeout)
            rows += keep(work, gpu_facts, file)
        if searches:
            from gpu_search import measure_searches

            stores = (documents, queries) if documents and queries else None
            engine_names = tuple(filter(None, engines.split(",")))
            arguments = (device, Path(folder), targets, stores, n_docs, engine_names, timeout)
            rows += keep(measure_searches(*arguments), gpu_facts, file)
    from gpu_table import show, show_targets

    show(rows, is_real=device == "cuda")
    show_targets(rows if device == "cuda" else [])
    sys.exit(any(row.get("failed") for row in rows))


def about_gpu() -> Row:
    """Columns that are the same in all rows of a run."""
    import torch
    from results import machine_and_commit

    if not torch.cuda.is_available():
        raise click.UsageError("torch sees no GPU here; --device cpu runs what the interpreter can")
    return {
        "date": date.today().isoformat(),
        "commit": machine_and_commit()["commit"],
        "gpu": torch.cuda.get_device_name(),
        "versions": versions(),
    }


def keep(rows: Iterable[Row], gpu_facts: Row | None, file: Path) -> list[Row]:
    """Print each row once it is there, and with a GPU append it: a run that is cut off keeps them.

    What breaks on the way is told, and is a row that says so, so that the rest is still measured.
    """
    from results import append_rows

    kept: list[Row] = []

    def add(row: Row) -> None:
        kept.append(row)
        print(*(row[name] for name in COLUMNS if row.get(name, "") != ""), sep=" | ", flush=True)
        if gpu_facts is not None:
            append_rows(file, [{**gpu_facts, **row}], COLUMNS)

    try:
        for row in rows:
            add(row)
    except Exception as error:
        traceback.print_exc()
        note = f"{type(error).__name__}: {error}"
        add({"work": "broke off", "shape": "", "engine": "colmodern", "note": note, "failed": True})
    return kept


if __name__ == "__main__":
    main()
