"""Evaluations whose queries may return some documents only."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from colmodern import run_eval
from colmodern.errors import ColmodernError, ConfigError, InputError
from colmodern.evaluation.trec import read_run

FIELDS: list[dict[str, Any]] = [
    {"year": 2000 + i % 10, "lang": "en" if i % 2 else "de"} for i in range(30)
]
FIELDS[3]["tags"] = ["new", "long"]
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


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where evaluations share embeddings and indexes."""
    return tmp_path_factory.mktemp("runs")


def evaluate(folder: Path, output: Path, **settings: Any) -> dict[str, set[str]]:
    """The documents of each query."""
    run = ranked(folder, output, **settings)
    return {f"q{i}": set(run.get(f"q{i}", ())) for i in range(4)}


def ranked(folder: Path, output: Path, **settings: Any) -> dict[str, list[str]]:
    """The documents of each query that has any, best first."""
    measures = settings.pop("measures", ["nDCG@10"])
    config = {
        "name": "run",
        "dataset": {"name": str(folder), **settings.pop("dataset", {})},
        "encoder": {
            "model": "colmodern/tiny",
            "device": "cpu",
            **settings.pop("encoder", {}),
        },
        "index": settings.pop("index", {"kind": "exact"}),
        "search": {"k": 30, **settings},
        "measures": measures,
        "output": str(output),
    }
    result = run_eval(config)
    run: dict[str, list[str]] = {}
    for line in (result.folder / "run.trec").read_text().splitlines():
        query_id, _, doc_id, *_ = line.split()
        run.setdefault(query_id, []).append(doc_id)
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


def test_filters_that_no_document_meets_are_said(
    folder: Path, output: Path, caplog: pytest.LogCaptureFixture
) -> None:
    evaluate(folder, output, filter_field="only")
    some = "of 1 of 4 queries, such as {'year': {'lt': 1990}} of query 'q3': they get no results"
    assert f"no document meets the filter {some}" in caplog.text
    caplog.clear()
    evaluate(folder, output, filter={"year": {"gt": 2010}})
    assert "no document meets the filter of 4 of 4 queries, such as {'year': {'gt'" in caplog.text
    caplog.clear()
    evaluate(folder, output, filter={"year": {"gt": 2000}})
    assert "no document" not in caplog.text


BM25 = {"kind": "bm25", "stemmer": None}
KINDS: dict[str, dict[str, Any]] = {
    "exact": {"kind": "exact"},
    "bm25": BM25,
    "sharded": {"kind": "sharded", "shards": 2},
    "rerank": {"kind": "rerank", "candidates": BM25},
    "rerank, compressed": {"kind": "rerank", "candidates": "exact", "scorer": "plaid"},
    "hybrid": {"kind": "hybrid", "of": [BM25, "plaid"]},
    "rerank of hybrid": {"kind": "rerank", "candidates": {"kind": "hybrid", "of": [BM25, "exact"]}},
    "hybrid of rerank": {"kind": "hybrid", "of": [BM25, {"kind": "rerank", "candidates": BM25}]},
}


@pytest.mark.parametrize("kind", KINDS)
def test_filters_of_every_kind_keep_what_they_allow(folder: Path, kind: str, output: Path) -> None:
    index = KINDS[kind]
    everything = evaluate(folder, output, index=index)
    english, late = meeting(lambda f: f["lang"] == "en"), meeting(lambda f: f["year"] >= 2005)
    both = {"filter": {"year": {"gte": 2005}}, "filter_field": "only"}
    assert evaluate(folder, output, index=index, **both) == {
        "q0": everything["q0"] & english & late,
        "q1": everything["q1"] & late,
        "q2": everything["q2"] & english & late,
        "q3": set(),
    }


def test_candidates_are_counted_after_the_filter(folder: Path, tmp_path: Path) -> None:
    late = {"filter": {"year": {"gte": 2008}}, "k": 5, "measures": ["nDCG@5"]}
    exact = evaluate(folder, tmp_path, **late)
    index = {"kind": "rerank", "candidates": "exact", "depth": 5}
    assert evaluate(folder, tmp_path, index=index, **late) == exact
    run = tmp_path / "first.trec"
    lines = [f"q0 Q0 d{i} {i + 1} {30 - i} made\n" for i in range(30)]
    run.write_text("".join(line.replace("q0", f"q{q}", 1) for q in range(4) for line in lines))
    index = {"kind": "rerank", "candidates": str(run), "depth": 5}
    found = evaluate(folder, tmp_path, index=index, **late)
    assert found == {key: {"d8", "d9", "d18", "d19", "d28"} for key in found}


