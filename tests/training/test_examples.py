from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from colmodern.config.train import DistillationConfig
from colmodern.errors import DataError
from colmodern.training.examples import check_rows, read_rows, scale_scores

PAIR = {"query": "a", "positive": "b"}
TRIPLE = {"query": "a", "positive": "b", "negative": "c"}
SCORES = {"query": "a", "documents": ["b", "c", "d"], "scores": [2, 1.5, -1]}


def as_lines(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def as_gzip(path: Path, rows: list[dict]) -> Path:
    path = path.with_name(path.name + ".gz")
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return path


def as_parquet(path: Path, rows: list[dict]) -> Path:
    path = path.with_suffix(".parquet")
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("write", [as_lines, as_gzip, as_parquet])
def test_the_three_kinds_are_read_from_every_form(
    write: Callable[[Path, list[dict]], Path], tmp_path: Path
) -> None:
    def read(kind: str, row: dict, n_ways: int | None = None) -> dict:
        [example] = check_rows(read_rows(write(tmp_path / "rows.jsonl", [row])), kind, n_ways)
        return example

    assert read("pairs", TRIPLE) == PAIR
    assert read("triples", TRIPLE) == {**PAIR, "negative_0": "c"}
    several = {**PAIR, "negatives": ["c", "d"]}
    assert read("triples", several) == {**PAIR, "negative_0": "c", "negative_1": "d"}
    assert read("triples", several, 2) == {**PAIR, "negative_0": "c"}
    assert read("scores", SCORES) == SCORES
    assert read("scores", SCORES, 2) == {
        "query": "a",
        "documents": ["b", "c"],
        "scores": [2.0, 1.5],
    }


@pytest.mark.parametrize(
    ("kind", "row", "told"),
    [
        ("pairs", {"query": "a"}, "field 'positive' is None"),
        ("pairs", {"query": " ", "positive": "b"}, "field 'query' is ' '"),
        ("pairs", {"query": 3, "positive": "b"}, "field 'query' is 3"),
        ("triples", PAIR, "field 'negative' is"),
        ("triples", {**PAIR, "negatives": []}, "field 'negatives' is"),
        ("triples", {**PAIR, "negatives": ["c", None]}, "field 'negatives' is"),
        ("scores", {**SCORES, "documents": ["b"]}, "field 'documents' is"),
        ("scores", {**SCORES, "documents": ["b", 1, "c"]}, "field 'documents' is"),
        ("scores", {**SCORES, "scores": [1, "x", 2]}, "field 'scores' is"),
        ("scores", {**SCORES, "scores": [1, float("nan"), 2]}, "field 'scores' is"),
        ("scores", {**SCORES, "scores": [1, 2]}, "3 documents and 2 scores"),
    ],
)
def test_a_broken_line_is_named_with_what_is_wrong(
    kind: str, row: dict, told: str, tmp_path: Path
) -> None:
    good = {"pairs": PAIR, "triples": TRIPLE, "scores": SCORES}[kind]
    path = as_lines(tmp_path / "rows.jsonl", [good, good, row])
    with pytest.raises(DataError, match=told) as raised:
        list(check_rows(read_rows(path), kind, None))
    assert str(raised.value).startswith(f"{path}:3: ")


def test_what_is_no_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(PAIR) + "\n{broken\n")
    with pytest.raises(DataError, match=r"rows.jsonl:2: not valid JSON"):
        list(check_rows(read_rows(path), "pairs", None))
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"no parquet")
    with pytest.raises(DataError, match=r"cannot read .*rows.parquet"):
        list(read_rows(path))


def test_uneven_rows_name_the_cure(tmp_path: Path) -> None:
    shorter = {"query": "a", "documents": ["b", "c"], "scores": [1, 0]}
    path = as_lines(tmp_path / "rows.jsonl", [SCORES, shorter])
    with pytest.raises(
        DataError, match=r":2: 2 documents, but .*:1 has 3; set the source's n_ways"
    ):
        list(check_rows(read_rows(path), "scores", None))
    with pytest.raises(DataError, match=r":2: 2 documents, but n_ways asks for 3"):
        list(check_rows(read_rows(path), "scores", 3))
    assert len(list(check_rows(read_rows(path), "scores", 2))) == 2


def test_a_teacher_s_scores_go_from_0_to_1_and_are_sharpened() -> None:
    assert scale_scores([4, 2, 3], DistillationConfig()) == [1, 0, 0.5]
    assert scale_scores([4, 2, 3], DistillationConfig(temperature=0.5)) == [2, 0, 1]
    assert scale_scores([4, 4], DistillationConfig()) == [0, 0]
    assert scale_scores([4, 2], DistillationConfig(normalize_teacher=False)) == [4, 2]
