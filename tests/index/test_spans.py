"""Passages that matched, against trying every passage, and against the laws that they keep."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colmodern.errors import InputError
from colmodern.index.spans import SpanSettings, contributions, matched_spans
from colmodern.index.words import grown_to_words

VECTORS = st.tuples(*[st.integers(-3, 3).map(lambda n: 12.0 * n)] * 2)


@st.composite
def cases(draw: st.DrawFn, *, with_text: bool | None = None) -> dict[str, object]:
    """Small whole numbers, so that sums are exact; at most four tokens of a row."""
    text = draw(st.text("ab c,é", max_size=40))
    n_tokens = draw(st.integers(0, 10))
    ends = sorted(draw(st.lists(st.integers(0, len(text)), min_size=n_tokens, max_size=n_tokens)))
    bounds = [(draw(st.integers(max(0, end - 4), end)), end) for end in ends]
    bounds = sorted(bounds)
    rows = list(range(n_tokens))
    if n_tokens and draw(st.booleans()):
        n_rows = -(-n_tokens // draw(st.integers(1, 4)))
        rows = draw(st.permutations([i % n_rows for i in range(n_tokens)]))
    n_rows = max(rows, default=-1) + 1
    is_read = draw(st.booleans()) if with_text is None else with_text
    return {
        "query": draw(st.lists(VECTORS, min_size=1, max_size=6)),
        "document": [draw(VECTORS) for _ in range(n_rows)],
        "bounds": bounds,
        "rows": list(rows),
        "text": text if is_read else None,
        "max_spans": draw(st.integers(1, 4)),
        "min_share": draw(st.sampled_from([0.0, 0.25, 0.5])),
        "max_gap": draw(st.integers(0, 8)),
        "max_length": draw(st.integers(1, 24)),
    }


def found(case: dict[str, object]) -> list[tuple[int, int, float]]:
    names = ("max_spans", "min_share", "max_gap", "max_length")
    options = SpanSettings(**{name: case[name] for name in names})
    query = np.array(case["query"], np.float32).reshape(-1, 2)
    document = np.array(case["document"], np.float32).reshape(-1, 2)
    return [
        tuple(span)
        for span in matched_spans(
            query,
            document,
            case["bounds"],
            row_of_token=case["rows"],
            text=case["text"],
            settings=options,
        )
    ]


@given(case=cases())
@settings(max_examples=400, deadline=None)
def test_passages_are_those_of_trying_all(case: dict[str, object]) -> None:
    expected = oracles.passages(**case) if case["document"] else []
    assert found(case) == expected


@given(case=cases())
@settings(max_examples=100, deadline=None)
def test_passages_are_sorted_apart_and_inside_the_text(case: dict[str, object]) -> None:
    edges = [edge for start, end, _ in found(case) for edge in (start, end)]
    assert edges == sorted(edges)
    assert all(start < end for start, end, _ in found(case))
    last = max((end for _, end in case["bounds"]), default=0)
    assert all(0 <= edge <= (last if case["text"] is None else len(case["text"])) for edge in edges)


@given(case=cases(with_text=False))
@settings(max_examples=100, deadline=None)
def test_scores_add_up_to_what_the_covered_tokens_contribute(case: dict[str, object]) -> None:
    if not case["document"]:
        return
    shares = np.zeros(len(case["bounds"]))
    rows = np.array(case["rows"])
    totals = contributions(np.array(case["query"]) @ np.array(case["document"]).T)
    covers = np.array([start < end for start, end in case["bounds"]])
    for token in np.flatnonzero(covers):
        shares[token] = totals[rows[token]] / (covers & (rows == rows[token])).sum()
    assert totals.sum() == oracles.maxsim(case["query"], case["document"])
    for start, end, score in found(case):
        inside = [
            share
            for (first, last), share in zip(case["bounds"], shares, strict=True)
            if start <= first < last <= end
        ]
        assert score == pytest.approx(sum(inside))


def test_matches_of_one_word_make_one_passage_of_whole_words() -> None:
    text = "We study information retrieval, with pieces."
    bounds = [(9, 15), (15, 20), (20, 26), (26, 30)]  # " infor" "matio" "n retr" "ieval"
    query, document = np.eye(4), np.eye(4)
    assert matched_spans(query, document, bounds, text=text) == [(9, 30, 4.0)]
    alone = matched_spans(query[:1], document, bounds, text=text)
    assert [text[start:end] for start, end, _ in alone] == ["information"]
    without_text = matched_spans(query[:1], document, bounds)
    assert without_text == [(9, 15, 1.0)]


def test_far_matches_are_passages_of_their_own_and_weak_ones_are_left_out() -> None:
    text = "wing " + "x" * 60 + " lift " + "y" * 60 + " drag"
    bounds = [(0, 4), (66, 70), (132, 136)]
    document, query = np.eye(3), np.diag([3.0, 2.0, 0.1])
    spans = matched_spans(query, document, bounds, text=text)
    assert [text[start:end] for start, end, _ in spans] == ["wing", "lift"]
    assert [span.score for span in spans] == [3.0, 2.0]
    [best] = matched_spans(query, document, bounds, settings=SpanSettings(max_spans=1))
    assert best == (0, 4, 3.0)


def test_what_special_tokens_contribute_belongs_to_no_passage() -> None:
    bounds = [(0, 0), (0, 4), (4, 4)]
    assert matched_spans(np.eye(3), np.eye(3), bounds, text="wing") == [(0, 4, 1.0)]


def test_a_pooled_row_gives_each_of_its_tokens_an_equal_share() -> None:
    text = "wing of lift"
    spans = matched_spans(
        np.eye(1), np.eye(1), [(0, 0), (0, 4), (8, 12)], row_of_token=[0, 0, 0], text=text,
        settings=SpanSettings(max_gap=0),
    )  # fmt: skip
    assert spans == [(0, 4, 0.5), (8, 12, 0.5)]


def test_nothing_matches_nothing() -> None:
    assert matched_spans(np.zeros((0, 2)), np.eye(2), [(0, 1), (1, 2)]) == []
    assert matched_spans(np.eye(2), np.zeros((0, 2)), []) == []
    assert matched_spans(np.eye(2), -np.eye(2) - 1, [(0, 1), (1, 2)]) == []


@pytest.mark.parametrize(
    ("text", "start", "end", "grown"),
    [
        ("the retrieval of", 6, 8, "retrieval"),
        ("don't stop", 3, 5, "don't"),
        (" the ", 0, 2, "the"),
        ("cafe\u0301s", 0, 4, "cafe\u0301s"),
        ("a 👩‍👩‍👧 b", 4, 5, "👩‍👩‍👧"),
        ("👍🏽!", 0, 1, "👍🏽"),
        ("🇫🇷 x", 1, 2, "🇫🇷"),
        ("日本語です", 1, 2, "本"),
        ("end.\r\nnext", 4, 7, "next"),
        ("well-known", 0, 2, "well"),
        ("a  b", 1, 3, ""),
    ],
)
def test_spans_grow_to_words(text: str, start: int, end: int, grown: str) -> None:
    first, last = grown_to_words(start, end, text)
    assert text[first:last] == grown


@given(text=st.text(max_size=30), data=st.data())
def test_growing_again_changes_nothing(text: str, data: st.DataObject) -> None:
    end = data.draw(st.integers(0, len(text)))
    start = data.draw(st.integers(0, end))
    grown = grown_to_words(start, end, text)
    assert 0 <= grown[0] <= grown[1] <= len(text)
    assert grown_to_words(*grown, text) == grown


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_spans": 0}, "max_spans=0"),
        ({"min_share": 2}, "min_share=2; give a number from 0 to 1"),
        ({"max_gap": -1}, "max_gap=-1"),
        ({"max_length": 0}, "max_length=0"),
        ({"texts": ["a"]}, "texts is a list; pass a mapping"),
    ],
)
def test_wrong_settings_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SpanSettings(**options)


def test_what_does_not_fit_is_refused() -> None:
    query = np.eye(2)
    with pytest.raises(InputError, match="a token ends at character 9, but the text has 3"):
        matched_spans(query, query, [(0, 1), (1, 9)], text="abc")
    with pytest.raises(InputError, match="row_of_token has 1 entries for 2 tokens"):
        matched_spans(query, query, [(0, 1), (1, 2)], row_of_token=[0])
    with pytest.raises(InputError, match="tokens belong to rows up to 2, but document has 2"):
        matched_spans(query, query, [(0, 1), (1, 2)], row_of_token=[0, 2])
    with pytest.raises(InputError, match=r"query has shape \(2, 2\) and document \(2, 3\)"):
        matched_spans(query, np.ones((2, 3)), [(0, 1), (1, 2)])
