from __future__ import annotations

from colmodern.report.tables import Cell, Table, latex, markdown

TABLE = Table(
    "100% of_it",
    ["run", "nDCG@10", "text"],
    [
        [Cell("a_b"), Cell("0.5", is_better=True), Cell("x | y")],
        [Cell("c&d"), Cell("<0.1", is_worse=True), Cell("*two*\nlines")],
    ],
    words=(2,),
    note="p < 0.05",
)


def test_markdown_escapes_and_marks_what_a_test_says() -> None:
    assert markdown([TABLE]).splitlines() == [
        r"### 100% of\_it",
        "",
        "| run | nDCG@10 | text |",
        "| --- | ---: | --- |",
        r"| a\_b | **0.5** | x \| y |",
        r"| c&d | \<0.1† | \*two\* lines |",
        "",
        r"p \< 0.05",
    ]


def test_latex_escapes_and_marks_what_a_test_says() -> None:
    text = latex([TABLE])
    assert r"\caption{100\% of\_it. p \textless{} 0.05}" in text
    assert r"\begin{tabular}{lrl}" in text
    assert r"a\_b & \textbf{0.5} & x | y \\" in text
    assert r"c\&d & \textless{}0.1\textsuperscript{\dag} & *two* lines \\" in text
    assert text.count(r"\begin{") == text.count(r"\end{")


def test_without_a_test_nothing_is_bold() -> None:
    plain = Table("t", ["run", "value"], [[Cell("a"), Cell("1")], [Cell("b"), Cell("2")]])
    assert "**" not in markdown([plain])
    assert "textbf" not in latex([plain])
