"""colmodern search over several shards: given by --index, or those that a run was evaluated with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from colmodern.pipeline.open.artifacts import index_of

Run = Callable[..., tuple[object, str, str]]


@pytest.fixture
def shards(run: Run, eval_config: Callable[..., Path], tmp_path: Path) -> list[str]:
    config = eval_config(extra="index: {kind: sharded, shards: 2}\n")
    assert run("eval", config, "name=built")[0] == 0
    folder = index_of(tmp_path / "runs" / "built")
    assert folder is not None
    return [str(folder / "shard-00000"), str(folder / "shard-00001")]


def test_shards_are_searched_as_one(
    run: Run, shards: list[str], eval_config: Callable[..., Path], tmp_path: Path
) -> None:
    built = tmp_path / "runs" / "built"
    expected = json.loads(run("search", built, "wing lift", "--json")[1])
    assert len(expected) > 3
    places = [option for shard in shards for option in ("--index", shard)]
    assert json.loads(run("search", built, "wing lift", "--json", *places)[1]) == expected
    index = json.dumps({"kind": "sharded", "shards": shards})
    assert run("eval", eval_config(), f"index={index}", "name=listed")[0] == 0
    listed = tmp_path / "runs" / "listed"
    assert json.loads(run("search", listed, "wing lift", "--json")[1]) == expected
    status, out, _ = run("explain", listed, "wing lift", expected[0]["doc_id"], "--no-exact")
    assert (status, "result 1 of 4\n" in out) == (0, True)  # of its shard
    assert run("info", listed)[0] == 0


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (("none", "other"), "--index: there is no folder none"),
        (("ftp://host/x",), "--index: 'ftp://host/x' is the address of no served index"),
        (("http://127.0.0.1:9/v1/indexes/x",), "cannot be reached"),
    ],
)
def test_places_without_a_shard_are_refused(
    run: Run, shards: list[str], tmp_path: Path, places: tuple[str, ...], message: str
) -> None:
    options = [option for place in places for option in ("--index", place)]
    status, _, said = run("search", tmp_path / "runs" / "built", "wing lift", *options)
    assert status != 0
    assert message in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--replicas", "2"], "--replicas belongs to --ray ADDRESS"),
        (["--stop", "docs", "--gateways", "2"], "--gateways, --stop belong to --ray ADDRESS"),
        (["--ray", "local", "--index", "docs=x"], "ends with the command"),
        (["--ray", "auto"], "serves one folder of shards, and there are 0"),
        (["--ray", "auto", "--index", "a=x", "--index", "b=y"], "there are 2"),
        (["--ray", "auto", "--index", "a=x"], "give the model of queries with --model"),
        (["--ray", "auto", "--shard-timeout", "0"], "--shard-timeout"),
        (
            ["--index", "a=x", "--device", "cpu"],
            "--device is the device of the model that --model names",
        ),
    ],
)
def test_serving_on_a_cluster_refuses_options_that_do_not_fit(
    run: Run, options: list[str], message: str
) -> None:
    status, _, said = run("serve", *options)
    assert status == 2
    assert message in said
