"""Plans of many machines: arithmetic by hand, the simulation against closed forms, and the page's tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from colmodern.cluster.plan import plan_cluster, simulate
from colmodern.config.cluster_plan import ClusterPlanConfig

PAGE = Path(__file__).parents[2] / "docs" / "many-machines.md"
# nothing is random: no spread, no stragglers
CERTAIN: dict[str, Any] = {"latency_ms": 10, "latency_p90_ms": 10, "straggler_share": 0}


def test_sizes_and_times_are_those_of_a_hand_calculation() -> None:
    plan = plan_cluster(
        ClusterPlanConfig(
            passages=1_000_000, tokens_per_passage=100, nbits=2, shards=4, replicas=3, spares=2,
            cpus=8, gpus=2, encode_rate=1e6, build_rate=1e5, latency_tokens=25_000_000,
            query_ms=5, network_ms=1, network_gbit=8, **CERTAIN,
        )
    )  # fmt: skip
    assert plan.tokens == 1e8
    assert plan.index_bytes == pytest.approx(3.74e9)
    assert plan.shard_bytes == pytest.approx(0.935e9)
    assert plan.machines == 4 * 3 + 2
    assert plan.encode_s == pytest.approx(50)
    assert plan.build_s == pytest.approx(1e8 / 1e5 / 32)
    assert plan.shard_ms == pytest.approx(10)  # as many tokens as were measured
    assert plan.cpu_s == pytest.approx(0.04)
    assert plan.queries_per_s == pytest.approx(12 * 8 * 0.5 / 0.04)
    assert plan.copy_s == pytest.approx(0.935)
    assert plan.plain.p50 == plan.plain.p99 == pytest.approx(16)


def test_shards_are_as_few_as_fit_the_memory() -> None:
    plan = plan_cluster(ClusterPlanConfig(passages=10**9, memory="256G", memory_share=0.5))
    assert plan.shard_bytes <= 128e9 < plan.index_bytes / (plan.shards - 1)


def test_a_shard_of_twice_the_tokens_is_slower_by_the_power() -> None:
    one, two = (plan_cluster(ClusterPlanConfig(shards=shards, growth=0.5)) for shards in (8, 4))
    assert two.shard_ms / one.shard_ms == pytest.approx(2**0.5)


def test_the_slowest_of_many_shards_decides_and_hedging_takes_stragglers_away() -> None:
    config = ClusterPlanConfig(
        latency_ms=10, latency_p90_ms=10, straggler_share=0.01, straggler_factor=10, query_ms=0,
        network_ms=0, hedge_quantile=0.95,
    )  # fmt: skip
    plain, hedged, again = simulate(config, 100, 10.0)
    # of 100 shards one in a hundred is late: 63 % of queries wait for a straggler
    assert plain.p50 == pytest.approx(100)
    few, _, _ = simulate(config, 1, 10.0)
    assert few.p90 == pytest.approx(10)
    assert hedged is not None
    assert hedged.p50 == pytest.approx(20)  # asked again after 10 ms, answered in 10
    assert again == pytest.approx(0.01, rel=0.1)


def test_one_replica_cannot_be_hedged() -> None:
    assert plan_cluster(ClusterPlanConfig(replicas=1)).hedged is None


def test_json_has_the_settings_and_the_plan(run: Callable[..., tuple[object, str, str]]) -> None:
    code, out, _ = run("plan", "--cluster", "passages=1000", "--json")
    assert code == 0
    printed = json.loads(out)
    assert printed["settings"]["passages"] == 1000
    assert printed["plan"]["tokens"] == 70_000


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["demo"], "KEY=VALUE"),
        (["nbits=3"], "nbits"),
        (["machines=3"], "machines"),
        (["passages=0"], "passages"),
    ],
)
def test_wrong_settings_are_named(
    arguments: list[str], fault: str, run: Callable[..., tuple[object, str, str]]
) -> None:
    code, out, err = run("plan", "--cluster", *arguments)
    assert code == 2
    assert fault in err
    assert not out


def test_a_plan_without_a_config_asks_for_one(run: Callable[..., tuple[object, str, str]]) -> None:
    code, _, err = run("plan")
    assert code == 2
    assert "--cluster" in err


@pytest.mark.parametrize(
    "settings", ["passages=100000000", "passages=1000000000", "passages=1000000000 shards=128"]
)
def test_the_tables_of_the_page_are_what_the_command_prints(
    settings: str, run: Callable[..., tuple[object, str, str]]
) -> None:
    _, out, _ = run("plan", "--cluster", *settings.split())
    [printed] = PAGE.read_text().split(f"colmodern plan --cluster {settings}\n```")[1:]
    rows = [line.split("\t") for line in out.splitlines() if not line.startswith("#")][1:]
    assert rows
    for cells in rows:
        assert f"| {' | '.join(cells)} |" in printed.partition("```")[0]
