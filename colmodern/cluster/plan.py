"""Arithmetic and a simulation for collections that many machines hold."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from colmodern.config.cluster_plan import ClusterPlanConfig
from colmodern.units import parse_bytes

# bytes of an index with 128 dimensions, for each token: nbits -> search.csv, 123,522 documents
_INDEX_BYTES = {1: 21.4, 2: 37.4, 4: 69.4}
_STORE_BYTES = 260  # float16 values of 128 dimensions and a token id
_Z90 = 1.2816  # the 90 % quantile of a normal variable
_SIMULATED_AT_ONCE = 1 << 22  # searches of shards


@dataclass(frozen=True)
class Percentiles:
    """Latencies of the simulated queries, in milliseconds."""

    p50: float
    p90: float
    p99: float


@dataclass(frozen=True)
class ClusterPlan:
    """What a collection takes in bytes, machines and time.

    Attributes:
        tokens: Tokens of all passages.
        index_bytes: Bytes of one copy of the index.
        store_bytes: Bytes of the embeddings of all tokens.
        shards: Number of shards.
        shard_bytes: Bytes of the index of one shard.
        machines: Machines that search: shards times replicas, and the spares.
        encode_s: Seconds of encoding on all GPUs.
        build_s: Seconds of building on the machines of one replica.
        shard_ms: Median latency of a shard, in milliseconds.
        cpu_s: CPU seconds of a query, over all shards.
        queries_per_s: Queries that the machines answer in a second.
        plain: Simulated latency where every shard is asked once.
        hedged: The same where late shards are asked a second time, of another replica; None with one
            replica.
        hedged_share: Share of the searches of shards that are asked a second time.
        copy_s: Seconds until a spare machine has the shard of a lost one.
    """

    tokens: float
    index_bytes: float
    store_bytes: float
    shards: int
    shard_bytes: float
    machines: int
    encode_s: float
    build_s: float
    shard_ms: float
    cpu_s: float
    queries_per_s: float
    plain: Percentiles
    hedged: Percentiles | None
    hedged_share: float
    copy_s: float

    def as_json(self) -> dict[str, object]:
        """The plan as JSON holds it."""
        return asdict(self)


def plan_cluster(config: ClusterPlanConfig) -> ClusterPlan:
    """The machines, times and latencies of a collection."""
    tokens = config.passages * config.tokens_per_passage
    index_bytes = tokens * _INDEX_BYTES[config.nbits]
    room = parse_bytes(config.memory, name="memory") * config.memory_share
    shards = config.shards or max(1, math.ceil(index_bytes / room))
    shard_ms = config.latency_ms * (tokens / shards / config.latency_tokens) ** config.growth
    cpu_s = shards * shard_ms / 1000
    plain, hedged, hedged_share = simulate(config, shards, shard_ms)
    searching = shards * config.replicas
    copied = index_bytes + (tokens * _STORE_BYTES if config.rescore else 0)
    return ClusterPlan(
        tokens=tokens,
        index_bytes=index_bytes,
        store_bytes=tokens * _STORE_BYTES,
        shards=shards,
        shard_bytes=index_bytes / shards,
        machines=searching + config.spares,
        encode_s=tokens / config.encode_rate / config.gpus,
        build_s=tokens / config.build_rate / (shards * config.cpus),
        shard_ms=shard_ms,
        cpu_s=cpu_s,
        queries_per_s=searching * config.cpus * config.utilisation / cpu_s,
        plain=plain,
        hedged=hedged,
        hedged_share=hedged_share,
        copy_s=copied / shards * 8 / (config.network_gbit * 1e9),
    )


def simulate(
    config: ClusterPlanConfig, shards: int, shard_ms: float
) -> tuple[Percentiles, Percentiles | None, float]:
    """Latencies of queries that wait for the slowest of their shards.

    A shard's latency is log-normal about its median, with the measured 90th percentile; some
    searches are stragglers. Searches do not wait for one another; on a busy machine they would.

    Args:
        config: The distribution, and when a late shard is asked again.
        shards: Shards that a query asks.
        shard_ms: Median latency of one of them, in milliseconds.

    Returns:
        Milliseconds without hedged requests; with them, None for one replica; and the share of
        searches that are asked again.
    """
    rng = np.random.default_rng(config.seed)
    sigma = math.log(max(1.0, config.latency_p90_ms / config.latency_ms)) / _Z90

    def draw(n: int) -> npt.NDArray[np.float64]:
        times = shard_ms * np.exp(sigma * rng.standard_normal((n, shards)))
        is_late = rng.random((n, shards)) < config.straggler_share
        return np.where(is_late, times * config.straggler_factor, times) + config.network_ms

    at_once = max(1, _SIMULATED_AT_ONCE // shards)
    patience = float(
        np.quantile(draw(min(at_once, config.simulated_queries)), config.hedge_quantile)
    )
    plain, hedged, n_again = [], [], 0
    for start in range(0, config.simulated_queries, at_once):
        n = min(at_once, config.simulated_queries - start)
        first, second = draw(n), draw(n)
        plain.append(first.max(axis=1))
        hedged.append(np.minimum(first, patience + second).max(axis=1))
        n_again += int(np.count_nonzero(first > patience))
    share = n_again / (config.simulated_queries * shards)
    if config.replicas == 1:
        return _percentiles(plain, config), None, 0.0
    return _percentiles(plain, config), _percentiles(hedged, config), share


def _percentiles(runs: list[npt.NDArray[np.float64]], config: ClusterPlanConfig) -> Percentiles:
    p50, p90, p99 = np.percentile(np.concatenate(runs), [50, 90, 99]) + config.query_ms
    return Percentiles(float(p50), float(p90), float(p99))
