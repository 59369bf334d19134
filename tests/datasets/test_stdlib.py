from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colmodern import load_dataset
from colmodern.datasets.stdlib import load_stdlib, split_first_sentence
from colmodern.types import Dataset


@pytest.fixture(scope="module")
def stdlib() -> Dataset:
    return load_dataset("stdlib")


def test_it_holds_a_few_thousand_items_and_says_what_it_is(stdlib: Dataset) -> None:
    assert 2000 < len(stdlib.corpus) < 12_000
    assert 1000 < len(stdlib.queries) <= len(stdlib.corpus)
    assert "known-item search, not human judgments" in stdlib.description


def test_a_known_function_is_found_by_its_first_sentence(stdlib: Dataset) -> None:
    texts = {document.doc_id: document.text for document in stdlib.corpus}
    assert stdlib.queries["textwrap.dedent"] == (
        "Remove any common leading whitespace from every line in `text`."
    )
    assert stdlib.qrels["textwrap.dedent"] == {"textwrap.dedent": 1}
    assert texts["textwrap.dedent"].startswith("textwrap.dedent(text)\n")
    assert "triple-quoted" in texts["textwrap.dedent"]


def test_no_document_repeats_its_query(stdlib: Dataset) -> None:
    texts = {document.doc_id: document.text for document in stdlib.corpus}
    assert len(texts) == len(stdlib.corpus)
    assert [q for q, text in stdlib.queries.items() if text in " ".join(texts[q].split())] == []


def test_queries_are_unambiguous_and_documents_have_text(stdlib: Dataset) -> None:
    lowered = [text.lower() for text in stdlib.queries.values()]
    assert len(set(lowered)) == len(lowered)
    assert all(len(text.split()) >= 4 for text in stdlib.queries.values())
    assert all(document.text.strip() for document in stdlib.corpus)


def test_two_readings_are_equal(stdlib: Dataset) -> None:
    again = load_stdlib.__wrapped__()  # past the cache
    assert again.corpus.fingerprint == stdlib.corpus.fingerprint
    assert list(again.queries) == list(stdlib.queries)


@pytest.mark.parametrize(
    ("docstring", "sentence", "rest"),
    [
        ("Do it.  And more.", "Do it.", "And more."),
        ("Do it\nnow, at 3.5.\nMore", "Do it now, at 3.5.", "More"),
        ("A heading\n\nText.", "A heading", "Text."),
        ("Alone", "Alone", ""),
        ("Really? Yes.", "Really?", "Yes."),
    ],
)
def test_first_sentences_by_hand(docstring: str, sentence: str, rest: str) -> None:
    assert split_first_sentence(docstring) == (sentence, rest)


@given(st.text(alphabet="ab .\n!", min_size=1))
def test_no_word_is_lost_in_splitting(docstring: str) -> None:
    sentence, rest = split_first_sentence(docstring)
    assert f"{sentence} {rest}".split() == docstring.split()
