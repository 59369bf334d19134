"""Views of records in notebooks: complete, escaped, and free of script and requests."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from colmodern import PlaidIndex, TokenEmbeddings
from colmodern.config.models import EvalConfig
from colmodern.evaluation.comparison import Comparison, changes, differences
from colmodern.evaluation.measures import evaluate
from colmodern.notebook import is_running
from colmodern.pipeline.result import EvalResult
from colmodern.report.notebook import explanation_html, results_html
from colmodern.types import BatchResults, RankedDoc, Results, ScoredDoc

EVIL = '<script src="https://example.org/x.js">alert(1)</script>&amp;'
VOID = {"wbr"}


class _Cells(HTMLParser):
    """The tags of a view, and the texts of its table cells; fails on tags that are not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not {name for name, _ in attrs} - {"class", "style"}
        if tag not in VOID:
            self._open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self._open):
            self.cells[-1] += data


def view(record: object) -> _Cells:
    """A parsed view, which has no script, and nothing that asks the network."""
    text = record if isinstance(record, str) else record._repr_html_()  # type: ignore[attr-defined]
    parsed = _Cells(text)
    assert set(parsed.tags) <= {
        *("div", "style", "p", "table", "thead", "tbody", "tr", "th", "td", "wbr", "strong"),
        *("span", "mark"),
    }
    assert "url(" not in text
    assert "@import" not in text
    return parsed


def test_results_are_a_table_of_ranks_scores_and_ids() -> None:
    hits = Results([ScoredDoc("first", 2.5), ScoredDoc(EVIL, 1.25)])
    assert view(hits).cells == [
        *("rank", "score", "document"),
        *("1", "2.5000", "first"),
        *("2", "1.2500", EVIL),
    ]
    assert view(Results([RankedDoc("a", 1.0, 1)])).cells[3:] == ["1", "1.0000", "a"]


def test_colours_are_those_of_the_page() -> None:
    text = Results([ScoredDoc("a", 1.0)])._repr_html_()
    assert "color: inherit" in text  # a table of a page without a doctype is black otherwise
    assert not re.search(r"#[0-9a-f]{3,6}\b|background: (?!rgba)", text)


def test_texts_are_escaped_and_cut() -> None:
    hits = Results([ScoredDoc("a", 1.0), ScoredDoc("b", 0.5), ScoredDoc("c", 0.25)])
    cells = view(results_html(hits, {"a": EVIL, "b": "word " * 100})).cells
    assert cells[:8] == ["rank", "score", "document", "text", "1", "1.0000", "a", EVIL]
    assert cells[11].endswith("…")
    assert len(cells[11]) == 200
    assert cells[15] == ""


def test_long_results_show_their_beginning_and_their_number() -> None:
    hits = Results(ScoredDoc(f"d{i}", -float(i)) for i in range(1234))
    assert len(view(hits).cells) == 3 * 21
    assert "The first 20 of 1,234 results." in hits._repr_html_()
    assert "results." not in hits[:20]._repr_html_()


def test_no_results_are_an_empty_view() -> None:
    assert view(Results()).cells == []


def test_a_batch_shows_the_best_of_each_query() -> None:
    batch = BatchResults([Results([ScoredDoc(EVIL, 3.0), ScoredDoc("b", 1.0)]), Results()] * 15)
    assert view(batch).cells[:12] == [
        *("query", "results", "best score", "best document"),
        *("0", "2", "3.0000", EVIL),
        *("1", "0", "–", "–"),
    ]
    assert "The first 20 of 30 queries." in batch._repr_html_()


def test_an_evaluation_shows_its_means_and_a_run_its_folder(tmp_path: Path) -> None:
    evaluation = evaluate({"q": {"a": 1.0}}, {"q": {"a": 1}, "r": {"b": 1}}, ["nDCG@10", "RR@10"])
    means = ["measure", "mean", "nDCG@10", "0.5000", "RR@10", "0.5000"]
    assert view(evaluation).cells == means
    assert "2 queries" in evaluation._repr_html_()
    config = EvalConfig(
        name="mine", dataset={"name": "stdlib"}, encoder={"model": "colmodern/tiny"}
    )
    result = EvalResult(tmp_path / "<b>", config, evaluation, {}, {})
    assert view(result).cells == means
    assert f"report in {tmp_path}/&lt;b&gt;" in result._repr_html_()
    assert repr(result) == f"EvalResult({str(tmp_path / '<b>')!r}, {evaluation!r})"


