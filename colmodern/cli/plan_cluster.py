"""What `colmodern plan --cluster` prints."""

from __future__ import annotations

from collections.abc import Sequence

from colmodern.cli import terminal
from colmodern.cli.tables import show
from colmodern.cluster.plan import ClusterPlan, Percentiles, plan_cluster
from colmodern.config.cluster_plan import ClusterPlanConfig
from colmodern.config.load import build, parse_overrides
from colmodern.report.tables import Cell, Table

_NOTE = (
    "Rates and latencies are settings, whose defaults are our measurements where the reference says so. "
    "Latencies of shards with more than {tokens:,.0f} tokens are an extrapolation. The simulation has no "
    "queues: on busy machines searches wait for one another, and answer later."
)


def print_cluster_plan(overrides: Sequence[str], *, as_json: bool) -> None:
    """Plan a collection for the settings KEY=VALUE, and print the plan.

    Raises:
        ConfigError: A setting is unknown or wrong.
    """
    config = build(
        ClusterPlanConfig, parse_overrides(overrides), source="command line", overrides=overrides
    )
    plan = plan_cluster(config)
    if as_json:
        terminal.put_json({"settings": config.model_dump(), "plan": plan.as_json()})
    else:
        show(_table(config, plan))


def _table(config: ClusterPlanConfig, plan: ClusterPlan) -> Table:
    per_machine = f"{config.cpus} CPUs, {config.memory} of memory"
    rows: list[tuple[str, str, str]] = [
        ("tokens", _count(plan.tokens), f"{config.tokens_per_passage:g} a passage"),
        ("embeddings, float16", _bytes(plan.store_bytes), "kept" if config.rescore else "can go"),
        ("index, one copy", _bytes(plan.index_bytes), f"{config.nbits} bits"),
        ("shards", f"{plan.shards:,}", f"{_bytes(plan.shard_bytes)} each"),
        (
            "machines that search",
            f"{plan.machines:,}",
            f"{config.replicas} a shard, {config.spares} spare; {per_machine}",
        ),
        ("encode", _duration(plan.encode_s), f"{config.gpus} GPUs"),
        ("build", _duration(plan.build_s), f"{plan.shards:,} machines, once the codec is learnt"),
        ("search of a shard", f"{plan.shard_ms:.1f} ms", "median, one thread"),
        ("CPU time of a query", f"{plan.cpu_s:.2f} s", "all shards"),
        ("queries a second", f"{plan.queries_per_s:,.0f}", f"{config.utilisation:.0%} of the CPUs"),
        ("latency, simulated", _percentiles(plan.plain), "every shard is asked once"),
    ]
    if plan.hedged is not None:
        again = f"{plan.hedged_share:.1%} of searches are asked of another replica too"
        rows.append(("the same, hedged", _percentiles(plan.hedged), again))
    rows.append(("lost machine", _duration(plan.copy_s), "until a spare one has its shard"))
    note = _NOTE.format(tokens=config.latency_tokens)
    return Table(
        f"{config.passages:,} passages",
        ["", "", "with"],
        [[Cell(cell) for cell in row] for row in rows],
        note=note,
        words=(2,),
    )


def _percentiles(values: Percentiles) -> str:
    return f"p50 {values.p50:.0f}, p90 {values.p90:.0f}, p99 {values.p99:.0f} ms"


def _count(value: float) -> str:
    return f"{value / 1e9:,.1f} billion" if value >= 1e9 else f"{value / 1e6:,.1f} million"


def _bytes(value: float) -> str:
    return f"{value / 1e12:,.2f} TB" if value >= 1e12 else f"{value / 1e9:,.2f} GB"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
