"""Times exact rerank kernels that this environment has: python kernel_worker.py REQUEST.json.

A kernel is one line of KERNELS: its name, and a function that gets the query and the documents,
prepares what may be prepared before a query comes, and returns the call that is timed. Needs
NumPy; every kernel imports its own package, and one whose package is not here is left out.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

Scores = Callable[[], Any]  # -> (n_docs,) MaxSim scores, in the kernel's own array type
Prepare = Callable[[np.ndarray, np.ndarray], Scores]

_SECONDS = 3.0  # of repetitions a kernel
_TOLERANCE = 3e-2  # of a MaxSim score: what int8 may lose


def reference_scores(query: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """MaxSim in NumPy: (n_docs,) float32.

    query: (n_query_tokens, dim) float32, unit rows
    documents: (n_docs, n_doc_tokens, dim) float32, unit rows
    """
    similarities = documents.reshape(-1, documents.shape[2]) @ query.T
    return similarities.reshape(*documents.shape[:2], len(query)).max(1).sum(1)


def numpy_product(query: np.ndarray, documents: np.ndarray) -> Scores:
    """One product, a maximum, a sum."""
    return lambda: reference_scores(query, documents)


def torch_matmul(query: np.ndarray, documents: np.ndarray) -> Scores:
    """The same in torch."""
    import torch

    rows, columns = torch.from_numpy(documents), torch.from_numpy(query).T
    return lambda: torch.matmul(rows, columns).amax(1).sum(1)


def torch_einsum(query: np.ndarray, documents: np.ndarray) -> Scores:
    """As ColBERT and PyLate write it."""
    import torch

    q, d = torch.from_numpy(query), torch.from_numpy(documents)
    return lambda: torch.einsum("qh,dth->dqt", q, d).amax(2).sum(1)


def maxsim_cpu_uniform(query: np.ndarray, documents: np.ndarray) -> Scores:
    """maxsim-cpu for documents of one length."""
    import maxsim_cpu

    return lambda: maxsim_cpu.maxsim_scores(query, documents)


def maxsim_cpu_variable(query: np.ndarray, documents: np.ndarray) -> Scores:
    """maxsim-cpu for a list of documents."""
    import maxsim_cpu

    texts = list(documents)
    return lambda: maxsim_cpu.maxsim_scores_variable(query, texts)


def colmodern_exact(query: np.ndarray, documents: np.ndarray) -> Scores:
    """Run the exact kernel for many queries at a time, through torch."""
    from colmodern.kernels.torch_exact import maxsim_scores

    n_docs, n_tokens, dim = documents.shape
    rows, offsets = documents.reshape(-1, dim), np.arange(n_docs + 1) * n_tokens
    query_offsets = np.array([0, len(query)])
    return lambda: maxsim_scores(
        query, query_offsets, rows, offsets, device="cpu", max_similarities=1 << 26
    )


def colmodern_int8(query: np.ndarray, documents: np.ndarray) -> Scores:
    """Run colmodern with documents kept as int8, one thread; quantising them is not timed."""
    from colmodern.kernels.cpu.int8 import Int8Documents

    n_docs, n_tokens, dim = documents.shape
    kept = Int8Documents(documents.reshape(-1, dim), np.arange(n_docs + 1) * n_tokens)
    return lambda: kept.maxsim(query)


KERNELS: dict[str, Prepare] = {
    "numpy product": numpy_product,
    "torch matmul": torch_matmul,
    "torch einsum": torch_einsum,
    "maxsim-cpu uniform": maxsim_cpu_uniform,
    "maxsim-cpu variable": maxsim_cpu_variable,
    "colmodern exact": colmodern_exact,
    "colmodern int8": colmodern_int8,
}


def time_kernel(prepare: Prepare, query: np.ndarray, documents: np.ndarray) -> dict[str, float]:
    """Median seconds of a call, and the largest difference from the reference."""
    call = prepare(query, documents)
    scores = np.asarray(call()).reshape(-1)
    seconds: list[float] = []
    while sum(seconds) < _SECONDS:
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    difference = float(np.abs(scores - reference_scores(query, documents)).max())
    return {"seconds": median(seconds), "difference": difference, "wrong": difference > _TOLERANCE}


def main() -> None:
    """Carry out the request: threads, shape (n_docs, n_doc_tokens, n_query_tokens, dim), answer."""
    request = json.loads(Path(sys.argv[1]).read_text())
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: request["threads"]])
    n_docs, n_doc_tokens, n_query_tokens, dim = request["shape"]
    rng = np.random.default_rng(0)
    query, documents = (
        rng.standard_normal(shape, dtype=np.float32)
        for shape in ((n_query_tokens, dim), (n_docs, n_doc_tokens, dim))
    )
    for rows in (query, documents):
        rows /= np.linalg.norm(rows, axis=-1, keepdims=True)
    answer = {}
    for name, prepare in KERNELS.items():
        try:
            answer[name] = time_kernel(prepare, query, documents)
        except ImportError:
            continue  # its package lives in the other environment
    Path(request["answer"]).write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
