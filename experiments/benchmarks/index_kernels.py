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

from colmodern.kernels.cpu.ir.vectors import lanes_of, masks_of
from colmodern.kernels.cpu.prune import score_by_centroids
from colmodern.kernels.cpu.query import fill_centroid_scores
from colmodern.kernels.cpu.refine import empty_near, score_compressed
from colmodern.kernels.cpu.residual_query import make_weight_query
from colmodern.kernels.types import (
    CodecArrays,
    EntryForm,
    QueryTables,
    ResidualQuery,
    SegmentArrays,
    TableQuery,
)

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
    docs, out = np.arange(N_DOCS), np.empty(N_DOCS, np.int32)
    query = random_query(n_centroids, n_query_tokens, rng)
    segment = random_segment(n_centroids, 16, rng)
    near = empty_near(np.full(N_DOCS, N_DOC_TOKENS), query.lanes, query.centroid_scores.shape[2])
    label, n_lanes = f"K={n_centroids}", query.centroid_scores.shape[2]
    seconds = {
        f"centroid interaction, {label}": best_seconds(
            lambda: score_by_centroids(docs, segment, query, out)
        )
    }
    for form, n_bytes in (("tables", 16), ("tables", 32), ("tables", 64), ("weights", 64)):
        residual_query = random_residual_query(form, n_bytes, n_lanes, rng)
        arguments = (
            docs,
            random_segment(n_centroids, n_bytes, rng),
            query._replace(residual_query=residual_query),
        )
        seconds[f"compressed, {n_bytes} bytes by {form}, {label}"] = best_seconds(
            lambda arguments=arguments: score_compressed(*arguments, 200, near, out)
        )
    nanoseconds = {name: value / n_tokens * 1e9 for name, value in seconds.items()}
    codec = random_codec(n_centroids, rng)
    n_chunks = query.maxima.shape[1]
    per_centroid = best_seconds(lambda: fill_centroid_scores(query, codec, 0, n_chunks))
    return {
        **nanoseconds,
        f"centroid scores, per centroid, {label}": per_centroid / n_centroids * 1e9,
    }


def random_segment(n_centroids: int, n_bytes: int, rng: np.random.Generator) -> SegmentArrays:
    """Documents without inverted lists."""
    n_tokens = N_DOCS * N_DOC_TOKENS
    return SegmentArrays(
        codes=rng.integers(0, n_centroids, n_tokens).astype(np.uint16),
        gains=rng.integers(0, 256, n_tokens).astype(np.uint8),
        residuals=rng.integers(0, 256, (n_tokens, n_bytes)).astype(np.uint8),
        doc_gains=np.zeros(N_DOCS, np.uint8),
        doc_vectors=np.zeros((N_DOCS, DIM // 4), np.uint8),
        doc_offsets=np.arange(N_DOCS + 1) * N_DOC_TOKENS,
        block_docs=np.array([0, N_DOCS]),
        list_offsets=np.zeros((1, n_centroids + 1), np.uint32),
        block_starts=np.zeros(2, np.int64),
        list_docs=np.zeros(0, np.uint16),
    )


def random_query(n_centroids: int, n_query_tokens: int, rng: np.random.Generator) -> QueryTables:
    """A query that decodes every token; its residual_query is of no index."""
    lanes = masks_of(n_query_tokens)
    n_lanes = lanes_of(lanes)
    every = np.full(256, 32_767, np.int16)
    return QueryTables(
        n_tokens=n_query_tokens,
        unit=1.0,
        constant=0.0,
        empty=0,
        padded=np.zeros((n_lanes, DIM), np.float32),
        query_bytes=rng.integers(0, 256, (1, DIM // 4, n_lanes, 4)).astype(np.uint8),
        lane_scales=np.ones((1, n_lanes), np.float32),
        probed=np.arange(n_centroids, dtype=np.int32),
        known=None,
        floors=np.full((1, n_lanes), -32_768, np.int16),
        centroid_scores=rng.integers(-3000, 3000, (1, n_centroids, n_lanes)).astype(np.int16),
        maxima=np.empty((1, -(-n_centroids // 64), n_lanes), np.int16),
        lanes=lanes,
        doc_products=np.zeros((DIM // 4, 256), np.float32),
        doc_table=np.zeros((DIM // 4, 256), np.int16),
        doc_factors=np.zeros(256, np.float32),
        doc_parts=np.arange(DIM // 16),
        residual_query=random_residual_query("tables", 16, n_lanes, rng),
        refine_slack=every,
        score_slack=every,
        rounding=0,
        loss=0,
    )


def random_residual_query(
    form: str, n_bytes: int, n_lanes: int, rng: np.random.Generator
) -> ResidualQuery:
    """A query by tables or by weights."""
    if form == "weights":
        padded = rng.normal(size=(n_lanes, DIM)).astype(np.float32)
        levels, scales = np.arange(-127, 128, 17).astype(np.int8), np.ones(DIM, np.float32)
        query: ResidualQuery = make_weight_query(padded, n_lanes, levels, scales, 0.1)[0]
        return query
    tables = rng.integers(-60, 60, (1, n_bytes, 256, n_lanes)).astype(np.int8)
    return TableQuery(tables, (np.arange(256) * 60).astype(np.int16), np.int16(0))


def random_codec(n_centroids: int, rng: np.random.Generator) -> CodecArrays:
    """Centroids without a codebook."""
    centroids = rng.integers(-127, 128, (n_centroids, DIM)).astype(np.int8)
    codebook = np.zeros((0, 256, 1), np.float32)
    return CodecArrays(
        mean=np.zeros(DIM, np.float32),
        centroids=centroids,
        centroid_scales=np.full(n_centroids, 0.01, np.float32),
        centroid_sums=128 * centroids.sum(axis=1, dtype=np.int32),
        longest=1.0,
        codebook=codebook,
        gain_step=0.0,
        form=EntryForm(0, 0),
        doc_codebook=codebook,
        doc_gain_step=0.0,
        error=0.0,
        reach=0.0,
        numbers=np.arange(n_centroids, dtype=np.int32),
        clusters=None,
    )


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
