from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colmodern import PassageHit, ScoredDoc, Span
from colmodern.errors import InputError
from colmodern.passages import document_and_number, documents_of, passage_id, passage_ids


@given(st.text(min_size=1), st.integers(0, 10**9))
def test_an_id_gives_back_the_document_and_the_number(doc_id: str, number: int) -> None:
    assert document_and_number(passage_id(doc_id, number)) == (doc_id, number)


def test_ids_follow_the_documents() -> None:
    ids = passage_ids(["a", "b#1", "c"], [2, 1, 0])
    assert ids == ["a#0", "a#1", "b#1#0"]
    assert documents_of(ids) == ["a", "b#1"]


@pytest.mark.parametrize("doc_id", ["", "a", "a#", "#1", "a#-1", "a#1.0", "a#x", "a#²"])
def test_what_is_no_id_of_a_passage_is_refused(doc_id: str) -> None:
    with pytest.raises(InputError, match=r"is not the id of a passage, such as 'manual#12'"):
        document_and_number(doc_id)


def test_a_hit_is_a_scored_document_that_names_its_passage() -> None:
    hit = PassageHit("a", 1.5, [Span(3, 5, 1.0)], passage=2, characters=(0, 9))
    assert hit == ScoredDoc("a", 1.5)
    assert hit.passage_id == "a#2"
    assert "passage=2, characters=(0, 9)" in repr(hit)
    moved = hit._replace(score=2.0)
    assert (moved.score, moved.passage, moved.characters, moved.spans) == (
        2.0,
        2,
        (0, 9),
        hit.spans,
    )
    copy = pickle.loads(pickle.dumps(hit))
    assert (copy, copy.passage, copy.characters) == (hit, 2, (0, 9))
