"""One build or one series of searches, in a process of its own: python worker.py REQUEST.json.

Needs NumPy and the engine's own packages. ``REQUEST.json`` names everything (see launch.py); the
answer is written to the file that its field ``answer`` names.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

from arrays import Texts
from engines import Engine, new_engine

_WARM_UP_QUERIES = 10
_PASSES = 5  # over all queries, one at a time
_BATCH_PASSES = 3
_SECONDS = 30.0  # no further pass begins after this long


def build(engine: Engine, request: dict[str, Any]) -> dict[str, Any]:
    """Build an index: seconds, and bytes on disk.

    With ``first``, a small store, an index of that is built before, so that the seconds are without
    imports, compilers and the opening of a GPU.
    """
    documents, folder = Texts(Path(request["documents"])), Path(request["index"])
    if first := request.get("first"):
        with suppress(Exception):  # of an engine that wants more documents
            options = dict(request["options"])
            new_engine(request["engine"]).build(
                Texts(Path(first)), folder.with_name(f"{folder.name}-first"), options
            )
    start = time.perf_counter()
    engine.build(documents, folder, request["options"])
    seconds = time.perf_counter() - start
    n_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return {"seconds": seconds, "n_bytes": n_bytes, "n_tokens": documents.n_tokens}


def search(engine: Engine, request: dict[str, Any]) -> dict[str, Any]:
    """Search one query at a time, then all at once.

    latencies_ms: median over the passes, a query; batch_s: the fastest pass;
    rows, batch_rows: the documents found, best first
    """
    queries, k = Texts(Path(request["queries"])).in_memory(), request["k"]
    documents = Texts(Path(request["documents"]))
    engine.open(Path(request["index"]), documents, request["options"], request["threads"])
    single = [engine.pack([query]) for query in queries]
    batch = engine.pack(queries)
    for packed in single[:_WARM_UP_QUERIES]:
        engine.search(packed, k)
    passes: list[list[float]] = []
    deadline = time.perf_counter() + _SECONDS
    while len(passes) < _PASSES and (not passes or time.perf_counter() < deadline):
        passes.append([])
        results = [_timed(engine, packed, k, passes[-1]) for packed in single]
    latencies = [1000 * median(times) for times in zip(*passes, strict=True)]
    rows = [engine.rows(result)[0] for result in results]
    batches: list[float] = []
    deadline = time.perf_counter() + _SECONDS
    while len(batches) < _BATCH_PASSES and (not batches or time.perf_counter() < deadline):
        timed = _timed(engine, batch, k, batches)
    return {
        "latencies_ms": latencies,
        "passes": len(passes),
        "batch_s": min(batches),
        "rows": rows,
        "batch_rows": engine.rows(timed),
    }


def _timed(engine: Engine, packed: Any, k: int, seconds: list[float]) -> Any:
    start = time.perf_counter()
    results = engine.search(packed, k)
    seconds.append(time.perf_counter() - start)
    return results


def peak_mb() -> float:
    """Most resident memory of this process so far, in MB (10^6 bytes)."""
    status = Path("/proc/self/status")
    if status.is_file():
        # ru_maxrss would do, but Linux lets a child begin with its parent's peak
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        return int(lines["VmHWM"].split()[0]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def main() -> None:
    """Carry out the request that the command line names."""
    request = json.loads(Path(sys.argv[1]).read_text())
    if hasattr(os, "sched_setaffinity"):  # an engine that counts cores finds as many as it may use
        allowed = sorted(os.sched_getaffinity(0))[: request["threads"]]
        os.sched_setaffinity(0, allowed)
    task = {"build": build, "search": search}[request["task"]]
    answer = task(new_engine(request["engine"]), request)
    answer["peak_mb"] = peak_mb()
    Path(request["answer"]).write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
