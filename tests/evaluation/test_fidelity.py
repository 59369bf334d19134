from __future__ import annotations

from pathlib import Path

import pytest

from colmodern.evaluation.fidelity import compare, overlap
from colmodern.evaluation.trec import read_run, write_run
from colmodern.types import ScoredDoc


def results(**scores: float) -> list[ScoredDoc]:
    return [ScoredDoc(doc_id, score) for doc_id, score in scores.items()]


EXACT = results(a=9, b=8, c=7, d=6)


@pytest.mark.parametrize(
    ("found", "cutoff", "share"),
    [
        (results(a=1, b=1), 2, 1.0),
        (results(b=2, a=1), 2, 1.0),  # the order within the cutoff does not count
        (results(a=2, c=1, b=0), 2, 0.5),  # b came too late
        (results(x=2, y=1), 2, 0.0),
        (results(a=2), 2, 0.5),  # found too few
        (results(), 2, 0.0),
        (results(d=4, c=3, b=2, a=1), 10, 1.0),  # a collection of four
    ],
)
def test_overlap_is_the_share_of_exacts_best(found, cutoff: int, share: float) -> None:
    assert overlap(found, EXACT, cutoff) == share


def test_any_document_of_a_tie_at_the_cutoff_is_as_good() -> None:
    exact = results(a=9, b=8, c=8, d=8, e=7)
    for second in "bcd":
        assert overlap(results(**{"a": 1, second: 0}), exact, 2) == 1.0
    assert overlap(results(a=1, e=0), exact, 2) == 0.5
    assert overlap(results(c=1, d=0), exact, 2) == 0.5  # one place is free for them, not two
    assert overlap(results(b=2, c=1, d=0), exact, 3) == pytest.approx(2 / 3)


def test_ties_survive_the_run_file(tmp_path: Path) -> None:
    exact = results(a=9.25, b=8.123456, c=8.123456, d=8.123456, e=8.1234)
    write_run(tmp_path / "run.trec", {"q": exact}, tag="t")
    read = read_run(tmp_path / "run.trec")["q"]
    assert len({score for _, score in read}) == 5
    assert overlap(results(a=1, d=0), read, 2) == 1.0
    assert overlap(results(a=1, e=0), read, 2) == 0.5


def test_nothing_to_find_is_found() -> None:
    assert overlap(results(), results(), 10) == 1.0


def test_compare_means_over_queries_and_measures_exact_search() -> None:
    exact = {"q1": EXACT, "q2": EXACT}
    run = {"q1": EXACT, "q2": results(a=2, x=1, y=0)}
    qrels = {"q1": {"a": 1}, "q2": {"b": 1}}
    found = compare(run, exact, qrels, measures=["RR@10"], k=2)
    assert found.overlap == {"overlap@2": 0.75}
    assert found.per_query["q2"] == {"overlap@2": 0.5}
    assert found.exact.mean == {"RR@10": 0.75}
    assert list(compare(run, exact, qrels, measures=["RR@10"], k=20).overlap) == [
        "overlap@10",
        "overlap@20",
    ]
    assert list(compare(run, exact, qrels, measures=["RR@10"], k=10).overlap) == ["overlap@10"]
