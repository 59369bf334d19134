"""Whole searches on a GPU: colmodern beside peers, each in processes of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from arrays import Texts
from gpu_corpus import write_stores
from measure import overlap

_WORKER = Path(__file__).with_name("worker.py")
_K = 10
# on a GPU and in the interpreter: documents and queries, and those of builds that come first
_SIZES = {"cuda": (64, (400, 4)), "cpu": (2, (4, 2))}
_INTERPRETED = 12  # documents
# engine -> options of the build and of the search, beside the device
_ENGINES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "exact": ({}, {}),
    "exact-int8": ({}, {"precision": "int8"}),
    "colmodern": ({"nbits": 4}, {}),
    "fast-plaid": ({}, {"n_ivf_probe": 8, "n_full_scores": 4096}),
    "xtr-warp": ({}, {}),
    "colsearch": ({}, {}),
}
# more searches of an engine's index
_SEARCHES: dict[str, dict[str, dict[str, Any]]] = {
    "colmodern": {
        "colmodern, rescored": {"rescore": True},
        "colmodern, 64 candidates": {"n_candidates": 64},
        "colmodern, 2400 candidates": {"n_candidates": 2400},
    }
}
_INTERPRETED_SEARCHES = 1
_UNBUILT = ("exact", "exact-int8")
_PEERS = ("fast-plaid", "xtr-warp", "colsearch")


def measure_searches(
    device: str,
    folder: Path,
    targets: dict[str, Path],
    stores: tuple[Path, Path] | None,
    n_docs: int,
    engines: tuple[str, ...],
    timeout: float,
) -> Iterator[dict[str, Any]]:
    """A row an engine; the exact one comes first and is what overlap is with.

    timeout: seconds, of a build or of all searches of an engine
    """
    n_queries, few = _SIZES[device]
    n_docs = n_docs if device == "cuda" else _INTERPRETED
    made = stores or write_stores(folder, n_docs, n_queries, device)
    small = write_stores(folder / "small", *few, device)
    documents, queries = Texts(made[0]), Texts(made[1])
    shape = f"{documents.n_docs} documents, {documents.n_tokens} tokens, {queries.n_docs} queries"
    exact: tuple[np.ndarray, np.ndarray] | None = None
    for engine, (build, search) in _ENGINES.items():
        row: dict[str, Any] = {"work": "search", "shape": shape, "engine": engine, "build_s": ""}
        if engines and engine not in (*engines, "exact"):
            continue
        if engine in _PEERS and engine not in targets:
            yield {**row, "note": "left out: no wheels"}
            continue
        on = {"device": device if engine in _PEERS else "cuda"}  # in the interpreter too
        run = partial(_run, folder / "indexes", engine, made, targets=targets, timeout=timeout)
        more = list(_SEARCHES.get(engine, {}).items())
        searches = [(engine, {}), *(more if device == "cuda" else more[:_INTERPRETED_SEARCHES])]
        try:
            if engine not in _UNBUILT:
                built = run("build", {**build, **on}, first=small[0])
                row["build_s"] = round(built["seconds"], 2)
            for label, options in searches:
                searched = run("search", {**search, **options, **on})
                if engine == "exact":
                    best = np.array(searched["rows"])
                    ranks = np.broadcast_to(-np.arange(best.shape[1], dtype=float), best.shape)
                    exact = best, ranks
                yield {**row, "engine": label, **_figures(searched, exact)}
                row["build_s"] = ""
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            yield {**row, "note": f"not run: {error}", "failed": engine not in _PEERS}
        finally:  # the next one needs the room
            shutil.rmtree(folder / "indexes", ignore_errors=True)


def _figures(
    searched: dict[str, Any], exact: tuple[np.ndarray, np.ndarray] | None
) -> dict[str, Any]:
    """What a row says of searches; exact: rows of documents and their ranks, the truth."""
    latencies = searched["latencies_ms"]
    figures = {
        "latency_ms_median": round(median(latencies), 3),
        "batch_qps": round(len(latencies) / searched["batch_s"], 1),
    }
    if exact is not None:
        figures["overlap@10"] = round(overlap(searched["rows"], exact, _K), 4)
    return figures


def _run(
    folder: Path,
    engine: str,
    stores: tuple[Path, Path],
    task: str,
    options: dict[str, Any],
    *,
    targets: dict[str, Path],
    timeout: float,
    first: Path | None = None,
) -> dict[str, Any]:
    """worker.py's answer; raises RuntimeError with the last line of what it said.

    folder: of indexes, a new one for each build; first: a store that is built before and not timed
    """
    if task == "build":
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    path, answer = folder / f"{task}.json", folder / f"{task}.answer.json"
    request = {
        "engine": engine,
        "documents": str(stores[0]),
        "queries": str(stores[1]),
        "index": str(folder / engine),
        "task": task,
        "options": options,
        "answer": str(answer),
        "first": None if first is None else str(first),
        "threads": len(os.sched_getaffinity(0)),
        "k": _K,
    }
    path.write_text(json.dumps(request))
    environment = dict(os.environ)
    if engine in targets:  # before all else: it may need other versions
        own = str(targets[engine])
        environment["PYTHONPATH"] = os.pathsep.join([own, environment.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(_WORKER), str(path)],
        env=environment,
        timeout=timeout,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"{task} ended with {done.returncode}: {last}")
    return json.loads(answer.read_text())
