"""Evaluations whose queries may return some documents only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from colmodern import run_eval
from colmodern.errors import ColmodernError, ConfigError, InputError

FIELDS = [{"year": 2000 + i % 10, "lang": "en" if i % 2 else "de"} for i in range(30)]
WORDS = ("file", "disk", "night", "salt", "water", "name", "folder")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set whose documents have fields, and whose queries have filters of their own."""
    root = tmp_path_factory.mktemp("set") / "set"
    (root / "qrels").mkdir(parents=True)
    documents = [
        {"_id": f"d{i}", "text": f"{WORDS[i % 7]} and {WORDS[i * 3 % 7]} number {i}", **fields}
        for i, fields in enumerate(FIELDS)
    ]
    queries: list[dict[str, Any]] = [
        {"_id": "q0", "text": "the file and the disk", "only": {"lang": "en"}},
        {"_id": "q1", "text": "salt in the water"},
        {"_id": "q2", "text": "a name for the folder", "only": {"lang": "en"}},
        {"_id": "q3", "text": "night", "only": {"year": {"lt": 1990}}},
    ]
    for name, records in (("corpus", documents), ("queries", queries)):
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (root / f"{name}.jsonl").write_text(lines)
    judged = "".join(f"q{i}\td{i}\t1\n" for i in range(4))
    (root / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    return root


def evaluate(folder: Path, output: Path, **settings: Any) -> dict[str, set[str]]:
    """The documents of each query."""
    config = {
        "name": "run",
        "dataset": {"name": str(folder), **settings.pop("dataset", {})},
        "encoder": {"model": "colmodern/tiny", "device": "cpu"},
        "index": settings.pop("index", {"kind": "exact"}),
        "search": {"k": 30, **settings},
        "measures": ["nDCG@10"],
        "output": str(output),
    }
    result = run_eval(config)
    run: dict[str, set[str]] = {f"q{i}": set() for i in range(4)}
    for line in (result.folder / "run.trec").read_text().splitlines():
        query_id, _, doc_id, *_ = line.split()
        run[query_id].add(doc_id)
    return run


def meeting(holds: Any) -> set[str]:
    return {f"d{i}" for i, fields in enumerate(FIELDS) if holds(fields)}


@pytest.mark.parametrize("kind", ["exact", "plaid"])
def test_filters_of_the_config_and_of_each_query_are_joined(
    folder: Path, kind: str, tmp_path: Path
) -> None:
    index = {"kind": kind}
    everything = {f"d{i}" for i in range(30)}
    assert evaluate(folder, tmp_path, index=index)["q0"] == everything
    late = meeting(lambda f: f["year"] >= 2005)
    found = evaluate(folder, tmp_path, index=index, filter={"year": {"gte": 2005}})
    assert found == dict.fromkeys(found, late)
    english = meeting(lambda f: f["lang"] == "en")
    found = evaluate(folder, tmp_path, index=index, filter_field="only")
    assert found == {"q0": english, "q1": everything, "q2": english, "q3": set()}
    both = {"filter": {"year": {"gte": 2005}}, "filter_field": "only"}
    found = evaluate(folder, tmp_path, index=index, **both)
    assert found == {"q0": english & late, "q1": late, "q2": english & late, "q3": set()}


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_fields_come_from_a_file_beside_the_corpus(
    folder: Path, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"fields{suffix}"
    records = [{"id": f"d{i}", "rank": i, "day": f"2020-01-{i + 1:02d}"} for i in range(20)]
    if suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(records), path)
    else:
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    dataset = {"fields": str(path)}
    found = evaluate(folder, tmp_path, dataset=dataset, filter={"rank": {"lt": 3}})
    assert found["q0"] == {"d0", "d1", "d2"}
    found = evaluate(folder, tmp_path, dataset=dataset, filter={"day": {"exists": False}})
    assert found["q1"] == {f"d{i}" for i in range(20, 30)}


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"filter": {"yaer": 3}}, InputError, "search.filter names the field 'yaer'"),
        ({"filter": {"year": {"is": 3}}}, InputError, r"search.filter\['year'\] has the operator"),
        ({"filter_field": "olny"}, ColmodernError, "none of 4 queries has 'olny'"),
        ({"filter_field": "text"}, ColmodernError, "'text' is 'the file and the disk'; a filter"),
        (
            {"filter": {"year": 3}, "index": {"kind": "rerank"}},
            ConfigError,
            "search.filter is set, and index.kind=rerank has no filters; choose one of exact, plaid",
        ),
        (
            {"filter": {"year": 3}, "dataset": {"name": "stdlib"}},
            ConfigError,
            "dataset.name=stdlib: its documents have no fields; give a file",
        ),
        ({"filter": 3}, ConfigError, "search.filter"),
        (
            {"filter": {"year": 3}, "dataset": {"fields": "/nowhere.jsonl"}},
            ColmodernError,
            "/nowhere.jsonl",
        ),
    ],
)
def test_what_cannot_filter_says_why(
    folder: Path, settings: Any, error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        evaluate(folder, tmp_path, **settings)


def test_dates_of_yaml_are_kept_as_text(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        f"name: run\ndataset: {{name: {folder}}}\nencoder: {{model: colmodern/tiny, device: cpu}}\n"
        f"output: {tmp_path}\nsearch: {{k: 10, filter: {{lang: {{gte: 2020-01-01}}}}}}\n"
        "measures: [nDCG@10]\n"
    )
    with pytest.raises(InputError, match=r"'lang' \(text\) with the date 2020-01-01"):
        run_eval(path)
