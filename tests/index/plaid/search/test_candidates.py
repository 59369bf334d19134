"""Candidates of another search beside those of the probed lists."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from index.plaid.corpora import changed_index, corpus, lengths_like_passages, names

from colmodern import PlaidIndex, ScoredDoc
from colmodern.errors import InputError

N = 1000
IDS = names(N)
DOCUMENTS = corpus(lengths_like_passages(N))
QUERIES = corpus([4, 12, 17, 40], seed=1)
NARROW: dict[str, Any] = {"nprobe": 1, "n_candidates": 60}
DELETED = set(IDS[::17])


@pytest.fixture(scope="module")
def plaid(tmp_path_factory: pytest.TempPathFactory) -> PlaidIndex:
    """Two segments, with deletions in both."""
    return changed_index(DOCUMENTS, tmp_path_factory.mktemp("i") / "i", 700, n_centroids=300)


@given(seed=st.integers(0, 99), n_tokens=st.integers(1, 40), rescored=st.booleans())
@settings(max_examples=20)
def test_all_documents_as_candidates_are_a_search_of_all_documents(
    plaid: PlaidIndex, seed: int, n_tokens: int, rescored: bool
) -> None:
    query, rescore = corpus([n_tokens], seed=seed)[0], DOCUMENTS if rescored else None
    live = [doc_id for doc_id in IDS if doc_id in plaid]
    scanned = plaid.search(
        query, n_candidates=60, rescore=rescore
    )  # a small index has no need to probe
    assert plaid.search(query, candidates_from=live, rescore=rescore, **NARROW) == scanned


def test_a_document_that_no_probed_list_holds_is_found_among_them(plaid: PlaidIndex) -> None:
    lost = 0
    for query in QUERIES:
        probed = plaid.search(query, **NARROW)
        best = plaid.search(query, n_candidates=60)
        missed = [hit for hit in best if hit not in probed]
        found = plaid.search(query, candidates_from=missed, **NARROW)
        assert set(missed) <= set(found)
        lost += len(missed)
    assert lost > 5  # else the test would show nothing


def test_ids_results_and_sets_are_the_same_and_a_batch_has_its_own_for_each_query(
    plaid: PlaidIndex,
) -> None:
    first = [[ScoredDoc(doc_id, 1.0) for doc_id in IDS[i::40]] for i in range(len(QUERIES))]
    first[2] = []  # another search may find nothing
    batch = plaid.search_batch(QUERIES, candidates_from=first, **NARROW)
    for query, candidates, expected in zip(QUERIES, first, batch, strict=True):
        for form in (candidates, [hit.doc_id for hit in candidates], set(candidates)):
            assert plaid.search(query, candidates_from=form, **NARROW) == expected


@pytest.mark.parametrize("nprobe", [None, 1])
def test_candidates_are_only_what_a_filter_lets_through(
    plaid: PlaidIndex, nprobe: int | None
) -> None:
    allowed = IDS[: N // 2]
    budget = {**NARROW, "nprobe": nprobe}
    for query in QUERIES:
        found = plaid.search(query, 60, filter=allowed, candidates_from=IDS, **budget)
        assert {hit.doc_id for hit in found} <= set(allowed) - DELETED
        assert found == plaid.search(query, 60, filter=allowed, n_candidates=60)


def test_pages_and_groups_have_the_candidates_too(plaid: PlaidIndex) -> None:
    query = QUERIES[0]
    live = [doc_id for doc_id in IDS if doc_id in plaid]
    whole = plaid.search(query, 20, candidates_from=live, **NARROW)
    assert plaid.search(query, 5, offset=15, candidates_from=live, **NARROW) == whole[15:]


def test_ids_that_the_index_lacks_are_left_out_and_counted(
    plaid: PlaidIndex, caplog: pytest.LogCaptureFixture
) -> None:
    known = [doc_id for doc_id in IDS[:40] if doc_id not in DELETED]
    n_deleted = 40 - len(known)
    expected = plaid.search(QUERIES[0], candidates_from=known, **NARROW)
    assert caplog.text == ""
    with caplog.at_level(logging.WARNING):
        found = plaid.search(QUERIES[0], candidates_from=[*IDS[:40], "x"], **NARROW)
    assert found == expected
    assert (
        f"candidates_from has 41 ids of which the index lacks {n_deleted + 1}, as 'd0'"
        in caplog.text
    )


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        ("d1", r"candidates_from='d1' is one string; pass ids of documents, or the results"),
        ({"d1": 2.0}, r"candidates_from is a dict, whose keys would be taken; pass ids"),
        ([1, 2], r"candidates_from has ids that are not strings: candidates_from\[0\] is int 1"),
        (7, r"candidates_from.*pass ids of documents"),
    ],
)
def test_what_is_no_list_of_candidates_is_refused(
    plaid: PlaidIndex, candidates: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        plaid.search(QUERIES[0], candidates_from=candidates)
    with pytest.raises(InputError, match=message):
        plaid.search_batch(QUERIES, candidates_from=[candidates] * len(QUERIES))


def test_a_batch_takes_one_list_for_each_query(plaid: PlaidIndex) -> None:
    with pytest.raises(InputError, match="candidates_from has 1 lists for 4 queries; pass one"):
        plaid.search_batch(QUERIES, candidates_from=[IDS])
    assert plaid.search_batch(QUERIES[:0], candidates_from=[]) == []
    assert np.all([len(found) for found in plaid.search_batch(QUERIES, candidates_from=[[]] * 4)])
