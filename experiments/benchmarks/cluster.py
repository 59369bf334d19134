"""A Ray cluster of 1, 2 and 3 nodes on this machine beside this machine alone.

    RAY_USAGE_STATS_ENABLED=0 python experiments/benchmarks/cluster.py --work FOLDER

The first documents of the built-in set are encoded with `colmodern/tiny`, built into two shards and
searched; then a node that holds a shard is killed, searches go on until both shards answer again, and
latencies are taken once more.
A node has two slots for processes, and one encoder and one builder run on each. All nodes share the
CPUs of this machine, so the table shows what a cluster costs, not what it gains. Times of encoding and
building include the start of their processes. Appends rows to experiments/results/cluster.csv.
Needs the extra `ray`.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import click
from results import Row, append_rows, machine_and_commit

from colmodern import EmbeddingStore, Encoder, ShardedIndex, TokenEmbeddings
from colmodern.cluster.build import build_on_cluster
from colmodern.cluster.encode import ClusterEncoders
from colmodern.cluster.search import open_on_cluster
from colmodern.config.cluster import ClusterConfig
from colmodern.datasets.load import load_corpus, load_dataset
from colmodern.encoding.store import encode_corpus
from colmodern.progress import Silent
from colmodern.types import Corpus

RESULTS = Path(__file__).resolve().parents[1] / "results"
COLUMNS = (
    "date", "commit", "machine", "load", "nodes", "documents", "tokens", "shards", "start_s", "encode_s",
    "documents_per_s", "build_s", "open_s", "queries", "search_ms_p50", "search_ms_p99",
    "partial_answers", "partial_s", "whole_after_kill_s", "is_same", "after_ms_p50", "after_ms_p99",
)  # fmt: skip
_SHARDS, _K, _TIMEOUT = 2, 10, 1.0
_OBJECTS = 80 << 20  # bytes of a node's object store, the smallest that Ray takes
_HEALTH = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 500,
    "health_check_failure_threshold": 3,
}


def seconds_of(work: Callable[[], Any]) -> tuple[float, Any]:
    """The seconds that a call takes, and what it returns."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def first_documents(n: int, folder: Path) -> Corpus:
    """The first documents of the built-in set, as a corpus of their own."""
    path = folder / "corpus.jsonl"
    with path.open("w") as stream:
        for number, document in enumerate(load_corpus("stdlib")):
            if number == n:
                break
            record = {"_id": document.doc_id, "title": document.title, "text": document.text}
            stream.write(json.dumps(record) + "\n")
    return load_corpus(str(path))


def search_all(
    index: ShardedIndex, queries: TokenEmbeddings, name: str = "search"
) -> dict[str, float]:
    """Latencies of the queries one by one, after one round that is not counted; name: of the figures."""
    times = []
    for round_ in range(3):
        for i in range(len(queries)):
            seconds, _ = seconds_of(lambda i=i: index.search(queries[i], _K))
            if round_:
                times.append(seconds * 1000)
    return {
        f"{name}_ms_p50": round(median(times), 2),
        f"{name}_ms_p99": round(quantiles(times, n=100)[98], 2),
    }


def after_kill(
    index: ShardedIndex, queries: TokenEmbeddings, kill: Callable[[], None]
) -> dict[str, float]:
    """Partial answers after a node is killed, and the seconds until the last of them and the first whole."""
    kill()
    start, n_partial, last_partial, whole = time.perf_counter(), 0, 0.0, 0.0
    while (now := time.perf_counter() - start) < 90:
        results = index.search(queries[n_partial % len(queries)], _K, timeout_s=_TIMEOUT)
        if not results.is_complete:
            n_partial, last_partial = n_partial + 1, time.perf_counter() - start
        elif n_partial:
            whole = now
            break
    return {
        "partial_answers": n_partial,
        "partial_s": round(last_partial, 1),
        "whole_after_kill_s": round(whole, 1),
    }


def on_this_machine(corpus: Corpus, encoder: Encoder, queries: TokenEmbeddings, work: Path) -> Row:
    """The row of this machine without Ray."""
    encode_s, store = seconds_of(lambda: encoded(corpus, encoder, work / "store"))
    build_s, index = seconds_of(
        lambda: ShardedIndex.build(store, work / "shards", _SHARDS, nbits=2)
    )
    return row(0, store, encode_s, build_s) | search_all(index, queries)


