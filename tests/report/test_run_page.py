from __future__ import annotations

from html.parser import HTMLParser

from colmodern.evaluation.significance import Estimate
from colmodern.report.run_page import (
    FidelitySummary,
    Figure,
    HardQuery,
    LossEntry,
    QueryDoc,
    Report,
    render,
)

NASTY = "<script>alert('x')</script> & $title"


class Reader(HTMLParser):
    """Collects tags and text, and checks that tags are closed in order."""

    VOID = frozenset({"meta", "wbr"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        self.text += data


def page(
    values: list[float],
    tiles: list[Figure] | None = None,
    index_parts: list[tuple[str, int, float]] | None = None,
    fidelity: FidelitySummary | None = None,
) -> Reader:
    documents = [
        QueryDoc("found", "text of it", 1, 9.5, 1),
        QueryDoc(NASTY, NASTY, None, None, 2),
    ]
    reader = Reader()
    reader.feed(
        render(
            Report(
                title=NASTY,
                subtitle="a run",
                tiles=tiles or [Figure("nDCG@10", "0.5000"), Figure("documents / s", "12.0")],
                measure="nDCG@10",
                values=values,
                hardest=[HardQuery("q1", NASTY, 0.0, documents)] if values else [],
                timings=[("encode", 1.5, "3.0 documents/s", "")],
                recipe={"config": {"search": {"k": 10}, "empty": []}, "commit": None},
                index_parts=index_parts or [],
                estimates={"nDCG@10": Estimate(0.5, 0.25, 0.75)},
                fidelity=fidelity,
                memory="at most 123 MB",
            )
        )
    )
    assert reader.open == []
    return reader


def test_the_page_shows_everything_and_runs_nothing() -> None:
    html = page([0.0, 0.05, 0.95, 1.0])
    for text in (
        "0.5000",
        "12.0",
        "config.search.k",
        "not among the results",
        "1.50",
        "q1",
        "123 MB",
    ):
        assert text in html.text
    assert NASTY in html.text  # as text, not as a tag
    assert "script" not in {tag for tag, _ in html.tags}


def test_the_page_needs_no_network() -> None:
    linked = [a for _, a in page([0.5]).tags if "src" in a or "href" in a]
    assert linked == []


def test_the_histogram_counts_every_query() -> None:
    html = page([0.0, 0.05, 0.95, 1.0])
    bars = [a["title"] for tag, a in html.tags if tag == "div" and "queries" in a.get("title", "")]
    assert bars == ["2 queries"] + ["0 queries"] * 8 + ["2 queries"]


def test_a_run_without_queries_still_renders() -> None:
    assert "There are none." in page([]).text


def test_exact_search_stands_beside_an_index() -> None:
    html = page(
        [0.5], [Figure("nDCG@10", "0.4", "0.5"), Figure(NASTY, "1")], [("codes", 1_234_567, 2.5)]
    )
    for text in ("exact 0.5", "overlap@k", "Index", "codes", "1,234,567", "2.50", NASTY):
        assert text in html.text


def test_a_run_of_exact_search_says_nothing_of_an_index() -> None:
    text = page([0.5]).text
    assert "overlap@k" not in text
    assert "Index" not in text
    assert "What the index loses" not in text


def test_what_an_index_lost_stands_with_its_stage_and_intervals() -> None:
    shown = FidelitySummary(
        {"tau@10": Estimate(0.9, 0.85, 0.95), "R@100 lost": Estimate(-4e-5, -0.1, 0.1)},
        {10: {"not probed": 3, "quantisation": 1_234}},
        [LossEntry(NASTY, "d7", 2, None, "not probed", "raise nprobe")],
    )
    text = page([0.5], fidelity=shown).text
    for words in (
        "0.8500 to 0.9500",
        "best 10",
        "1,234",
        "The first 1 of 1,237",
        NASTY,
        "not probed: raise nprobe",
    ):
        assert words in text
    assert "0.0000" in text
    assert "-0.0000" not in text
    assert "There are none." in page([], fidelity=FidelitySummary({}, {}, [])).text


def test_documents_lost_at_different_cutoffs_are_plural() -> None:
    lost = [
        LossEntry("q1", "d7", 2, 12, "quantisation", "raise k"),
        LossEntry("q2", "d8", 98, None, "not probed", "raise nprobe"),
    ]
    by_stage = {10: {"not probed": 0, "quantisation": 1}, 100: {"not probed": 1, "quantisation": 0}}
    text = page([0.5], fidelity=FidelitySummary({}, by_stage, lost)).text
    assert "The documents" in text


def test_measures_stand_with_their_intervals_and_nothing_is_bold() -> None:
    html = page([0.5], [Figure("nDCG@10", "0.4", "0.5")])
    assert "0.2500 to 0.7500" in html.text
    assert not {tag for tag, _ in html.tags} & {"b", "strong"}
