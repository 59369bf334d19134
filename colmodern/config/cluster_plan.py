"""Settings of a plan for a large collection: its size, its machines, and their rates."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from colmodern.config.fields import SettingsModel, Size


class ClusterPlanConfig(SettingsModel):
    """A collection and the machines for it. Rates are those of our own measurements, or assumed."""

    passages: int = Field(100_000_000, ge=1, le=10**12, description="number of passages")
    tokens_per_passage: float = Field(
        70, gt=0, allow_inf_nan=False, description="token embeddings of a passage, on average"
    )
    nbits: Literal[1, 2, 4] = Field(2, description="bits per dimension of a compressed token")
    rescore: bool = Field(
        False, description="keep the float16 embeddings of all tokens too, on the machines' disks"
    )
    shards: int | None = Field(
        None, ge=1, le=100_000, description="number of shards; null: as few as fit the memory"
    )
    replicas: int = Field(2, ge=1, le=100, description="machines that hold each shard")
    spares: int = Field(1, ge=0, description="machines that wait for the shard of a lost machine")
    memory: Size = Field("256G", description="memory of a machine that searches")
    memory_share: float = Field(
        0.75, gt=0, le=1, description="share of the memory that a shard may fill"
    )
    cpus: int = Field(32, ge=1, description="CPUs of a machine that searches or builds")
    gpus: int = Field(8, ge=1, description="GPUs that encode")
    encode_rate: float = Field(
        557_000,
        gt=0,
        allow_inf_nan=False,
        description="tokens a second of a GPU; measured on one H200 in bfloat16 with the shape of "
        "ModernBERT-base: experiments/log/gpu.md",
    )
    build_rate: float = Field(
        112_800,
        gt=0,
        allow_inf_nan=False,
        description="tokens a second of a CPU that builds; measured with 54,606,140 tokens on 2 CPUs: "
        "experiments/results/growth.csv",
    )
    latency_ms: float = Field(
        17.09,
        gt=0,
        allow_inf_nan=False,
        description="median of a search of one shard by one thread, k = 100; measured: growth.csv",
    )
    latency_p90_ms: float = Field(
        22.43,
        gt=0,
        allow_inf_nan=False,
        description="90th percentile of that search; measured: growth.csv",
    )
    latency_tokens: int = Field(
        112_719_220, ge=1, description="tokens of the shard that latency_ms was measured with"
    )
    growth: float = Field(
        0.43,
        ge=0,
        le=1,
        description="exponent by which the latency of a shard grows with its tokens; measured from "
        "13,651,535 to 54,606,140 tokens: growth.csv; beyond that an extrapolation",
    )
    query_ms: float = Field(
        15,
        ge=0,
        allow_inf_nan=False,
        description="time of encoding a query and merging its results; assumed",
    )
    network_ms: float = Field(
        1, ge=0, allow_inf_nan=False, description="time on the network to a shard and back; assumed"
    )
    network_gbit: float = Field(
        10, gt=0, allow_inf_nan=False, description="gigabits a second into a machine; assumed"
    )
    straggler_share: float = Field(
        0.01, ge=0, le=1, description="share of the searches of a shard that are late; assumed"
    )
    straggler_factor: float = Field(
        10,
        ge=1,
        allow_inf_nan=False,
        description="how many times longer a late search takes; assumed",
    )
    hedge_quantile: float = Field(
        0.95,
        gt=0,
        lt=1,
        description="quantile of a shard's latency after which another replica is asked too",
    )
    utilisation: float = Field(
        0.5, gt=0, le=1, description="share of the CPUs that searches may use"
    )
    seed: int = Field(0, ge=0, description="seed of the simulation")
    simulated_queries: int = Field(
        20_000, ge=100, le=10**6, description="queries that are simulated"
    )
