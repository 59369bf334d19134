"""What a search on a GPU costs the host, where there is no GPU: python gpu_host.py [--results OUT].

Kernels are stubs that write something finite, and a recorded graph is one whose replay does nothing.
What is left is Python and torch: for each search the launches of kernels, torch's operations that are
no views (on a GPU each is a launch), replays, calls of Python functions, and the median time. The
documents are few, so that torch's operations on the CPU take little more than a launch does.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

os.environ["TRITON_INTERPRET"] = "1"

import click
import numpy as np
import torch
from results import append_rows, machine_and_commit
from torch.utils._python_dispatch import TorchDispatchMode

from colmodern import ExactIndex, PlaidIndex, TokenEmbeddings
from colmodern.kernels.cuda.programs import compressed, maxsim
from colmodern.kernels.device import resolve_device
from colmodern.ragged.offsets import offsets_of

_FILE = Path(__file__).resolve().parents[1] / "results" / "gpu_host.csv"
_DOCS, _DIM, _QUERY_TOKENS, _BATCH = 200, 128, 32, 64
_RERANKED = (100, 1000)
_SECONDS = 1.0  # of calls that are timed
_COUNTED = (
    "launches", "operations", "replays", "python_calls", "ms",
)  # fmt: skip
_COLUMNS = ("date", "commit", "machine", "work", *_COUNTED)
_NO_LAUNCH = ("view", "slice", "select", "expand", "unsqueeze", "transpose", "permute", "detach",
              "alias", "as_strided", "reshape", "empty", "new_empty", "t", "split", "unbind")  # fmt: skip
counts: Counter[str] = Counter()


class Stub:
    """In the place of a kernel that scores: documents are the worse the larger their number is."""

    def __init__(self, kernel: Any) -> None:
        self._names = list(kernel.arg_names)

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        def launch(*arguments: Any, **options: Any) -> None:
            counts["launches"] += 1
            named = dict(zip(self._names, arguments, strict=False))
            if "n_listed" in named:
                out = named["out"].numpy()
                docs = (
                    named["docs"].numpy() if options.get("LISTED", 2) else np.arange(out.shape[1])
                )
                out[:] = -docs.astype(np.float32)

        return launch


class Graph:
    """A recording that keeps nothing."""

    def replay(self) -> None:
        """Count it."""
        counts["replays"] += 1


@contextmanager
def record(graph: Graph, **options: Any) -> Iterator[None]:
    yield


class Operations(TorchDispatchMode):
    """Counts what torch would launch."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func.__name__.partition(".")[0] not in _NO_LAUNCH:
            counts["operations"] += 1
        return func(*args, **(kwargs or {}))


def stub_everything() -> None:
    for module in (compressed, maxsim):
        for name, kernel in list(vars(module).items()):
            if hasattr(kernel, "arg_names") and not name.startswith("_"):
                setattr(module, name, Stub(kernel))
    from colmodern.kernels.cuda import graphs

    torch.cuda.CUDAGraph = Graph  # type: ignore[assignment, misc]
    torch.cuda.graph = record  # type: ignore[assignment, misc]
    plain = graphs.Replays.__init__

    def usable(self: Any, device: torch.device) -> None:
        plain(self, device)
        self._is_usable = True

    graphs.Replays.__init__ = usable  # type: ignore[method-assign]


def measure(name: str, call: Callable[[], object]) -> dict[str, Any]:
    """A row; the first calls record."""
    for _ in range(3):
        call()
    counts.clear()
    with Operations():
        call()

    def count(frame: object, event: str, argument: object) -> None:
        counts["python_calls"] += event == "call"

    before = Counter(counts)
    sys.setprofile(count)
    call()
    sys.setprofile(None)
    row = {**before, "python_calls": counts["python_calls"]}
    seconds: list[float] = []
    while sum(seconds) < _SECONDS:
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    row |= {"work": name, "ms": round(1000 * median(seconds), 4)}
    print(
        *(f"{column} {row.get(column, 0)}" for column in ("work", *_COUNTED)), sep=", ", flush=True
    )
    return row


def units(lengths: list[int], seed: int) -> TokenEmbeddings:
    values = np.random.default_rng(seed).normal(size=(sum(lengths), _DIM)).astype(np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return TokenEmbeddings(values.astype(np.float16), offsets_of(lengths))


def reranked(documents: TokenEmbeddings) -> Callable[[], object]:
    """A search of candidates as Reranker does it, at any commit."""
    ids, devices = [f"d{i}" for i in range(len(documents))], resolve_device("cuda")
    query = units([_QUERY_TOKENS], 3)[0].astype(np.float32)
    try:
        from colmodern.index.exact.candidates import CandidateIndex, CandidateScorer
    except ImportError:
        return lambda: ExactIndex(documents, ids, device=devices).search(query, 10)
    scorer = CandidateScorer(devices.gpus[0])
    return lambda: CandidateIndex(documents, ids, devices, scorer).search(query, 10)


def works(folder: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    documents = units(np.random.default_rng(0).integers(10, 30, _DOCS).tolist(), 0)
    queries = units([_QUERY_TOKENS] * _BATCH, 1)
    query = queries[0].astype(np.float32)
    PlaidIndex.build(documents, folder / "index", [f"d{i}" for i in range(_DOCS)])
    plaid = PlaidIndex.load(folder / "index", device="cuda")
    exact = ExactIndex(documents, device="cuda")
    plain: dict[str, Any] = {"n_candidates": _DOCS // 2}  # so that there are three stages
    yield "compressed, one query", lambda: plaid.search(query, 10, **plain)
    yield "compressed, 64 queries", lambda: plaid.search_batch(queries, 10, **plain)
    rescored = PlaidIndex.load(folder / "index", device="cuda")
    stages = {**plain, "rescore": documents}
    yield "rescored, one query", lambda: rescored.search(query, 10, **stages)
    yield "rescored, 64 queries", lambda: rescored.search_batch(queries, 10, **stages)
    yield "exact, one query", lambda: exact.search(query, 10)
    yield "exact, 64 queries", lambda: exact.search_batch(queries, 10)
    for n in _RERANKED:
        yield f"rerank of {n} documents", reranked(units([8] * n, 2))


@click.command()
@click.option("--results", type=click.Path(path_type=Path), default=_FILE, show_default=True)
@click.option("--commit", default="", help="Of the tree that is measured; default this one's.")
def main(results: Path, commit: str) -> None:
    """Count and time, and append a row a search."""
    torch.set_num_threads(1)
    stub_everything()
    facts = {**machine_and_commit(), "date": date.today().isoformat()}
    facts |= {"commit": commit} if commit else {}
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(*work) for work in works(Path(folder))]
    append_rows(results, [{**facts, **row} for row in rows], _COLUMNS)


if __name__ == "__main__":
    main()
