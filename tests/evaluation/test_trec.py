from __future__ import annotations

import gzip
from pathlib import Path

import ir_measures
import pytest

from colmodern import evaluate
from colmodern.errors import DataError
from colmodern.evaluation.trec import read_qrels, read_run, write_qrels, write_run
from colmodern.types import ScoredDoc

RUN = {
    "q1": [ScoredDoc("b", 2.5), ScoredDoc("a", 1.0), ScoredDoc("z", 1.0), ScoredDoc("c", -0.25)],
    "q2": [],
    "q3": [ScoredDoc("a", 1e-7)],
}
QRELS = {"q1": {"a": 2, "c": 0}, "q3": {"a": 1}}


def test_a_run_comes_back_in_its_order(tmp_path: Path) -> None:
    write_run(tmp_path / "run.trec", RUN, tag="test")
    again = read_run(tmp_path / "run.trec")
    assert [d for d, _ in again["q1"]] == ["b", "a", "z", "c"]
    assert again["q3"] == [ScoredDoc("a", pytest.approx(1e-7))]
    assert (tmp_path / "run.trec").read_text().splitlines()[0] == "q1 Q0 b 1 2.5 test"


def test_qrels_come_back(tmp_path: Path) -> None:
    write_qrels(tmp_path / "qrels.trec", QRELS)
    assert read_qrels(tmp_path / "qrels.trec") == QRELS


def test_trec_eval_reads_equal_scores_in_our_order(tmp_path: Path) -> None:
    tied = {"q": [ScoredDoc("a", 1.0), ScoredDoc("b", 1.0)]}
    qrels = {"q": {"a": 1}}
    write_run(tmp_path / "run.trec", tied, tag="test")
    write_qrels(tmp_path / "qrels.trec", qrels)
    measure = ir_measures.parse_measure("RR@10")
    outside = ir_measures.calc_aggregate(
        [measure],
        ir_measures.read_trec_qrels(str(tmp_path / "qrels.trec")),
        ir_measures.read_trec_run(str(tmp_path / "run.trec")),
    )
    assert outside[measure] == evaluate(tied, qrels, ["RR@10"]).mean["RR@10"] == 1.0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q Q0 a 1 0.5", "is not of the form"),
        ("q Q0 a 1 high tag", "score 'high' is not a number"),
        ("q Q0 a 1 nan t", "score 'nan' cannot be ranked"),
        ("q Q0 a 1 inf t", "score 'inf' cannot be ranked"),
        ("q Q0 a 1 1_0 t", "score '1_0' is not a number"),
        ("q Q0 a\0 1 0.5 t", "has a NUL"),
        ("q Q0 a 1 0.5 t\nq Q0 a 2 0.4 t", "has document 'a' twice"),
    ],
)
def test_malformed_runs_are_named_by_line(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "run.trec"
    path.write_text(f"q Q0 z 1 0.9 tag\n{line}\n")
    with pytest.raises(DataError, match=rf"run\.trec:[23]: .*{message}"):
        read_run(path)


def test_ids_with_spaces_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'a b' cannot stand in a TREC file"):
        write_run(tmp_path / "run.trec", {"q": [ScoredDoc("a b", 1.0)]}, tag="test")
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_lines_or_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.trec").write_text("\n")
    with pytest.raises(DataError, match=r"empty\.trec is empty"):
        read_run(tmp_path / "empty.trec")
    (tmp_path / "latin.trec").write_bytes("q Q0 d\xe9 1 1 t\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin\.trec:1: not UTF-8"):
        read_run(tmp_path / "latin.trec")


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*none\.trec: No such file"):
        read_run(tmp_path / "none.trec")


def test_ids_with_white_space_of_unicode_come_back(tmp_path: Path) -> None:
    run = {"q\u00a01": [ScoredDoc("d\u30001", 2.0), ScoredDoc("d\u2028\x85", 1.0)]}
    write_run(tmp_path / "run.trec", run, tag="test")
    assert read_run(tmp_path / "run.trec") == run


def test_minus_infinity_ranks_last_and_is_written_as_a_number(tmp_path: Path) -> None:
    path = tmp_path / "run.trec"
    path.write_text("q Q0 a 1 -inf t\nq Q0 b 2 -3 t\nq Q0 c 3 -inf t\nq Q0 d 4 5 t\n")
    run = read_run(path)
    assert [doc_id for doc_id, _ in run["q"]] == ["d", "b", "a", "c"]
    write_run(path, run, tag="test")
    assert "inf" not in path.read_text()
    assert [doc_id for doc_id, _ in read_run(path)["q"]] == ["d", "b", "a", "c"]
    scored = {doc.doc_id: doc.score for doc in ir_measures.read_trec_run(str(path))}
    assert sorted(scored, key=lambda doc: -scored[doc]) == ["d", "b", "a", "c"]


def test_gzipped_runs_and_judgments_are_read(tmp_path: Path) -> None:
    write_run(tmp_path / "run.trec", RUN, tag="test")
    write_qrels(tmp_path / "qrels.trec", QRELS)
    for name, read in (("run.trec", read_run), ("qrels.trec", read_qrels)):
        packed = tmp_path / f"{name}.gz"
        packed.write_bytes(gzip.compress((tmp_path / name).read_bytes()))
        assert read(packed) == read(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("q 0 a 0.5\n", "grade '0.5' is not a whole number"),
        ("q 0 a 99999999999\n", "beyond"),
        ("q 0 a 1\nq 0 a 2\n", "judged 1 before and 2 here"),
        ("q 0 a\0 1\n", "NUL"),
    ],
)
def test_malformed_judgments_are_named_by_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "qrels.trec"
    path.write_text(f"q 0 z 1.0\n{text}")
    with pytest.raises(DataError, match=rf"qrels\.trec:[23]: .*{words}"):
        read_qrels(path)
