from __future__ import annotations

from pathlib import Path

import pytest

from colmodern.evaluation.fidelity import (
    LostDoc,
    compare,
    overlap,
    rank_correlation,
    score_error,
)
from colmodern.evaluation.trec import read_run, write_run
from colmodern.types import ScoredDoc


def results(**scores: float) -> list[ScoredDoc]:
    return [ScoredDoc(doc_id, score) for doc_id, score in scores.items()]


EXACT = results(a=9, b=8, c=7, d=6)


@pytest.mark.parametrize(
    ("ranked", "cutoff", "share"),
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
def test_overlap_is_the_share_of_exacts_best(ranked, cutoff: int, share: float) -> None:
    assert overlap(ranked, EXACT, cutoff) == share


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
    fidelity = compare(run, exact, qrels, measures=["RR@10"], k=2)
    assert fidelity.overlap == {"overlap@2": 0.75}
    assert fidelity.per_query["q2"] == {"overlap@2": 0.5, "tau@2": 1.0, "score error": 7.0}
    assert fidelity.exact.mean == {"RR@10": 0.75}
    assert list(compare(run, exact, qrels, measures=["RR@10"], k=20).overlap) == [
        "overlap@10",
        "overlap@20",
    ]
    assert list(compare(run, exact, qrels, measures=["RR@10"], k=10).overlap) == ["overlap@10"]
    assert list(compare(run, exact, qrels, measures=["RR@10"], k=1000).overlap) == [
        "overlap@10",
        "overlap@100",
        "overlap@1000",
    ]


@pytest.mark.parametrize(
    ("ranked", "cutoff", "tau"),
    [
        (results(a=4, b=3, c=2, d=1), 4, 1.0),
        (results(d=4, c=3, b=2, a=1), 4, -1.0),
        (results(b=4, a=3, c=2, d=1), 4, 2 / 3),  # one of six pairs the other way round
        (results(b=4, a=3, c=2, d=1), 1, 1.0),  # one document has no order
        (results(x=9, a=4, y=3, b=2), 2, 1.0),  # others between do not count
        (results(x=1), 4, 0.0),  # none found
        (results(a=2), 2, 1.0),  # b stands after the last
        (results(b=2), 2, -1.0),
        (results(a=2), 4, 3 / (6 * 3) ** 0.5),  # three share the last place: tau-b
    ],
)
def test_rank_correlation_by_hand(ranked, cutoff: int, tau: float) -> None:
    assert rank_correlation(ranked, EXACT, cutoff) == pytest.approx(tau)


def test_score_error_is_of_what_both_found() -> None:
    assert score_error(results(a=9.5, x=9, c=6), EXACT, 4) == 0.75
    assert score_error(results(a=9.5, c=6), EXACT, 2) == 0.5  # c is not among the best two
    assert score_error(results(x=1), EXACT, 4) is None


def test_what_is_lost_has_intervals() -> None:
    exact = {f"q{i}": results(a=2, b=1) for i in range(40)}
    run = {
        q: results(b=2, a=1) if int(q[1:]) % 4 == 0 else fidelity for q, fidelity in exact.items()
    }
    fidelity = compare(run, exact, {q: {"a": 1} for q in exact}, measures=["RR@2"], k=2)
    lost, tau = fidelity.estimates["RR@2 lost"], fidelity.estimates["tau@2"]
    assert lost.mean == pytest.approx(0.125)
    assert 0.05 < lost.low < 0.125 < lost.high < 0.21
    assert tau.mean == pytest.approx(0.5)
    assert fidelity.estimates["score error"].mean == pytest.approx(0.25)
    assert set(fidelity.estimates) == {"overlap@2", "tau@2", "score error", "RR@2 lost"}


def test_lost_documents_are_relevant_and_within_exacts_cutoff() -> None:
    names = [f"d{i}" for i in range(15)]
    exact = {"q": [ScoredDoc(name, 20.0 - i) for i, name in enumerate(names)]}
    # d2 falls to rank 12, d3 is gone, d11 is gone, d12 rises
    kept = [n for n in names if n not in {"d2", "d3", "d11"}]
    order = [kept[0], "d12", *[n for n in kept[1:] if n != "d12"]]
    order.insert(11, "d2")
    run = {"q": [ScoredDoc(name, 20.0 - i) for i, name in enumerate(order)]}
    grades = {"d2": 2, "d3": 1, "d4": 0, "d11": 1, "d12": 1, "elsewhere": 1}
    fidelity = compare(run, exact, {"q": grades}, measures=["RR@10"], k=15)
    assert list(fidelity.lost) == [
        LostDoc("q", "d2", 2, 3, 12, (10,)),
        LostDoc("q", "d3", 1, 4, None, (10, 15)),
        LostDoc("q", "d11", 1, 12, None, (15,)),
    ]
