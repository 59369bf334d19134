"""``exact=True``: every score is MaxSim with all tokens, to the rounding of float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from index.plaid.corpora import changed_index, corpus, decoded, lengths_like_passages, names, spread

from colmodern import PlaidIndex, TokenEmbeddings
from colmodern.errors import InputError

N = 1500
TOLERANCE = 2e-6  # of a query token's part: rounding of float32, no more


DOCUMENTS = spread(lengths_like_passages(N), 32)
WORDS = corpus(lengths_like_passages(6000), 16)


@pytest.fixture(scope="module", params=[(1, None), (4, "residual"), (4, "pq"), (8, None)])
def plaid(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PlaidIndex:
    """Two segments and some deletions."""
    nbits, codec = request.param
    path = tmp_path_factory.mktemp("i") / "i"
    return changed_index(DOCUMENTS, path, 1000, nbits=nbits, codec=codec)


@pytest.fixture(scope="module")
def compact(tmp_path_factory: pytest.TempPathFactory) -> PlaidIndex:
    """One segment, which is searched in one call unless scores are to be exact.

    Of few words, so that some tokens are better than their centroids promise.
    """
    path = tmp_path_factory.mktemp("c") / "i"
    return PlaidIndex.build(WORDS, path, names(6000), nbits=8)


def expect_exact(results: list[Any], query: np.ndarray, documents: dict[str, np.ndarray]) -> None:
    assert results
    for doc in results:
        tokens = documents[doc.doc_id]
        best = (query @ tokens.T).max(axis=1).sum() if len(tokens) else 0.0
        assert abs(doc.score - best) <= TOLERANCE * len(query), (doc, best)
    assert results == sorted(results, key=lambda doc: (-doc.score, doc.doc_id))


@given(
    seed=st.integers(0, 1 << 30),
    n_tokens=st.integers(1, 70),
    k=st.integers(1, 60),
    n_candidates=st.sampled_from([None, 100, 500, N]),
    nprobe=st.sampled_from([None, 8]),
    sign=st.sampled_from([1, -1]),
)
@settings(max_examples=25)
def test_scores_are_maxsim_with_all_decoded_tokens(
    plaid: PlaidIndex, seed: int, n_tokens: int, k: int, n_candidates, nprobe, sign: int
) -> None:
    query = sign * np.asarray(spread([n_tokens], 32, seed).values)
    budget = {"n_candidates": n_candidates, "nprobe": nprobe}
    expect_exact(plaid.search(query, k, exact=True, **budget), query, decoded(plaid))


def test_tokens_that_are_passed_over_change_no_score(compact: PlaidIndex) -> None:
    documents = decoded(compact)
    queries = corpus([24] * 60, 16, seed=11)
    exact = compact.search_batch(queries, 40, exact=True)
    assert exact == [compact.search(query, 40, exact=True) for query in queries]
    for query, *found in zip(queries, compact.search_batch(queries, 40), exact, strict=True):
        for results in found:
            expect_exact(results, np.asarray(query, np.float32), documents)


def test_scores_of_stored_embeddings_are_of_all_tokens_too(compact: PlaidIndex) -> None:
    documents = {
        name: np.asarray(text, np.float32) for name, text in zip(names(6000), WORDS, strict=True)
    }
    for query in corpus([20] * 10, 16, seed=12):
        query = np.asarray(query, np.float32)
        expect_exact(compact.search(query, 20, rescore=WORDS, exact=True), query, documents)


def test_a_token_far_from_its_centroid_counts_in_scores_of_stored_embeddings(
    compact: PlaidIndex,
) -> None:
    documents = dict(
        zip(names(6000), (np.asarray(text, np.float32) for text in WORDS), strict=True)
    )
    for query in corpus([24] * 60, 16, seed=11):
        query = np.asarray(query, np.float32)
        expect_exact(compact.search(query, 20, rescore=WORDS), query, documents)


@pytest.mark.parametrize("exact", ["yes", 1, None])
def test_exact_is_true_or_false(compact: PlaidIndex, exact: Any) -> None:
    query = np.ones((2, 16), np.float32)
    with pytest.raises(InputError, match=r"exact=.*; pass True or False"):
        compact.search(query, exact=exact)
    with pytest.raises(InputError, match=r"exact=.*; pass True or False"):
        compact.search_batch(TokenEmbeddings.from_list([query]), exact=exact)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("dim", [16, 32])
def test_stored_embeddings_that_are_not_finite_are_refused_by_name(
    tmp_path: Path, value: float, dtype: str, dim: int
) -> None:
    texts = spread([6] * 40, dim, seed=5)
    index = PlaidIndex.build(texts, tmp_path / "i", names(40))
    stored = TokenEmbeddings(texts.values.astype(dtype), texts.offsets)
    query = np.asarray(texts[9])
    assert index.search(query, 3, rescore=stored)[0].doc_id == "d9"
    stored.values[9 * 6 + 2, 5] = value  # the best token of query token 2
    for exact in (False, True):
        with pytest.raises(InputError, match=r"rescore has embeddings of document 'd9' that are"):
            index.search(query, 3, rescore=stored, exact=exact)
