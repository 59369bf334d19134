"""Judgment files as people have them."""

from __future__ import annotations

import gzip
import logging
from pathlib import Path

import pytest
from conftest import write_beir

from colmodern import load_dataset
from colmodern.datasets.judgments import read_judgments
from colmodern.datasets.load import load_judgments, load_queries
from colmodern.errors import DataError

QUERIES = {f"q{i}": "text" for i in range(1, 9)} | {"qid": "text"}
DOCS = {f"d{i}" for i in range(1, 9)}


def read(tmp_path: Path, text: str, **options: bool) -> dict[str, dict[str, int]]:
    path = tmp_path / "test.tsv"
    path.write_bytes(text.encode())
    return read_judgments(path, QUERIES, DOCS, **options).qrels


@pytest.mark.parametrize(
    "first",
    [
        "",
        "query-id\tcorpus-id\tscore\n",
        "\nQuery_ID\tCorpus_ID\tScore\r\n",
        "qid\tpid\tlabel\n",
        "query\tsomething\telse\n",
    ],
)
def test_only_the_first_field_makes_a_header(tmp_path: Path, first: str) -> None:
    expected = {"q1": {"d1": 1, "d2": -1}, "q2": {"d1": 2}}
    assert read(tmp_path, f"{first}q1\td1\t1.0\nq1 \td2\t-1\nq2\td1\t+2\r\n") == expected


def test_a_query_called_as_a_column_is_judged(tmp_path: Path) -> None:
    assert read(tmp_path, "qid\td1\t1\nq1\td1\t0\n") == {"qid": {"d1": 1}, "q1": {"d1": 0}}


def test_a_header_says_where_the_columns_are(tmp_path: Path) -> None:
    swapped = "query-id\tscore\tcorpus-id\nq1\t2\td1\n"
    wide = "query-id\titeration\tcorpus-id\tscore\tnote\nq1\t0\td1\t2\tsure\n"
    assert read(tmp_path, swapped) == read(tmp_path, wide) == {"q1": {"d1": 2}}
    with pytest.raises(DataError, match=r"test\.tsv:1: the columns are called"):
        read(tmp_path, "query-id\ta\tb\tc\nq1\td1\t1\t2\n")


@pytest.mark.parametrize(
    "grade", ["", "0.5", "nan", "high", "1_0", "1000001", "99999999999999999999"]
)
@pytest.mark.parametrize("first", ["", "query-id\tcorpus-id\tscore\n", "q2\td1\t1\n"])
def test_a_grade_that_is_no_whole_number_is_named(tmp_path: Path, first: str, grade: str) -> None:
    line = 2 if first else 1
    with pytest.raises(DataError, match=rf"test\.tsv:{line}: grade '{grade}' of query 'q1'"):
        read(tmp_path, f"{first}q1\td1\t{grade}\nq2\td2\t1\n")


@pytest.mark.parametrize(
    ("line", "words"),
    [("q\0\td1\t1", "NUL"), ("q1\td 1\t1", "white space"), ("\td1\t1", "is empty")],
)
def test_ids_that_are_none_are_named(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(DataError, match=rf"test\.tsv:2: the id .*{words}"):
        read(tmp_path, f"q1\td1\t1\n{line}\n")


def test_trec_lines_keep_white_space_of_unicode_in_ids(tmp_path: Path) -> None:
    path = tmp_path / "qrels.txt"
    path.write_text("q1 0 d\u00a01 1\nq2\t0\td\u30002\t2\n")
    qrels = read_judgments(path, QUERIES, None, is_trec=True).qrels
    assert qrels == {"q1": {"d\u00a01": 1}, "q2": {"d\u30002": 2}}


def test_judgments_of_missing_documents_and_queries_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = ["q1\td1\t2", "q1\tgone\t1", "q2\td2\t1", "q3\td3\t1", "q9\td1\t1"]
    folder = write_beir(tmp_path / "a", qrels=lines)
    with caplog.at_level(logging.WARNING):
        dataset = load_dataset(folder)
        load_dataset(folder)
    assert dataset.qrels == {"q1": {"d1": 2, "gone": 1}, "q2": {"d2": 1}, "q3": {"d3": 1}}
    assert (dataset.missing, dataset.n_queries_left_out) == ({"q1": 1}, 1)
    assert load_dataset(folder, max_queries=1).missing == {"q1": 1}
    assert load_dataset(folder, max_queries=1, sample_seed=0).missing.keys() <= {"q1"}
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2  # each once
    assert "lacks 1 of 4 judged documents, the first is 'gone'" in messages[0]
    assert "1 of 4 judged queries have no text" in messages[1]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["q1\tx\t1", "q2\ty\t1", "q3\td3\t1"], r"tsv:1: .*document 'x'.*lacks 2 of 3"),
        (["q1\td1\t1", "x\td1\t1", "y\td1\t1"], r"tsv:2: .*query 'x'.*lack 2 of 3"),
    ],
)
def test_judgments_of_another_collection_are_refused(
    tmp_path: Path, lines: list[str], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        load_dataset(write_beir(tmp_path / "a", qrels=lines))


def test_a_folder_may_be_gzipped(beir: Path) -> None:
    expected = load_dataset(beir)
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        path = beir / name
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    qrels = load_dataset(beir)
    assert (qrels.queries, qrels.qrels) == (expected.queries, expected.qrels)
    assert qrels.corpus.fingerprint == expected.corpus.fingerprint
    assert len(load_queries(beir)) == 4
    assert load_judgments(beir) == expected.qrels
    with pytest.raises(DataError, match=r"splits in .*: test$"):
        load_dataset(beir, split="dev")


@pytest.mark.parametrize("split", ["../corpus", "a/b", "."])
def test_a_split_is_no_path(beir: Path, split: str) -> None:
    with pytest.raises(DataError, match="is not a name"):
        load_dataset(beir, split=split)