def test_a_comparison_shows_scores_and_tests() -> None:
    values = {
        name: {"set": {f"q{i}": {"nDCG@10": value} for i in range(20)}}
        for name, value in (("base", 0.25), (EVIL, 0.75))
    }
    baseline, runs = values["base"], {EVIL: values[EVIL]}
    comparison = Comparison(
        baseline="base",
        runs=list(runs),
        datasets=["set"],
        measures=["nDCG@10"],
        alpha=0.05,
        seed=0,
        differences=differences(baseline, runs, ["nDCG@10"]),
        changes=changes(baseline, runs, "nDCG@10", most=3),
        queries={"set": {}},
        recipe=[],
        values=values,
    )
    cells = view(comparison).cells
    assert cells[:6] == ["run", "nDCG@10", "base", "0.2500", EVIL, "0.7500"]
    assert "+0.5000" in cells
    assert repr(comparison) == (
        f"Comparison([{EVIL!r}] against 'base', datasets=['set'], measures=['nDCG@10'])"
    )


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> PlaidIndex:
    rows = np.eye(8, dtype=np.float32)
    documents = TokenEmbeddings.from_list([rows[:3], rows[3:6]])
    return PlaidIndex.build(documents, tmp_path_factory.mktemp("i") / "index", ["a", EVIL])


def test_an_explanation_shows_stages_and_matches(index: PlaidIndex) -> None:
    explanation = index.explain(np.eye(8, dtype=np.float32)[[4, 3]], EVIL, k=1)
    assert explanation.is_result
    cells = view(explanation).cells
    assert cells[:8] == ["stage", "documents", "rank", "score", "scored", "2", "1", cells[7]]
    assert [cells[i] for i in (11, 12, 14, 15)] == ["0", "1", "1", "0"]
    assert repr(explanation).startswith(f"Explanation({EVIL!r}, is_result=True, score=")


def test_an_explanation_highlights_the_words_that_match(index: PlaidIndex) -> None:
    explanation = index.explain(np.eye(8, dtype=np.float32)[[4, 3]], EVIL, k=1)
    text = explanation_html(explanation, ["one", "two"], [EVIL, "##ing", "C"])
    cells = view(text).cells
    assert [cells[i] for i in (11, 12, 14, 15)] == ["0 one", "1 ##ing", "1 two", f"0 {EVIL}"]
    marked = re.findall(r"<mark [^>]*>(.*?)</mark>", text)
    assert len(marked) == 2
    assert marked[1] == "ing"
    assert "</mark><mark" in text  # a token that continues a word follows without a space
    assert text.rstrip().removesuffix("</div>").rstrip().endswith(" C</p>")


def test_an_explanation_with_words_shows_them_by_itself(index: PlaidIndex) -> None:
    explanation = index.explain(np.eye(8, dtype=np.float32)[[4, 3]], EVIL, k=1)
    worded = replace(explanation, query_words=("one", "two"), document_words=("A", "B", "C"))
    assert "0 one" in view(worded).cells
    assert "<mark" in worded._repr_html_()


def test_a_view_is_text_that_can_be_written(index: PlaidIndex, tmp_path: Path) -> None:
    text = explanation_html(index.explain(np.eye(8, dtype=np.float32)[:1], "a"))
    (tmp_path / "match.html").write_text(text)
    assert (tmp_path / "match.html").read_text() == text == text._repr_html_()


def test_no_notebook_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_running()
    # a terminal with IPython has no kernel
    shell = type(sys)("IPython")
    shell.get_ipython = lambda: object()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", shell)
    assert not is_running()
