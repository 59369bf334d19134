from __future__ import annotations

from pathlib import Path

import pytest
from conftest import CORPUS, QRELS, write_beir

from colmodern import load_dataset
from colmodern.datasets.load import load_corpus
from colmodern.errors import DataError, InputError


def test_a_folder_is_read_with_judged_queries_only(beir: Path) -> None:
    dataset = load_dataset(beir)
    assert dataset.name == "small"
    assert [document.doc_id for document in dataset.corpus] == ["d1", "d2", "d3", "d4", "d5", "d6"]
    assert len(dataset.corpus) == 6
    assert next(iter(dataset.corpus)).title == "Dates"
    assert list(dataset.queries) == ["q1", "q2", "q3"]
    assert dataset.qrels == {"q1": {"d1": 2}, "q2": {"d2": 1, "d6": 0}, "q3": {"d3": 1}}


def test_id_is_taken_where_the_hub_writes_no_underscore(tmp_path: Path) -> None:
    corpus = [{"id": 1, "text": "one"}, {"id": 2, "text": "two"}]
    queries = [{"id": "q", "text": "which"}]
    folder = write_beir(tmp_path / "hub", corpus, queries, ["q\t1\t1"])
    dataset = load_dataset(folder)
    assert [document.doc_id for document in dataset.corpus] == ["1", "2"]
    assert dataset.qrels == {"q": {"1": 1}}


def test_the_fingerprint_follows_the_documents(tmp_path: Path) -> None:
    first = load_corpus(write_beir(tmp_path / "a")).fingerprint
    assert load_corpus(write_beir(tmp_path / "b")).fingerprint == first
    assert (
        load_corpus(write_beir(tmp_path / "c", corpus=CORPUS[:5], qrels=QRELS[:2])).fingerprint
        != first
    )
    assert load_corpus(tmp_path / "a" / "corpus.jsonl").fingerprint == first


def test_max_queries_takes_the_first_or_a_seeded_sample(beir: Path) -> None:
    assert list(load_dataset(beir, max_queries=2).queries) == ["q1", "q2"]
    sampled = load_dataset(beir, max_queries=2, sample_seed=5)
    assert list(load_dataset(beir, max_queries=2, sample_seed=5).queries) == list(sampled.queries)
    assert sampled.qrels.keys() == sampled.queries.keys()
    assert len(load_dataset(beir, max_queries=99, sample_seed=5).queries) == 3
    with pytest.raises(InputError, match="max_queries=0"):
        load_dataset(beir, max_queries=0)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("corpus.jsonl", '{"_id": "a", "text": "x"}\n{"_id": ', r"corpus\.jsonl:2: not valid JSON"),
        (
            "corpus.jsonl",
            '{"_id": "a", "text": "x"}\n\n[1]\n',
            r"corpus\.jsonl:3: not a JSON object",
        ),
        (
            "corpus.jsonl",
            '{"_id": "a", "text": "x"}\n{"_id": "a", "text": "y"}\n',
            r"corpus\.jsonl:2: document id 'a' is already on line 1",
        ),
        ("corpus.jsonl", '{"text": "x"}\n', r"corpus\.jsonl:1: field '_id' is None"),
        ("corpus.jsonl", '{"_id": "a"}\n', r"corpus\.jsonl:1: field 'text' is None"),
        (
            "queries.jsonl",
            '{"_id": "q1", "text": " "}\n',
            r"queries\.jsonl:1: query 'q1' has no text",
        ),
        ("queries.jsonl", '{"_id": "a", "text": "x"}\n' * 2, r"queries\.jsonl:2: query id 'a' was"),
        ("qrels/test.tsv", "q1\tnowhere\t1\n", r"test\.tsv:1: judges document 'nowhere'"),
        ("qrels/test.tsv", "q9\td1\t1\n", r"test\.tsv:1: judges query 'q9'"),
        ("qrels/test.tsv", "q1\td1\n", r"test\.tsv:1: .* is not query-id, corpus-id"),
        ("qrels/test.tsv", "q1\td1\t1\nq1\td2\thigh\n", r"test\.tsv:2: "),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\n", "has no judgments"),
        ("qrels/test.tsv", "q1\t0\td1\t1\n", r"test\.tsv:1: .* is not query-id, corpus-id"),
        ("qrels/test.tsv", "q1\td1\t1\nq1\td1\t2\n", r"test\.tsv:2: .* 1 before and 2 here"),
        ("corpus.jsonl", "", r"corpus\.jsonl has no documents"),
        (
            "corpus.jsonl",
            '{"_id": "a b", "text": "x"}\n',
            r"corpus\.jsonl:1: id 'a b' has white space",
        ),
        ("corpus.jsonl", '{"_id": "a", "text": "\\ud83d"}\n', "half a surrogate pair"),
        ("corpus.jsonl", '{"_id": "a\\u0000", "text": "x"}\n', r"corpus\.jsonl:1: id .* NUL"),
        ("corpus.jsonl", '{"_id": true, "text": "x"}\n', r"corpus\.jsonl:1: field '_id' is True"),
        ("corpus.jsonl", '{"_id": "a", "text": "x", "title": "\\ud83d"}\n', "'title' has half"),
        ("corpus.jsonl", '{"_id": "a", "text": "x", "title": ["y"]}\n', "'title' is .'y'"),
        ("queries.jsonl", '{"_id": "q1", "text": "\\udc00"}\n', r"queries\.jsonl:1: .* half"),
        ("corpus.jsonl", "[" * 100_000 + "\n", r"corpus\.jsonl:1: not valid JSON"),
    ],
)
def test_faults_are_named_by_file_and_line(
    beir: Path, file: str, content: str, message: str
) -> None:
    (beir / file).write_text(content)
    with pytest.raises(DataError, match=message):
        load_dataset(beir)


def test_missing_files_and_splits_are_named(beir: Path) -> None:
    with pytest.raises(DataError, match=r"no judgments .*dev\.tsv; splits in .*: test"):
        load_dataset(beir, split="dev")
    (beir / "queries.jsonl").unlink()
    with pytest.raises(DataError, match=r"cannot read .*queries\.jsonl"):
        load_dataset(beir)
    with pytest.raises(DataError, match=r"no data set 'scifact': .*built in \(stdlib\)"):
        load_dataset("scifact")
    with pytest.raises(DataError, match="no data set 'scifact'"):
        load_corpus("scifact")


def test_a_first_judgment_is_no_header_whatever_its_id(tmp_path: Path) -> None:
    queries = [{"_id": "query1", "text": "which"}]
    folder = write_beir(tmp_path / "a", queries=queries, qrels=["query1\td1\t1", "query1\td2\t1"])
    assert load_dataset(folder).qrels == {"query1": {"d1": 1, "d2": 1}}


def test_marks_and_line_ends_of_other_systems_are_read(beir: Path) -> None:
    expected = load_dataset(beir)
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        content = (beir / name).read_bytes().replace(b"\n", b"\r\n")
        (beir / name).write_bytes(b"\xef\xbb\xbf" + content)
    dataset = load_dataset(beir)
    assert (dataset.queries, dataset.qrels) == (expected.queries, expected.qrels)
    assert list(dataset.corpus) == list(expected.corpus)


def test_judgments_that_are_not_utf8_are_named(beir: Path) -> None:
    (beir / "qrels" / "test.tsv").write_bytes("q1\td\xe9\t1\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"test\.tsv:1: not UTF-8"):
        load_dataset(beir)