def on_nodes(n: int, corpus: Corpus, encoder: Encoder, queries: TokenEmbeddings, work: Path) -> Row:
    """The row of a cluster of ``n`` nodes."""
    import ray
    from ray.cluster_utils import Cluster

    one = {"num_cpus": 2, "object_store_memory": _OBJECTS}
    start = time.perf_counter()
    cluster = Cluster(
        initialize_head=True,
        head_node_args={**one, "include_dashboard": False, "_system_config": _HEALTH},
    )
    others = [cluster.add_node(**one) for _ in range(n - 1)]
    start_s = time.perf_counter() - start
    config = ClusterConfig(
        address=cluster.address, encoders=n, builders=min(n, _SHARDS), gpus_per_encoder=0
    )
    try:
        workers = ClusterEncoders(config)
        encode_s, store = seconds_of(
            lambda: encoded(corpus, encoder, work / f"store-{n}", workers=workers)
        )
        shards = work / f"shards-{n}"
        build_s, _ = seconds_of(
            lambda: build_on_cluster(store, shards, _SHARDS, config, Silent(), nbits=2)
        )
        open_s, index = seconds_of(lambda: open_on_cluster(shards, config, allow_partial=True))
        figures = row(n, store, encode_s, build_s) | search_all(index, queries)
        figures |= {"start_s": round(start_s, 1), "open_s": round(open_s, 1)}
        whole = ShardedIndex.load(work / "shards").search_batch(queries, _K)
        is_same = index.search_batch(queries, _K) == whole
        if others:
            from ray.util import placement_group_table

            groups = [g for g in placement_group_table().values() if g["state"] == "CREATED"]
            holders = groups[0]["bundles_to_node_id"].values()
            victim = next(node for node in others if node.node_id in holders)
            figures |= after_kill(
                index, queries, lambda: cluster.remove_node(victim, allow_graceful=False)
            )
            is_same = is_same and index.search_batch(queries, _K) == whole
            figures |= search_all(index, queries, "after")
        return figures | {"is_same": is_same}
    finally:
        ray.shutdown()
        cluster.shutdown()


def encoded(corpus: Corpus, encoder: Encoder, folder: Path, **options: Any) -> EmbeddingStore:
    """The embeddings of a corpus in shards of 4,000 tokens."""
    return encode_corpus(
        corpus, encoder, folder, join_titles=True, dtype="float16", shard_tokens=4000,
        progress=Silent(), **options,
    )[0]  # fmt: skip


def row(nodes: int, store: EmbeddingStore, encode_s: float, build_s: float) -> Row:
    """The figures that all rows have; nodes: 0 for this machine without Ray."""
    return {
        "date": date.today().isoformat(),
        **machine_and_commit(),
        "load": round(os.getloadavg()[0], 1),
        "nodes": nodes,
        "documents": store.n_docs,
        "tokens": store.n_tokens,
        "shards": _SHARDS,
        "encode_s": round(encode_s, 1),
        "documents_per_s": round(store.n_docs / encode_s, 1),
        "build_s": round(build_s, 1),
    }


@click.command()
@click.option("--work", type=click.Path(path_type=Path), required=True, help="New folder.")
@click.option("--documents", default=600, show_default=True)
@click.option("--queries", "n_queries", default=60, show_default=True)
def main(work: Path, documents: int, n_queries: int) -> None:
    """Measure, and append rows."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    work.mkdir(parents=True)
    corpus = first_documents(documents, work)
    encoder = Encoder.from_pretrained("colmodern/tiny", device="cpu")
    texts = list(load_dataset("stdlib").queries.values())[:n_queries]
    queries = encoder.encode_queries(texts)
    arguments = (corpus, encoder, queries, work)
    for nodes in range(4):
        figures = on_nodes(nodes, *arguments) if nodes else on_this_machine(*arguments)
        figures["queries"] = len(queries)
        click.echo(json.dumps(figures))
        append_rows(RESULTS / "cluster.csv", [figures], COLUMNS)
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
