"""The index's kernels, warm, on random codes: nanoseconds per document token, one thread.

    python experiments/benchmarks/index_kernels.py

1,000 documents of 122 tokens, 32 and 16 query tokens, 128 dimensions; every token is decoded, none
passed over. Rows are appended to experiments/results/kernels.csv. The tests compare these kernels with
their reference; here they are only timed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import date
from itertools import product
from pathlib import Path

import click
import numpy as np
from kernels import COLUMNS, RESULTS
from results import append_rows, machine_and_commit

from colmodern.kernels.compressed import empty_near, score_compressed
from colmodern.kernels.cpu import score_by_centroids, score_centroids
from colmodern.kernels.residual_query import make_weight_query
from colmodern.kernels.types import ResidualQuery, TableQuery
from colmodern.kernels.vectors import lanes_of, masks_of

N_DOCS, N_DOC_TOKENS, DIM = 1000, 122, 128
_REPEATS = 25


def best_seconds(call: Callable[[], object]) -> float:
    """The fastest of many calls, after one that may compile."""
    call()
    seconds = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def time_index_kernels(n_centroids: int, n_query_tokens: int) -> dict[str, float]:
    """Kernel -> nanoseconds per document token (per centroid for the centroid scores)."""
    rng = np.random.default_rng(0)
    n_tokens = N_DOCS * N_DOC_TOKENS
    docs, offsets = np.arange(N_DOCS), np.arange(N_DOCS + 1) * N_DOC_TOKENS
    codes = rng.integers(0, n_centroids, n_tokens).astype(np.uint16)
    gains = rng.integers(0, 256, n_tokens).astype(np.uint8)
    lanes = masks_of(n_query_tokens)
    n_lanes = lanes_of(lanes)
    scores = rng.integers(-3000, 3000, (1, n_centroids, n_lanes)).astype(np.int16)
    out = np.empty(N_DOCS, np.int32)
    every = np.full(256, 32_767, np.int16)
    factors = (np.arange(256) * 60).astype(np.int16)
    near = empty_near(np.diff(offsets), lanes)
    label = f"K={n_centroids}"
    seconds = {
        f"centroid interaction, {label}": best_seconds(
            lambda: score_by_centroids(docs, offsets, codes, scores, lanes, 0, out)
        )
    }
    queries: dict[tuple[str, int], ResidualQuery] = {
        ("tables", n_bytes): TableQuery(
            rng.integers(-60, 60, (1, n_bytes, 256, n_lanes)).astype(np.int8), factors, np.int16(0)
        )
        for n_bytes in (16, 32, 64)
    }
    padded = rng.normal(size=(n_lanes, DIM)).astype(np.float32)
    levels, scales = np.arange(-127, 128, 17).astype(np.int8), np.ones(DIM, np.float32)
    queries["weights", 64] = make_weight_query(padded, n_lanes, levels, scales, 0.1)[0]
    for (form, n_bytes), query_form in queries.items():
        residuals = rng.integers(0, 256, (n_tokens, n_bytes)).astype(np.uint8)
        arguments = (docs, offsets, codes, gains, residuals, scores, lanes, query_form, every)
        seconds[f"compressed, {n_bytes} bytes by {form}, {label}"] = best_seconds(
            lambda arguments=arguments: score_compressed(*arguments, 0, 200, near, out)
        )
    nanoseconds = {name: value / n_tokens * 1e9 for name, value in seconds.items()}
    rows = rng.integers(-127, 128, (n_centroids, DIM)).astype(np.int8)
    maxima = np.empty((-(-n_centroids // 64), n_lanes), np.int16)
    sums = 128 * rows.sum(axis=1, dtype=np.int32)
    scales, ones = np.full(n_centroids, 0.01, np.float32), np.ones(n_lanes, np.float32)
    query = rng.integers(0, 256, (DIM // 4, n_lanes, 4)).astype(np.uint8)
    per_centroid = best_seconds(
        lambda: score_centroids(
            rows, sums, scales, query, ones, lanes[0], 0, n_centroids, scores[0], maxima
        )
    )
    return {
        **nanoseconds,
        f"centroid scores, per centroid, {label}": per_centroid / n_centroids * 1e9,
    }


@click.command()
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
def main(results: Path) -> None:
    """Time the index's kernels."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    common = {
        "date": date.today().isoformat(),
        **machine_and_commit(),
        "environment": "colmodern",
        "n_docs": N_DOCS,
        "n_doc_tokens": N_DOC_TOKENS,
        "dim": DIM,
        "threads": 1,
    }
    rows = []
    for n_centroids, n_query_tokens in product((8192, 32_768), (16, 32)):
        for kernel, nanoseconds in time_index_kernels(n_centroids, n_query_tokens).items():
            click.echo(f"{kernel:45} {n_query_tokens} query tokens {nanoseconds:8.2f} ns")
            row = {"kernel": kernel, "n_query_tokens": n_query_tokens}
            rows.append({**common, **row, "ns_per_doc_token": round(nanoseconds, 2)})
    append_rows(results / "kernels.csv", rows, COLUMNS)


if __name__ == "__main__":
    main()
