"""The page of an explanation shows what it explains, runs nothing, and stays small for long documents."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from colmodern.report.explanation_page import ExplanationReport, marked_text, render_explanation
from colmodern.report.heat_map import heat_map_of
from colmodern.types import Explanation, Span, Stage, StageReport, TokenMatch

HOSTILE = "<img src=x onerror=alert(1)></script>\u202e & $title"


class Reader(HTMLParser):
    """Collects tags, the classes of cells, marked text and all text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.marked, self._in_mark = "", [], False
        self.feed(html)

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "mark":
            self._in_mark = True
            self.marked.append("")

    def handle_endtag(self, tag) -> None:
        self._in_mark = self._in_mark and tag != "mark"

    def handle_data(self, data) -> None:
        self.text += data
        if self._in_mark:
            self.marked[-1] += data

    def cells(self, kind: str) -> list[dict[str, str | None]]:
        return [
            attrs for tag, attrs in self.tags
            if tag == "td" and kind in (attrs.get("class") or "").split()
        ]  # fmt: skip


def explanation(
    similarities: np.ndarray, *, lost_at: Stage | None = None, words: bool = True
) -> Explanation:
    best = similarities.argmax(axis=1).tolist()
    stages = [
        StageReport(Stage.PRUNE, 5036, 536, 80984.0),
        StageReport(Stage.REFINE, 262, None if lost_at else 3, None if lost_at else 9.5),
        StageReport(Stage.SCORE, 128, None if lost_at else 2, None if lost_at else 9.25),
    ]
    n_query_tokens, n_doc_tokens = similarities.shape
    return Explanation(
        doc_id=HOSTILE,
        is_result=lost_at is None,
        lost_at=lost_at,
        lost_by=Stage.PRUNE if lost_at else None,
        reason="lost: raise n_candidates" if lost_at else "result 2 of 10",
        score=float(similarities.max(axis=1).sum()),
        stages=tuple(stages),
        alignment=tuple(
            TokenMatch(i, token, float(similarities[i, token])) for i, token in enumerate(best)
        ),
        similarities=similarities.astype(np.float32),
        query_words=tuple(f"q{i}{HOSTILE}" for i in range(n_query_tokens)) if words else (),
        document_words=tuple(f"d{i}{HOSTILE}" for i in range(n_doc_tokens)) if words else (),
    )


def page(shown: Explanation, text: str | None = None, **fields: object) -> Reader:
    report = ExplanationReport(shown, HOSTILE, 10, "an index", text=text, **fields)  # type: ignore[arg-type]
    return Reader(render_explanation(report))


SIMILARITIES = np.array([[0.1, 0.9, -0.2], [0.55, 0.2, 0.3]])


def test_hostile_texts_stay_text_and_nothing_is_fetched_or_run() -> None:
    text = f"before {HOSTILE} after"
    shown = replace(explanation(SIMILARITIES), spans=(Span(7, 7 + len(HOSTILE), 1.5),))
    html = page(shown, text, notes=[HOSTILE])
    assert {"img", "script", "link", "iframe"}.isdisjoint(tag for tag, _ in html.tags)
    assert not any(
        name.startswith("on") or name in ("src", "href") for _, attrs in html.tags for name in attrs
    )
    assert html.text.count(HOSTILE) >= 10
    assert html.marked == [HOSTILE]
    assert text in html.text


def test_the_best_token_of_each_query_token_is_marked() -> None:
    html = page(explanation(SIMILARITIES))
    best = html.cells("best")
    assert [cell["title"] for cell in best] == ["0.90", "0.55"]
    assert ".90" in html.text
    assert [(cell["class"] or "").split()[0] for cell in best] == ["s9", "s6"]
    assert len(html.cells("s0")) == 1  # the negative one


def test_tokens_without_words_are_numbered() -> None:
    shown = heat_map_of(explanation(SIMILARITIES, words=False))
    assert shown is not None
    assert (shown.query_words, shown.document_words) == (("0", "1"), ("0", "1", "2"))


def test_a_long_document_is_shown_by_the_tokens_around_its_matches() -> None:
    similarities = np.zeros((2, 8000))
    similarities[0, 3] = similarities[1, 5000] = 0.8
    shown = heat_map_of(explanation(similarities))
    assert shown is not None
    assert shown.positions == (*range(8), *range(4996, 5005))
    assert [shown.positions[column] for column in shown.matches] == [3, 5000]
    assert shown.n_doc_tokens == 8000
    html = page(explanation(similarities))
    assert len(html.cells("gap")) == 2  # one in each row
    assert "17 of 8,000 tokens" in html.text


@pytest.mark.parametrize("n_query_tokens", [32, 200])
def test_the_map_of_many_far_matches_stays_narrow(n_query_tokens: int) -> None:
    similarities = np.eye(n_query_tokens, 4000 * 20, dtype=np.float32)[:, ::20][:, :4000]
    similarities[np.arange(n_query_tokens), np.arange(n_query_tokens) * 19] = 1.0
    shown = heat_map_of(explanation(similarities, words=False))
    assert shown is not None
    assert len(shown.positions) <= max(96, n_query_tokens)


def test_the_stage_that_lost_it_is_marked_with_the_cure() -> None:
    html = page(explanation(SIMILARITIES, lost_at=Stage.REFINE))
    lost = [attrs for tag, attrs in html.tags if tag == "tr" and attrs.get("class") == "lost"]
    assert len(lost) == 1
    assert "lost: 262 went on" in html.text
    assert html.text.count("not reached") == 2
    assert "Lost: raise n_candidates." in html.text
    assert "not among the first 10" in html.text
    assert "a result" in page(explanation(SIMILARITIES)).text


def test_texts_and_tokens_that_are_not_there_are_named() -> None:
    empty = replace(explanation(SIMILARITIES), alignment=(), similarities=np.empty((0, 3)))
    html = page(empty)
    assert "has no tokens" in html.text
    assert "text is not at hand" in html.text


def test_of_a_long_text_the_passages_stay() -> None:
    text = "a" * 10_000 + "PASSAGE" + "b" * 10_000 + "OTHER" + "c" * 50
    spans = [Span(10_000, 10_007, 2.0), Span(20_007, 20_012, 0.5)]
    html = Reader(marked_text(text, spans))
    assert html.marked == ["PASSAGE", "OTHER"]
    assert [attrs["class"] for tag, attrs in html.tags if tag == "mark"] == ["m4", "m1"]
    assert "9,600 characters" in html.text
    assert html.text.endswith("c" * 50)
    assert len(html.text) < 2000
    assert len(Reader(marked_text(text, [])).text) < 1000


def test_of_a_short_text_everything_stays() -> None:
    text = "x" * 4000
    assert Reader(marked_text(text, [Span(10, 20, 1.0)])).text == text
