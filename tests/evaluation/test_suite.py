from __future__ import annotations

import pytest

from colmodern.evaluation.suite import SuiteScore, set_of, tabulate


def cell(row: str, value: float | None, column: str = "m") -> SuiteScore:
    return SuiteScore(row, column, "nDCG@10", value)


def test_parts_are_one_line_and_count_once_in_the_average() -> None:
    table = tabulate(
        [
            cell("beir/scifact", 0.7),
            cell("beir/cqadupstack/tex", 0.2),
            cell("beir/cqadupstack/gis", 0.4),
            cell("beir/nq", 0.5),
        ]
    )
    assert [(line.label, line.n_parts) for line in table.lines] == [
        ("beir/scifact", 0),
        ("beir/cqadupstack", 2),
        ("beir/nq", 0),
    ]
    assert [line.values[0] for line in table.lines] == pytest.approx([0.7, 0.3, 0.5])
    assert table.average == pytest.approx((0.5,))


def test_there_is_no_mean_of_an_incomplete_set_nor_average_of_an_incomplete_column() -> None:
    cells = [cell("a", 0.5), cell("b", None), cell("a", 0.4, "n"), cell("b", 0.2, "n")]
    table = tabulate(cells)
    assert table.columns == ("m", "n")
    assert table.lines[1].values == (None, 0.2)
    assert table.average[0] is None
    assert table.average[1] == pytest.approx(0.3)
    halves = [cell("s/x/1", 0.5), cell("s/x/2", None), cell("s/x/1", 0.4, "n")]
    assert tabulate(halves).lines[0].values == (None, None)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("beir/cqadupstack/tex", "beir/cqadupstack"),
        ("beir/scifact", "beir/scifact"),
        ("mine", "mine"),
        ("/data/cranfield", "/data/cranfield"),
        ("a/b/c/d", "a/b/c/d"),
    ],
)
def test_only_names_of_three_parts_are_parts(row: str, expected: str) -> None:
    assert set_of(row) == expected
