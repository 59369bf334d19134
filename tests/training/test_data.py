from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from conftest import write_jsonl

from colmodern.config.load import build
from colmodern.config.train import TrainConfig
from colmodern.errors import DataError
from colmodern.training.data import load_sources, weigh


def config(data: list[dict], **more: object) -> TrainConfig:
    kind = "distillation" if data[0]["kind"] == "scores" else "contrastive"
    values = {"name": "n", "encoder": {"model": "m"}, "objective": {"kind": kind}, "data": data}
    return build(TrainConfig, {**values, **more}, source="test")


def test_sources_are_mapped_cut_and_weighed(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    write_jsonl(pairs, [{"query": f"q{i}", "positive": f"p{i}"} for i in range(2500)])
    triples = tmp_path / "triples.jsonl"
    write_jsonl(
        triples, [{"query": f"q{i}", "positive": "p", "negatives": ["a", "b"]} for i in range(10)]
    )
    chosen = config(
        [
            {"path": str(pairs), "kind": "pairs", "max_rows": 2000, "weight": 0.25},
            {"path": str(triples), "kind": "triples", "weight": 3},
        ]
    )
    first, second = load_sources(chosen, tmp_path)
    assert (first.facts["rows"], first.facts["rows_in_an_epoch"]) == (2000, 500)
    assert len(set(first.examples["query"])) == 500
    assert first.examples[0]["positive"] == first.examples[0]["query"].replace("q", "p")
    assert Counter(second.examples["query"]) == {f"q{i}": 3 for i in range(10)}
    assert second.examples.column_names == ["query", "positive", "negative_0", "negative_1"]
    again, _ = load_sources(chosen, tmp_path)
    assert again.examples["query"] == first.examples["query"]
    assert len(first.facts["sha256"]) == 64


def test_weights_are_whole_rows_and_a_chosen_fraction() -> None:
    assert weigh(4, 1.0, 0) == range(4)
    rows = weigh(100, 2.3, 0)
    assert Counter(Counter(rows).values()) == {2: 70, 3: 30}
    assert weigh(100, 0.3, 0) == weigh(100, 0.3, 0) != weigh(100, 0.3, 1)


def test_a_weight_that_leaves_nothing_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    write_jsonl(path, [{"query": "q", "positive": "p"}])
    with pytest.raises(DataError, match=r"weight=0.1 leaves none; raise it"):
        load_sources(config([{"path": str(path), "kind": "pairs", "weight": 0.1}]), tmp_path)
    path.write_text("")
    with pytest.raises(DataError, match="has no rows"):
        load_sources(config([{"path": str(path), "kind": "pairs"}]), tmp_path)
    with pytest.raises(DataError, match=r"no file other\.jsonl"):
        load_sources(config([{"path": "other.jsonl", "kind": "pairs"}]), tmp_path)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A distillation set in the layout of the large ones."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "hub"
    folder.mkdir()
    tables = {
        "train": [
            {"query_id": "1", "document_ids": ["d2", "d1", "d3"], "scores": [3.0, 1.0, 2.0]},
            {"query_id": "2", "document_ids": ["d3", "d1"], "scores": [1.0, 0.5]},
        ],
        "queries": [{"query_id": "1", "text": "one"}, {"query_id": "2", "text": "two"}],
        "documents": [{"document_id": f"d{i}", "text": f"text {i}"} for i in (1, 2, 3)],
    }
    about = "---\nconfigs:\n"
    for name, rows in tables.items():
        pyarrow.parquet.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")
        about += f"- config_name: {name}\n  data_files:\n"
        about += f"  - split: train\n    path: {name}.parquet\n"
    (folder / "README.md").write_text(about + "---\n")
    return folder


def of_ids(hub: Path, **more: object) -> dict:
    names = {"subset": "train", "queries": "queries", "documents": "documents", "n_ways": 2}
    return {"path": str(hub), "kind": "scores", **names, **more}


def test_rows_of_ids_are_joined_with_their_texts(hub: Path, tmp_path: Path) -> None:
    [source] = load_sources(config([of_ids(hub)]), tmp_path)
    assert source.examples[0] == {
        "query": "one",
        "documents": ["text 2", "text 1"],
        "scores": [1.0, 0.0],
    }
    assert source.examples[1]["documents"] == ["text 3", "text 1"]
    assert source.facts["rows"] == 2


def test_rows_of_ids_without_texts_or_with_too_few_are_named(hub: Path, tmp_path: Path) -> None:
    [source] = load_sources(config([of_ids(hub, n_ways=3)]), tmp_path)
    assert source.examples[0]["query"] == "one"
    with pytest.raises(DataError, match="query 2: no list of at least 3 document_ids"):
        source.examples[1]
    swapped = of_ids(hub, queries="documents", documents="queries")
    with pytest.raises(DataError, match="no column 'query_id' among document_id, text"):
        load_sources(config([swapped]), tmp_path)
    rows = [{"document_id": "d1", "text": "text 1"}]
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), hub / "documents.parquet")
    [source] = load_sources(config([of_ids(hub)]), tmp_path)
    with pytest.raises(DataError, match="query 1: id 'd2' has no text"):
        source.examples[0]


def test_texts_of_a_hub_set_are_checked_like_a_file_s(hub: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"hub, row 1: field 'query' is None"):
        load_sources(config([{"path": str(hub), "kind": "pairs", "subset": "queries"}]), tmp_path)
    with pytest.raises(DataError, match=r"cannot read .*Check the name and the connection"):
        load_sources(config([{"path": str(hub), "kind": "pairs", "subset": "no"}]), tmp_path)
