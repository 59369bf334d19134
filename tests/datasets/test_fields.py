"""Fields of documents, and filters of queries, from files."""

from __future__ import annotations

import datetime
import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from colmodern.datasets.fields import read_fields, read_query_filters
from colmodern.errors import DataError


def test_the_other_keys_of_a_corpus_are_fields(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text(
        '{"_id": "a", "title": "t", "text": "x", "year": 2020, "id": 7}\n\n{"_id": 3, "text": ""}\n'
    )
    assert list(read_fields(path)) == [("a", {"year": 2020, "id": 7}), ("3", {})]
    packed = tmp_path / "other.jsonl.gz"
    packed.write_bytes(gzip.compress(b'{"id": "a", "lang": "en"}\n'))
    assert list(read_fields(tmp_path / "other.jsonl")) == [("a", {"lang": "en"})]


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    records = [
        {"id": "a", "n": 1 << 60, "x": 0.5, "day": datetime.date(2020, 2, 29), "tags": ["u", "v"]},
        {"id": "b", "n": None, "x": None, "day": None, "tags": None},
    ]
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "f.parquet")
    found = dict(read_fields(tmp_path / "f.parquet"))
    assert found == {r["id"]: {k: v for k, v in r.items() if k != "id"} for r in records}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("f.jsonl", b'{"year": 1}\n', r"f\.jsonl:1: field '_id' is None"),
        ("f.jsonl", b"[]\n", r"f\.jsonl:1: not a JSON object"),
        ("f.parquet", b"PAR1 nonsense", r"f\.parquet cannot be read as parquet"),
        ("missing.parquet", None, r"missing\.parquet: there is no such file"),
        ("missing.jsonl", None, r"missing\.jsonl"),
    ],
)
def test_files_that_hold_no_fields_are_named(
    name: str, content: bytes | None, message: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(read_fields(tmp_path / name))


def test_a_parquet_file_without_ids_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"doc": ["a"], "year": [2020]}), tmp_path / "f.parquet")
    with pytest.raises(DataError, match=r"f\.parquet has no column '_id' or 'id'"):
        list(read_fields(tmp_path / "f.parquet"))


def test_filters_of_queries(tmp_path: Path) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_text(
        '{"_id": "q", "text": "x", "only": {"year": 1}}\n{"_id": "p", "text": "y", "only": null}\n'
    )
    assert read_query_filters(path, "only") == {"q": {"year": 1}}
    with pytest.raises(DataError, match="none of 2 queries has 'nothing'"):
        read_query_filters(path, "nothing")
    with pytest.raises(DataError, match=r"queries\.jsonl:1: 'text' is 'x'; a filter is a mapping"):
        read_query_filters(path, "text")
