from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels.kernel_inputs import (
    KINDS,
    Inputs,
    assert_equal,
    collect_inputs,
    fast,
    gather_inputs,
    run,
)

from colmodern.kernels.types import StateForm

N_QUERY_TOKENS = [1, 16, 17, 32, 33, 64, 100]
seeds = st.integers(0, 1 << 20)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_query_tokens", N_QUERY_TOKENS)
def test_gather_and_collect(n_query_tokens: int, kind: str) -> None:
    for n_docs, n_centroids, nprobe in [(1, 1, 1), (1, 65, 8), (7, 3, 3), (500, 64, 9)]:
        inputs = gather_inputs(n_query_tokens, n_docs, n_centroids, nprobe, 1, kind=kind)
        assert_equal("state_form", inputs)
        assert_equal("gather", inputs)
        assert_equal("collect", collect_inputs(inputs))
        assert_equal("impute_missing", inputs)


def test_sums_of_many_query_tokens_fit_and_lose_few_bits() -> None:
    inputs = gather_inputs(700, 50, 5, 5, 1, kind="ends")
    assert_equal("state_form", inputs)
    assert_equal("gather", inputs)
    collected = run(fast("collect"), collect_inputs(inputs))
    best, n_lanes = np.zeros((700, 50), np.int64), inputs["scores"].shape[2]
    for token in range(700):
        for centroid in range(5):
            start, stop = inputs["list_offsets"][centroid : centroid + 2]
            score = int(inputs["scores"][token // n_lanes, centroid, token % n_lanes])
            docs = inputs["list_docs"][start:stop]
            best[token, docs] = np.maximum(best[token, docs], score - inputs["missing"][token])
    whole, shift = best.sum(axis=0)[collected["docs"]], inputs["form"].shift
    assert shift > 0
    assert np.all(collected["sums"] <= whole)
    assert np.all(collected["sums"] > whole - (700 << shift))


def limited_inputs(n_query_tokens: int, n_postings: int, seed: int, kind: str = "random") -> Inputs:
    inputs = gather_inputs(n_query_tokens, 200, 40, 9, seed, kind=kind)
    sizes = np.diff(inputs["list_offsets"]).astype(np.int64)
    return {**inputs, "list_sizes": sizes, "n_postings": n_postings}


@given(seed=seeds, n_query_tokens=st.sampled_from(N_QUERY_TOKENS), n_postings=st.integers(0, 300))
@settings(max_examples=25)
def test_lists_behind_so_many_postings_are_not_opened(
    seed: int, n_query_tokens: int, n_postings: int
) -> None:
    inputs = limited_inputs(n_query_tokens, n_postings, seed)
    assert_equal("limit_probes", inputs)
    limited = run(fast("limit_probes"), inputs)["probes"]
    for before, after in zip(inputs["probes"], limited, strict=True):
        kept = after[after >= 0]
        np.testing.assert_array_equal(kept, before[: len(kept)])  # the best, in their order
        sizes = inputs["list_sizes"][before]
        assert len(kept) == 2 or sizes[: len(kept) - 1].sum() < n_postings
        assert len(kept) == len(before) or sizes[: len(kept)].sum() >= n_postings
    assert_equal("gather", {**inputs, "probes": limited})


def test_a_bound_that_no_token_reaches_changes_nothing() -> None:
    inputs = limited_inputs(20, 1 << 40, 3)
    limited = run(fast("limit_probes"), inputs)["probes"]
    np.testing.assert_array_equal(limited, inputs["probes"])


@given(
    seed=seeds,
    n_query_tokens=st.sampled_from(N_QUERY_TOKENS),
    n_postings=st.integers(1, 3000),
    kind=st.sampled_from(KINDS),
)
@settings(max_examples=25)
def test_lists_that_add_least_are_not_opened(
    seed: int, n_query_tokens: int, n_postings: int, kind: str
) -> None:
    inputs = limited_inputs(n_query_tokens, 150, seed, kind)
    inputs["probes"] = run(fast("limit_probes"), inputs)["probes"]
    assert_equal("drop_probes", {**inputs, "n_postings": n_postings})
    left = run(fast("drop_probes"), {**inputs, "n_postings": n_postings})["probes"]
    places = np.argwhere(inputs["probes"] >= 0)
    n_lanes, sizes = inputs["scores"].shape[2], inputs["list_sizes"]
    centroids = inputs["probes"][places[:, 0], places[:, 1]]
    gains = inputs["scores"][places[:, 0] // n_lanes, centroids, places[:, 0] % n_lanes].astype(int)
    gains -= inputs["missing"][places[:, 0]]
    is_left = left[places[:, 0], places[:, 1]] >= 0
    assert is_left[places[:, 1] < 2].all()
    if not is_left.all():
        bar = gains[is_left & (places[:, 1] >= 2)].min(initial=1 << 20)
        assert gains[~is_left].max() < bar
        # with the best of those that were dropped, all that add more would be enough
        assert sizes[centroids[gains > gains[~is_left].max()]].sum() >= n_postings
    assert_equal("gather", {**inputs, "probes": left})


@given(seed=seeds, n_probes=st.integers(1, 8))
@settings(max_examples=15)
def test_probes_that_were_taken_away_are_as_if_never_asked_for(seed: int, n_probes: int) -> None:
    inputs = gather_inputs(7, 60, 20, 8, seed, kind="random")
    cut = inputs["probes"].copy()
    cut[:, n_probes:] = -1
    expected = run(fast("gather"), {**inputs, "probes": inputs["probes"][:, :n_probes].copy()})
    got = run(fast("gather"), {**inputs, "probes": cut})
    np.testing.assert_array_equal(got["state"], expected["state"])


@given(seed=seeds, n_query_tokens=st.sampled_from(N_QUERY_TOKENS))
@settings(max_examples=15)
def test_what_is_missing_counts_at_most_as_the_last_probed_centroid(
    seed: int, n_query_tokens: int
) -> None:
    inputs = gather_inputs(n_query_tokens, 60, 20, 8, seed, kind="random")
    assert_equal("impute_missing", inputs)
    missing = run(fast("impute_missing"), inputs)["missing"]
    n_lanes = inputs["scores"].shape[2]
    for token, centroids in enumerate(inputs["probes"]):
        last = inputs["scores"][token // n_lanes, centroids[-1], token % n_lanes]
        assert missing[token] <= last
        if len(inputs["sample"].codes) == 0:
            assert missing[token] == last


def test_the_last_row_that_uint16_can_name_is_gathered() -> None:
    inputs = gather_inputs(2, 1 << 16, 3, 3, 1, kind="random")
    inputs["list_docs"] = np.array([0, 65_534, 65_535], np.uint16)
    inputs["list_offsets"] = np.array([0, 1, 2, 3], np.uint32)
    inputs["state"] = np.zeros(1 << 16, np.int32)
    assert_equal("gather", inputs)
    collected = run(fast("collect"), collect_inputs(inputs))
    assert collected["docs"].tolist() == [0, 65_534, 65_535]


def test_lists_that_lead_out_of_arrays_write_and_read_nothing_there() -> None:
    memory = np.zeros(70_000, np.int32)
    docs = np.array([99, 100, 65535, 7], np.uint16)
    fast("gather")(
        probes=np.zeros((1, 1), np.int32),
        scores=np.ones((1, 1, 16), np.int16),
        missing=np.zeros(1, np.int32),
        list_offsets=np.array([0, 1 << 31], np.uint32),
        list_docs=docs[:3],
        form=StateForm(2, 0),
        state=memory[:100],
    )
    assert np.flatnonzero(memory).tolist() == [99]


@given(seed=seeds, n_query_tokens=st.integers(1, 40), data=st.data())
@settings(max_examples=25)
def test_a_list_in_any_order_gathers_the_same(
    seed: int, n_query_tokens: int, data: st.DataObject
) -> None:
    inputs = gather_inputs(n_query_tokens, 30, 6, 4, seed, kind="ties")
    rng = np.random.default_rng(data.draw(seeds))
    shuffled, offsets = inputs["list_docs"].copy(), inputs["list_offsets"]
    for start, stop in pairwise(offsets):
        rng.shuffle(shuffled[start:stop])
    again = run(fast("gather"), {**inputs, "list_docs": shuffled})
    np.testing.assert_array_equal(again["state"], run(fast("gather"), inputs)["state"])


@given(seed=seeds)
@settings(max_examples=15)
def test_a_document_that_a_list_names_twice_counts_once(seed: int) -> None:
    inputs = gather_inputs(5, 30, 6, 4, seed, kind="random")
    twice = {
        "list_docs": np.repeat(inputs["list_docs"], 2),
        "list_offsets": inputs["list_offsets"] * np.uint32(2),
    }
    again = run(fast("gather"), {**inputs, **twice})
    np.testing.assert_array_equal(again["state"], run(fast("gather"), inputs)["state"])


int32 = st.integers(-(1 << 31), (1 << 31) - 1)


@given(
    st.one_of(
        st.lists(int32, max_size=60),
        st.lists(st.integers(-3, 3), max_size=60),
        st.lists(st.sampled_from([-(1 << 31), (1 << 31) - 1]), max_size=9),
    ),
    st.integers(1, 61),
)
@settings(max_examples=200)
def test_keep_best_is_every_position_at_or_above_the_nth_largest(scores: list[int], n: int) -> None:
    found = run(fast("keep_best"), {"scores": np.array(scores, np.int32), "n": n})["returned"]
    least = sorted(scores, reverse=True)[n - 1] if n <= len(scores) else -(1 << 31)
    assert found.tolist() == [i for i, score in enumerate(scores) if score >= least]


@pytest.mark.parametrize("n", [1, 10, 1024, 4999, 5000])
@pytest.mark.parametrize("spread", [1, 40, 100_000, 1 << 31])
def test_keep_best_of_many(n: int, spread: int) -> None:
    scores = np.random.default_rng(n).integers(-spread, spread, 5000).astype(np.int32)
    assert_equal("keep_best", {"scores": scores, "n": n})
