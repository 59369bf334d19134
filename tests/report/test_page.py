from __future__ import annotations

import re

import numpy as np
import pytest
from report.test_run_page import NASTY, Reader

from colmodern.report.page import difference_curve, folded, key_values, page, table
from colmodern.report.tables import Cell, Table


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    assert reader.open == []
    return reader


def test_a_table_escapes_its_cells_and_marks_only_what_a_test_says() -> None:
    cells = [[Cell(NASTY), Cell("1", is_better=True)], [Cell("b"), Cell("2", is_worse=True)]]
    page = read(table(Table("title", ["name", NASTY], cells, note=NASTY)))
    assert page.text.count(NASTY) == 3
    assert [tag for tag, _ in page.tags].count("strong") == 1
    assert "2†" in page.text
    assert "1†" not in page.text


def test_a_table_without_rows_is_its_note() -> None:
    assert read(table(Table("", ["a"], [], note="nothing"))).text == "nothing"
    assert table(Table("", ["a"], [])) == ""


def test_the_page_follows_the_readers_colours_and_paper() -> None:
    text = page("title", "subtitle", "<p>body</p>")
    read(text)
    for wanted in ("prefers-color-scheme: dark", "@media print", "width=device-width"):
        assert wanted in text
    assert "$" not in text
    assert "http" not in text


def test_names_break_after_dots_and_numbers_do_not() -> None:
    assert "index.<wbr>n_<wbr>candidates" in key_values({"index.n_candidates": "1.5"})
    assert "<td" in key_values({"a": "1.5"})
    assert "1.5" in key_values({"a": "1.5"})


def test_what_folds_can_stand_open() -> None:
    assert read(folded(NASTY, "<p>in</p>", value="0.5")).text == f"{NASTY}0.5in\n"
    assert "<details open>" in folded("a", is_open=True)


@pytest.mark.parametrize("n", [1, 3, 700])
def test_a_curve_falls_from_the_best_to_the_worst(n: int) -> None:
    differences = np.random.default_rng(0).uniform(-0.5, 0.25, n)
    drawn = difference_curve(differences, "AP")
    assert f"best {differences.max():+.3f}" in drawn
    assert f"worst {differences.min():+.3f}" in drawn
    up, down = re.findall(r' d="M0 0(.*?)L1000 0Z"', drawn)
    assert len(re.findall("L", up)) == 2 * min(n, 500)
    for path, sign in ((up, -1), (down, 1)):  # y grows downwards
        heights = [float(y) for y in re.findall(r"L\S+ (\S+?)(?=L|$)", path)]
        assert all(0 <= sign * y <= 1 for y in heights)
        assert heights == sorted(heights)


def test_a_curve_without_any_difference_is_a_line() -> None:
    assert "median +0.000" in difference_curve(np.zeros(5), "AP")
