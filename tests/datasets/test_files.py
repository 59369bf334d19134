"""Collections of any source: TREC judgments, tab-separated texts, gzipped or not."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from conftest import CORPUS, write_jsonl

from colmodern import load_dataset
from colmodern.datasets.corpus import FileCorpus
from colmodern.datasets.load import load_corpus
from colmodern.errors import DataError

TSV = "1\tthe lift of a wing\n2\tparse a date\n"
TOPICS = "q1\twing lift\nq2\tdates\nq3\tnobody judged this\n"


def write(
    tmp_path: Path, corpus: str = TSV, qrels: str = "q1 0 1 2\nq2 0 2 1\nq2 0 1 -1\n"
) -> tuple:
    for name, text in (("docs.tsv", corpus), ("topics.tsv", TOPICS), ("qrels.txt", qrels)):
        (tmp_path / name).write_text(text)
    return tmp_path / "docs.tsv", tmp_path / "topics.tsv", tmp_path / "qrels.txt"


def test_trec_files_are_read_as_they_are(tmp_path: Path) -> None:
    dataset = load_dataset("mine", files=write(tmp_path))
    assert [tuple(document) for document in dataset.corpus] == [
        ("1", "the lift of a wing", ""),
        ("2", "parse a date", ""),
    ]
    assert dataset.queries == {"q1": "wing lift", "q2": "dates"}
    assert dataset.qrels == {"q1": {"1": 2}, "q2": {"2": 1, "1": -1}}
    assert dataset.name == "mine"


def test_judgments_may_be_of_the_beir_form_and_the_corpus_json_lines(tmp_path: Path) -> None:
    _, topics, qrels = write(tmp_path, qrels="query-id\tcorpus-id\tscore\nq1\td2\t1\n")
    write_jsonl(tmp_path / "docs.jsonl", CORPUS)
    dataset = load_dataset("mine", files=(tmp_path / "docs.jsonl", topics, qrels))
    assert (len(dataset.corpus), dataset.qrels) == (6, {"q1": {"d2": 1}})


def test_a_first_line_can_name_the_columns(tmp_path: Path) -> None:
    path = write(tmp_path, corpus='id\ttitle\ttext\n1\tWings\tthe "lift\n2\t\tdates\n')[0]
    assert [tuple(document) for document in load_corpus(path)] == [
        ("1", 'the "lift', "Wings"),
        ("2", "dates", ""),
    ]


def test_gzipped_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "docs.tsv.gz"
    path.write_bytes(gzip.compress(TSV.encode()))
    assert [document.doc_id for document in load_corpus(path)] == ["1", "2"]
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match=r"cannot read .*docs\.tsv\.gz"):
        load_corpus(path)


@pytest.mark.parametrize(
    ("corpus", "qrels", "message"),
    [
        ("1\ta\tb\n", "q1 0 1 1\n", r"docs\.tsv:1: 3 fields between tabs instead of 2"),
        ("1\ta\n1\tb\n", "q1 0 1 1\n", r"docs\.tsv:2: document id '1' is already on line 1"),
        (TSV, "q1 0 7 1\n", r"qrels\.txt:1: judges document '7', which the corpus lacks"),
        (TSV, "q1 0 1\n", r"qrels\.txt:1: .* nor query_id 0 doc_id grade"),
        (TSV, "q7 0 1 1\n", r"qrels\.txt:1: judges query 'q7'"),
    ],
)
def test_faults_are_named_by_file_and_line(
    tmp_path: Path, corpus: str, qrels: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load_dataset("mine", files=write(tmp_path, corpus, qrels))


def test_documents_without_text_can_be_dropped(beir: Path) -> None:
    whole, kept = load_dataset(beir).corpus, load_dataset(beir, drop_empty_documents=True).corpus
    assert [d.doc_id for d in whole if d.doc_id not in {x.doc_id for x in kept}] == ["d5"]
    assert (len(whole), len(kept)) == (6, 5)
    assert whole.fingerprint != kept.fingerprint


def test_a_corpus_keeps_eight_bytes_an_id_in_memory(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "c.jsonl", [{"_id": f"{i:060d}", "text": "x"} for i in range(2000)])
    corpus = FileCorpus(tmp_path / "c.jsonl")
    assert corpus.doc_ids.n_bytes <= 8 * 2000 + 8 * 2000  # as read, and in order
    assert f"{7:060d}" in corpus.doc_ids
    assert "7" not in corpus.doc_ids
