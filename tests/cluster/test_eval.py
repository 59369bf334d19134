"""An evaluation on a cluster: the run of one machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cluster.nodes import Nodes
from conftest import CORPUS, write_beir

from colmodern.pipeline.evaluate.run import run_eval


def test_the_run_has_the_bytes_of_one_machine(nodes: Nodes, tmp_path: Path) -> None:
    write_beir(tmp_path / "data")
    config: dict[str, Any] = {
        "name": "run",
        "dataset": {"name": str(tmp_path / "data")},
        "encoder": {"model": "colmodern/tiny", "device": "cpu"},
        "storage": {"shard_tokens": 20},
        "index": {"kind": "sharded", "shards": 2, "nbits": 4, "compare_with_exact": True},
        "search": {"k": 3},
        "measures": ["nDCG@3"],
    }
    one = run_eval({**config, "output": str(tmp_path / "one")})
    cluster = {**nodes.config.model_dump(), "encoders": 2, "builders": 1}
    many = run_eval({**config, "output": str(tmp_path / "many"), "cluster": cluster})
    assert many.facts["documents"] == len(CORPUS)
    assert (many.folder / "run.trec").read_bytes() == (one.folder / "run.trec").read_bytes()
    assert many.evaluation == one.evaluation
