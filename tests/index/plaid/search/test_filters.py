from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import SCORE_TOLERANCE
from hypothesis import given, settings
from hypothesis import strategies as st
from index.plaid.corpora import corpus, decoded, expect_best, lengths_like_passages, names, truth

from colmodern import PlaidIndex
from colmodern.errors import InputError

TOLERANCE = SCORE_TOLERANCE["float32"]
N = 600
DOCUMENTS = corpus(lengths_like_passages(N))
QUERIES = corpus([4, 32, 40], seed=1)


@pytest.fixture(scope="module")
def plaid(tmp_path_factory: pytest.TempPathFactory) -> PlaidIndex:
    """Two segments, with deletions in both."""
    index = PlaidIndex.build(DOCUMENTS[:400], tmp_path_factory.mktemp("i") / "i", names(400))
    index.add(DOCUMENTS[400:], names(N)[400:])
    index.delete(names(N)[::11])
    return index


@given(chosen=st.sets(st.integers(0, N + 20), max_size=60), k=st.integers(1, 12))
@settings(max_examples=25)
def test_a_narrow_filter_is_exact_whatever_is_probed(
    plaid: PlaidIndex, chosen: set[int], k: int
) -> None:
    ids = {f"d{i}" for i in chosen}
    allowed = {doc_id: tokens for doc_id, tokens in decoded(plaid).items() if doc_id in ids}
    query = QUERIES[0]
    if ids and not allowed:
        with pytest.raises(InputError, match="the index has none of them"):
            plaid.search(query, k, filter=ids)
        return
    for nprobe in (None, 1):
        found = plaid.search(query, k, filter=ids, nprobe=nprobe)
        expect_best(found, truth(query, allowed), k, TOLERANCE)


@pytest.mark.parametrize("nprobe", [None, 16])
def test_a_wide_filter_is_applied_before_the_cut(plaid: PlaidIndex, nprobe: int | None) -> None:
    even = {doc_id for doc_id in names(N) if int(doc_id[1:]) % 2 == 0}
    for query in QUERIES:
        every = plaid.search(query, N, n_candidates=N)
        wanted = [doc for doc in every if doc.doc_id in even][:10]
        found = plaid.search(query, 10, filter=even, nprobe=nprobe)
        assert len(set(found) & set(wanted)) >= 9
        assert all(doc.doc_id in even for doc in found)


def test_ids_a_function_and_a_prepared_filter_are_the_same(plaid: PlaidIndex) -> None:
    chosen = [f"d{i}" for i in range(0, N, 5)]
    inside = set(chosen)
    forms: list[object] = [chosen, inside, tuple(chosen), dict.fromkeys(chosen).keys()]
    forms += [iter(chosen), np.array(chosen), np.array(chosen, object)]
    forms += [inside.__contains__, plaid.filter(chosen), plaid.filter(lambda one: one in inside)]
    expected = plaid.search(QUERIES[1], 20, filter=frozenset(chosen))
    for form in forms:
        assert plaid.search(QUERIES[1], 20, filter=form) == expected  # type: ignore[arg-type]


def test_a_filter_works_on_a_batch(plaid: PlaidIndex) -> None:
    prepared = plaid.filter(names(50))
    found = plaid.search_batch(QUERIES, 5, filter=prepared)
    assert found == [plaid.search(query, 5, filter=prepared) for query in QUERIES]


def test_nothing_is_found_through_a_filter_of_nothing(plaid: PlaidIndex) -> None:
    for nothing in ([], set(), lambda doc_id: False):
        assert plaid.search(QUERIES[0], filter=nothing) == []


def test_unknown_ids_are_counted_and_told(
    plaid: PlaidIndex, caplog: pytest.LogCaptureFixture
) -> None:
    ids = ["d1", "nobody", "d0", "d599"]  # d0 was deleted
    prepared = plaid.filter(ids)
    assert prepared.n_unknown == 2
    assert "filter has 4 ids of which the index lacks 2, as 'nobody'" in caplog.text
    assert {doc.doc_id for doc in plaid.search(QUERIES[0], filter=prepared)} == {"d1", "d599"}
    assert plaid.filter(["d1"]).n_unknown == 0


@pytest.mark.parametrize("ids", [["nobody"], ["d0"], {"nobody", "d0"}])
def test_a_filter_of_which_the_index_has_no_id_is_refused(
    plaid: PlaidIndex, ids: list[str]
) -> None:
    with pytest.raises(InputError, match=r"filter has . ids, and the index has none of them"):
        plaid.search(QUERIES[0], filter=ids)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"year": 1953}, r"filter names the field 'year', and the documents have no fields"),
        ({1: 2}, "filter has the key 1; names of fields are text"),
        ("d1", "filter='d1' is one string; pass a list"),
        (b"d1", "filter=b'd1' is bytes"),
        (7, "filter=7; pass a list"),
        (np.array("d1"), "pass a list"),
        ([1, 2], r"filter\[0\] is int 1; pass strings"),
        (np.array([True, False]), r"filter\[0\] is bool"),
        (["d1", None], r"filter\[1\] is NoneType None; pass strings"),
        (lambda doc_id: doc_id, "filter returned 'd0' for doc_id='d0'"),
        (lambda doc_id: None, "filter returned None"),
        (lambda doc_id: 1 / 0, "filter raised ZeroDivisionError for doc_id='d0'"),
        (dict, "filter raised ValueError"),
    ],
)
def test_what_is_no_filter_is_refused(plaid: PlaidIndex, wrong: object, message: str) -> None:
    for filtered in (lambda: plaid.filter(wrong), lambda: plaid.search(QUERIES[0], filter=wrong)):
        with pytest.raises(InputError, match=message):
            filtered()


def test_a_filter_of_another_state_is_refused(tmp_path: Path) -> None:
    index = PlaidIndex.build(DOCUMENTS[:50], tmp_path / "i", names(50))
    prepared = index.filter(names(10))
    index.delete(["d3"])
    found = index.search(QUERIES[0], 50, filter=prepared)
    assert {doc.doc_id for doc in found} == set(names(10)) - {"d3"}

    def refuses(change: Callable[[], object], prepared: object) -> None:
        change()
        with pytest.raises(InputError, match="filter was made before the index changed"):
            index.search(QUERIES[0], filter=prepared)  # type: ignore[arg-type]

    refuses(lambda: index.add(DOCUMENTS[50:60], names(10, "x"), merge=False), prepared)
    refuses(index.compact, index.filter(names(10)))