def test_weights_are_tuned_under_the_filters_of_their_queries(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    shutil.copytree(folder, root)
    judged = list((root / "qrels" / "test.tsv").read_text().splitlines())
    (root / "qrels" / "test.tsv").write_text("\n".join(judged[:3]) + "\n")
    (root / "qrels" / "dev.tsv").write_text("\n".join([judged[0], "q2\td1\t1"]) + "\n")
    index = {"kind": "hybrid", "of": [BM25, "exact"], "fusion": "weighted", "tune_split": "dev"}
    evaluate(root, tmp_path, index=index, filter_field="only")
    cache = tmp_path / ".cache"
    runs = [read_run(path, may_be_empty=True) for path in cache.glob("search-*/run.trec")]
    tuned = [run["q2"] for run in runs if "q2" in run]
    assert len(tuned) == 2
    assert all({d for d, _ in found} <= meeting(lambda f: f["lang"] == "en") for found in tuned)


@pytest.mark.parametrize("kind", KINDS)
def test_groups_of_every_kind_keep_their_best_document(
    folder: Path, kind: str, output: Path
) -> None:
    index = {**KINDS[kind], "compare_with_exact": False}
    if kind in ("exact", "bm25") or kind.startswith("hybrid"):
        del index["compare_with_exact"]
    whole = ranked(folder, output, index=index)
    few = {"k": 4, "measures": ["nDCG@4"]}
    grouped = ranked(folder, output, index=index, group_by="year", **few)
    for query_id, found in grouped.items():
        best: dict[int, str] = {}
        for doc_id in whole[query_id]:
            best.setdefault(FIELDS[int(doc_id[1:])]["year"], doc_id)
        assert found == list(best.values())[:4], query_id
    assert grouped.keys() == whole.keys()


def test_a_document_that_is_left_out_takes_no_group(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    shutil.copytree(folder, root)
    for path in (root / "queries.jsonl", root / "qrels" / "test.tsv"):
        path.write_text(path.read_text().replace("q1", "d1"))
    whole = ranked(root, tmp_path)["d1"]
    dataset = {"drop_self_matches": True}
    [first, second] = ranked(root, tmp_path, dataset=dataset, group_by="lang", k=10)["d1"]
    others = [doc_id for doc_id in whole if doc_id != "d1"]
    languages = [FIELDS[int(doc_id[1:])]["lang"] for doc_id in others]
    assert {first, second} == {others[languages.index("en")], others[languages.index("de")]}


@pytest.mark.parametrize(
    ("kind", "rank"), [("exact", "sum"), ("plaid", "best"), ("rerank", "sum"), ("hybrid", "best")]
)
def test_documents_ranked_by_passages_are_filtered_and_grouped(
    folder: Path, kind: str, rank: str, output: Path
) -> None:
    options = {
        "index": KINDS.get(kind, {"kind": kind}),
        "encoder": {"document_length": 8, "overflow": "split", "overlap": 0},
        "passages": rank,
    }
    whole = ranked(folder, output, **options)
    late = meeting(lambda f: f["year"] >= 2005)
    filtered = ranked(folder, output, **options, filter={"year": {"gte": 2005}})
    grouped = ranked(folder, output, **options, group_by="year")
    for query_id, found in whole.items():
        assert set(filtered[query_id]) == set(found) & late
        if kind != "hybrid":  # where ranks among fewer documents make other scores
            assert filtered[query_id] == [doc_id for doc_id in found if doc_id in late]
        best: dict[int, str] = {}
        for doc_id in found:
            best.setdefault(FIELDS[int(doc_id[1:])]["year"], doc_id)
        assert grouped[query_id] == list(best.values())


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
        ({"group_by": "yaer"}, InputError, "search.group_by names the field 'yaer', which no doc"),
        (
            {"group_by": "tags"},
            InputError,
            "search.group_by='tags', but document 'd3' has 2 values",
        ),
        (
            {"group_by": "year", "dataset": {"name": "stdlib"}},
            ConfigError,
            "dataset.name=stdlib: its documents have no fields; give a file",
        ),
        (
            {"filter": {"year": 3}, "dataset": {"name": "stdlib"}},
            ConfigError,
            "dataset.name=stdlib: its documents have no fields; give a file",
        ),
        ({"filter": 3}, ConfigError, "search.filter"),
        (
            {"filter": {"year": 3}, "dataset": {"fields": "/nowhere.jsonl"}},
            ConfigError,
            "dataset.fields=/nowhere.jsonl: there is no such file",
        ),
        (
            {"dataset": {"fields": "/nowhere.jsonl"}},
            ConfigError,
            "dataset.fields=/nowhere.jsonl: there is no such file",
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
