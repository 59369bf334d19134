from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import CORPUS, QUERIES, write_beir
from pipeline.evaluate.test_run import run
from report.test_run_page import Reader

from colmodern.pipeline.compare.page import comparison_page
from colmodern.pipeline.compare.runs import compare_runs
from colmodern.pipeline.compare.stored_run import read_systems


def page(*folders: Path) -> Reader:
    systems = read_systems([str(folder) for folder in folders])
    reader = Reader()
    reader.feed(comparison_page(compare_runs(systems), systems))
    assert reader.open == []
    return reader


@pytest.fixture
def folders(eval_config: Callable[..., Path]) -> list[Path]:
    """Two run folders of which one has an index, and one of a very short query."""
    config = eval_config()
    settings = (["a"], ["b", "index.kind=plaid"], ["c", "encoder.query_length=4"])
    return [run(config, f"name={name}", *more)[0].folder for name, *more in settings]


def test_the_page_shows_tests_queries_documents_costs_and_recipes(folders: list[Path]) -> None:
    text = page(*folders).text
    for wanted in (
        "b, c against a",
        "small; 3 queries",
        "p (randomisation)",
        "build index, s",
        "peak memory, MB",
        "overlap@10",
        "config.encoder.query_length",
        "decides scores",
    ):
        assert wanted in text


def test_changed_queries_stand_with_what_both_found(folders: list[Path]) -> None:
    a, _, c = folders
    systems = read_systems([str(a), str(c)])
    found = compare_runs(systems)
    assert found.changes
    text = page(a, c).text
    query = next(q for q in QUERIES if q["_id"] == found.changes[0].query_id)
    assert query["text"] in text
    assert "→" in text
    relevant = {"q1": CORPUS[0], "q2": CORPUS[1], "q3": CORPUS[2]}[query["_id"]]
    assert relevant["text"] in text


def test_a_collection_that_is_gone_leaves_the_texts_out(folders: list[Path], beir: Path) -> None:
    shutil.rmtree(beir)
    text = page(folders[0], folders[2]).text
    assert "rank 1" in text
    assert not any(document["text"] in text for document in CORPUS if document["text"])


def test_several_data_sets_have_their_mean(
    eval_config: Callable[..., Path], tmp_path: Path
) -> None:
    config, second = eval_config(), write_beir(tmp_path / "second")
    for name, query_length in (("x", 16), ("y", 4)):
        for data in ([], [f"dataset.name={second}"]):
            more = [f"encoder.query_length={query_length}", f"output={tmp_path / name}", *data]
            run(config, f"name=run{len(data)}", *more)
    text = page(tmp_path / "x", tmp_path / "y").text
    for wanted in ("2 data sets: small, second", "mean of all", "small, query"):
        assert wanted in text


def test_a_run_of_an_older_version_is_shown_without_what_it_lacks(folders: list[Path]) -> None:
    a, _, c = folders
    for folder in (a, c):
        metrics = json.loads((folder / "metrics.json").read_text())
        del metrics["peak_memory_mb"]
        (folder / "metrics.json").write_text(json.dumps(metrics))
        path = folder / "per_query.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            del row["query"]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = page(a, c).text
    assert "peak memory, MB" not in text
    assert "query q" in text
