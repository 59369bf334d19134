"""Run folders whose files were damaged, or written by somebody else."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pipeline.evaluate.test_run import run

from colmodern.errors import InputError, StorageError
from colmodern.pipeline.compare.runs import compare_runs
from colmodern.pipeline.compare.stored_run import System, read_stored_run, read_systems
from colmodern.pipeline.open.artifacts import precision_of, stores_of


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two finished runs."""
    from conftest import write_beir

    folder = tmp_path_factory.mktemp("runs")
    data = write_beir(folder / "small")
    path = folder / "small.yaml"
    path.write_text(
        f"dataset: {{name: {data}}}\nencoder: {{model: colmodern/tiny}}\n"
        f"search: {{k: 20}}\nmeasures: [nDCG@10]\noutput: {folder}\n"
    )
    return [run(path, f"name={name}")[0].folder for name in ("a", "b")]


@pytest.fixture
def folder(whole: list[Path]) -> Any:
    """A copy of a run, beside its embeddings."""
    copy = whole[0].with_name("copy")
    shutil.copytree(whole[0], copy)
    yield copy
    shutil.rmtree(copy)


def change(path: Path, mend: Callable[[Any], Any]) -> None:
    values = json.loads(path.read_text())
    path.write_text(json.dumps(mend(values) or values))


def test_texts_with_separators_of_unicode_come_back(folder: Path) -> None:
    path = folder / "per_query.jsonl"
    rows = [json.loads(line) for line in path.read_text().split("\n") if line]
    for row in rows:
        row["query"] += "\u2028 and \x85"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    assert all(text.endswith("\u2028 and \x85") for text in read_stored_run(folder).texts.values())


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("per_query.jsonl", "{", r"per_query\.jsonl:1: not JSON"),
        ("per_query.jsonl", "[]\n", r"per_query\.jsonl:1: not a JSON object"),
        ("per_query.jsonl", "{}\n", r"per_query\.jsonl:1: query_id: Field required"),
        ("per_query.jsonl", '{"query_id": 3}\n', r"per_query\.jsonl:1: query_id: .*it is 3"),
        ("per_query.jsonl", '{"query_id": "q1", "query": "x"}\n', "has no text of query 'q2'"),
        ("per_query.jsonl", '{"query_id": "q1", "query": "\\ud800"}\n', "half a surrogate"),
        ("config.yaml", "name: [x\n", r"config\.yaml is not valid YAML"),
        ("config.yaml", "[]\n", r"config\.yaml holds list"),
        ("config.yaml", "dataset: {}\nsearch: {k: many}\n", r"config\.yaml: search\.k: "),
        ("config.yaml", "dataset: 3\nsearch: {k: 2}\n", r"config\.yaml: dataset: .*it is 3"),
        ("metrics.json", "{}", r"metrics\.json: measures: Field required"),
        ("metrics.json", '{"measures": {"nDCG@10": NaN}, "bytes": 1}', r"measures\.nDCG@10: "),
        ("metrics.json", '{"measures": {"nDCG@10": 1}, "bytes": "x"}', r"metrics\.json: bytes: "),
        ("metrics.json", "[" * 100_000, r"metrics\.json is not JSON"),
        ("timings.json", '{"search": 1}', r"timings\.json: search: "),
        ("timings.json", '{"search": {"seconds": -1}}', r"timings\.json: search\.seconds: "),
        ("environment.json", "{}", r"environment\.json: dataset: Field required"),
        ("environment.json", '{"dataset": []}', r"environment\.json: dataset: "),
        ("fidelity.json", "{}", r"fidelity\.json: estimates: Field required"),
        ("run.trec", "q1 Q0 d1 1 nan t\n", r"run\.trec:1: score 'nan'"),
        ("qrels.trec", "", r"qrels\.trec is empty"),
        ("run.trec", "x Q0 d1 1 1 t\n", "none of the 1 queries of the run is judged"),
    ],
)
def test_a_damaged_file_is_named_with_its_field(
    whole: list[Path], folder: Path, name: str, text: str, words: str
) -> None:
    (folder / name).write_text(text)
    with pytest.raises(StorageError, match=words) as caught:
        compare_runs(read_systems([str(whole[1]), str(folder)]))
    assert "run the evaluation again" in str(caught.value)


@pytest.mark.parametrize("name", ["metrics.json", "run.trec", "per_query.jsonl", "timings.json"])
def test_a_missing_file_and_a_pipe_are_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(StorageError, match=f"cannot read .*{name}: No such file"):
        read_stored_run(folder)
    os.mkfifo(folder / name)
    with pytest.raises(StorageError, match=f"cannot read .*{name}: it is a named pipe"):
        read_stored_run(folder)


def test_embeddings_and_precision_of_a_damaged_run_are_named(folder: Path) -> None:
    assert set(stores_of(folder)) == {"documents", "queries"}
    assert precision_of(folder) == "float32"
    change(folder / "environment.json", lambda values: values["embeddings"].pop("queries") and None)
    with pytest.raises(StorageError, match=r"environment\.json: embeddings\.queries: missing"):
        stores_of(folder)
    change(folder / "environment.json", lambda values: values.update(embeddings=[1]))
    with pytest.raises(StorageError, match=r"environment\.json: embeddings: "):
        stores_of(folder)
    (folder / "config.yaml").write_text("dataset: {}\nsearch: {k: 3}\nindex: {precision: int3}\n")
    with pytest.raises(StorageError, match=r"index\.precision: 'int3' is none of float32, int8"):
        precision_of(folder)


@pytest.mark.parametrize("place", ["~nosuchuser/x", "a\0b", "x" * 300, "runs/" + "y" * 5000])
def test_places_that_are_none_are_refused(place: str) -> None:
    with pytest.raises(InputError):
        read_systems([place])


def test_measures_that_nobody_computes_are_named(folder: Path) -> None:
    (folder / "metrics.json").write_text('{"measures": {"nDGC@10": 1.0}, "bytes": 1}')
    stored = read_stored_run(folder)
    with pytest.raises(StorageError, match=r"metrics\.json: .*'nDGC@10' is not a measure"):
        compare_runs([System(name, {"small": stored}) for name in ("a", "b")])
