"""An evaluation over shards: the results of one index, and a report of all shards together."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from pipeline.evaluate.test_run import run

from colmodern import PlaidIndex, ShardedIndex
from colmodern.config.load import load_eval_config
from colmodern.errors import ConfigError, StorageError, UnavailableError
from colmodern.pipeline.open.artifacts import index_of

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


@pytest.fixture
def config(eval_config: Callable[..., Path]) -> Path:
    return eval_config(extra="index: {kind: sharded, shards: 2}\n")


def test_results_are_those_of_one_index(eval_config: Callable[..., Path]) -> None:
    one, _ = run(eval_config(extra="index: {kind: plaid}\n"), "name=one")
    sharded, notes = run(eval_config(extra="index: {kind: sharded, shards: 2}\n"))
    assert any("build index: reused" in note for note in notes)
    runs = [(result.folder / "run.trec").read_text() for result in (one, sharded)]
    assert runs[1].replace("sharded", "plaid") == runs[0]
    metrics = json.loads((sharded.folder / "metrics.json").read_text())
    assert metrics["index"]["kind"] == "sharded"
    assert metrics["index"]["shards"] == 2
    assert metrics["overlap"] == {"overlap@10": 1.0, "overlap@100": 1.0}
    timings = json.loads((sharded.folder / "timings.json").read_text())
    assert "shard index" in json.dumps(timings)
    folder = index_of(sharded.folder)
    assert folder is not None
    assert ShardedIndex.load(folder).n_docs == metrics["documents"]


def test_shards_are_used_again_and_damaged_ones_are_refused(config: Path) -> None:
    first, _ = run(config)
    _, notes = run(config, "name=again")
    assert any("shard index: reused" in note for note in notes)
    folder = index_of(first.folder)
    assert folder is not None
    shutil.rmtree(folder / "shard-00001" / "codec")
    with pytest.raises(StorageError, match="shard-00001"):
        run(config, "name=third")


def test_a_part_of_the_shards_is_not_measured(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(PlaidIndex, "search_batch", fail)
    with pytest.raises(UnavailableError, match="shards did not answer"):
        run(config)


@pytest.mark.parametrize("shards", ["0", "none", "-1", "10001"])
def test_a_wrong_number_of_shards_is_refused(config: Path, shards: str) -> None:
    with pytest.raises(ConfigError, match=r"index\.shards"):
        load_eval_config(config, [f"index.shards={shards}"])
