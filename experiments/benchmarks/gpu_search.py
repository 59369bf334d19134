"""Whole searches on a card: colmodern beside peers, each in processes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from arrays import Texts
from gpu_corpus import write_stores
from measure import overlap

_WORKER = Path(__file__).with_name("worker.py")
_K = 10
_TIMEOUT = 600.0  # seconds, of a build or of all searches of an engine
# engine -> options of the build and of the search, beside the device
_ENGINES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "exact": ({}, {}),
    "exact-int8": ({}, {"precision": "int8"}),
    "colmodern": ({"nbits": 4}, {}),
    "fast-plaid": ({}, {"n_ivf_probe": 8, "n_full_scores": 4096}),
    "xtr-warp": ({}, {}),
    "colsearch": ({}, {}),
}
_PEERS = ("fast-plaid", "xtr-warp", "colsearch")


def measure_searches(
    device: str,
    folder: Path,
    targets: dict[str, Path],
    stores: tuple[Path, Path] | None,
    n_docs: int,
    chosen: tuple[str, ...],
) -> list[dict[str, Any]]:
    """A row an engine; the exact one comes first and is what overlap is with."""
    size = (n_docs, 64) if device == "cuda" else (30, 3)  # documents and queries
    made = stores or write_stores(folder, *size, device)
    documents, queries = Texts(made[0]), Texts(made[1])
    shape = f"{documents.n_docs} documents, {documents.n_tokens} tokens, {queries.n_docs} queries"
    exact: tuple[np.ndarray, np.ndarray] | None = None
    rows = []
    for engine, (build, search) in _ENGINES.items():
        row: dict[str, Any] = {"work": "search", "shape": shape, "engine": engine, "build_s": ""}
        if chosen and engine not in (*chosen, "exact"):
            continue
        if engine in _PEERS and engine not in targets:
            rows.append({**row, "note": "left out: no wheels"})
            continue
        about = {"engine": engine, "documents": str(made[0]), "queries": str(made[1])}
        about["index"] = str(folder / "indexes" / engine)
        on = {"device": device if engine in _PEERS else "cuda"}  # in the interpreter too
        try:
            built = _run({**about, "task": "build", "options": {**build, **on}}, targets)
            found = _run({**about, "task": "search", "options": {**search, **on}}, targets)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            rows.append({**row, "note": f"not run: {error}"})
            continue
        if engine == "exact":
            best = np.array(found["rows"])
            exact = best, np.broadcast_to(-np.arange(best.shape[1], dtype=float), best.shape)
        latencies = found["latencies_ms"]
        row |= {
            "build_s": round(built["seconds"], 2),
            "latency_ms_median": round(median(latencies), 3),
            "batch_qps": round(len(latencies) / found["batch_s"], 1),
        }
        if exact is not None:
            row["overlap@10"] = round(overlap(found["rows"], exact, _K), 4)
        rows.append(row)
    return rows


def _run(request: dict[str, Any], targets: dict[str, Path]) -> dict[str, Any]:
    """worker.py's answer; raises RuntimeError with the last line of what it said."""
    path = Path(request["index"]).parent / f"{request['engine']}-{request['task']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    answer = path.with_suffix(".answer.json")
    threads = len(os.sched_getaffinity(0))
    path.write_text(json.dumps({**request, "answer": str(answer), "threads": threads, "k": _K}))
    environment = dict(os.environ)
    if request["engine"] in targets:  # before all else: it may need other versions
        own = str(targets[request["engine"]])
        environment["PYTHONPATH"] = os.pathsep.join([own, environment.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(_WORKER), str(path)],
        env=environment,
        timeout=_TIMEOUT,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"{request['task']} ended with {done.returncode}: {last}")
    return json.loads(answer.read_text())
