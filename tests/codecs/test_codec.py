from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from index.plaid.corpora import corpus

from colmodern.codecs.codec import Codec, train_codec
from colmodern.progress import Silent

KINDS = ["pq", "residual"]
TOKENS = corpus([2_000], 16)


def learn(
    nbits: int = 4,
    kind: str = "pq",
    *,
    n_centroids: int = 64,
    with_ids: bool = True,
    dim: int = 16,
    n: int = 2_000,
    **options: int,
) -> Codec:
    tokens = TOKENS if (dim, n) == (16, 2_000) else corpus([n], dim)
    return train_codec(
        tokens.values.astype(np.float32),
        tokens.token_ids if with_ids else None,
        n_centroids=n_centroids,
        nbits=nbits,
        kind=kind,
        seed=0,
        progress=Silent(),
        **options,
    )


def error_of(codec: Codec, with_ids: bool = True) -> float:
    encoded = codec.encode(TOKENS.values, TOKENS.token_ids if with_ids else None)
    lost = codec.decode(encoded) - TOKENS.values
    return float(np.square(lost).sum(axis=1).mean())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("with_ids", [False, True])
def test_more_bits_lose_less_and_the_codec_says_how_much(kind: str, with_ids: bool) -> None:
    codecs = [learn(nbits, kind, with_ids=with_ids) for nbits in (1, 2, 4, 8)]
    errors = [error_of(codec, with_ids) for codec in codecs]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-3
    for codec, error in zip(codecs, errors, strict=True):
        assert codec.error == pytest.approx(error, rel=0.05)


def test_products_lose_less_than_dimensions_alone_at_few_bits() -> None:
    for nbits in (1, 2):
        assert error_of(learn(nbits, "pq")) < error_of(learn(nbits, "residual"))


@pytest.mark.parametrize("nbits", [1, 2, 4, 8])
@pytest.mark.parametrize("dim", [8, 48, 96])
def test_a_token_takes_nbits_for_each_dimension(dim: int, nbits: int) -> None:
    codec = learn(nbits, dim=dim, n=40)
    encoded = codec.encode(corpus([5], dim).values, None)
    assert encoded.residuals.shape == (5, dim * nbits // 8)
    assert (encoded.codes.dtype, encoded.gains.dtype) == (np.uint16, np.uint8)
    assert codec.decode(encoded).shape == (5, dim)


@given(st.lists(st.integers(0, 200), max_size=4), st.booleans())
@settings(max_examples=15)
def test_a_tokens_code_depends_on_that_token_alone(cuts: list[int], with_ids: bool) -> None:
    codec = learn(2, "residual")
    values = TOKENS.values[:200]
    ids = TOKENS.token_ids[:200] if with_ids else None
    whole = codec.encode(values, ids)
    edges = [0, *sorted(cuts), 200]
    parts = [
        codec.encode(values[a:b], None if ids is None else ids[a:b]) for a, b in pairwise(edges)
    ]
    for i in range(3):
        assert np.array_equal(np.concatenate([part[i] for part in parts]), whole[i])


def test_a_token_gets_the_nearest_centroid_of_its_cell() -> None:
    codec = learn()
    centred = TOKENS.values[:300].astype(np.float32) - codec.mean
    ids = TOKENS.token_ids[:300]
    codes = codec.centroids.assign(centred, ids)
    middles = codec.centroids.decode(np.arange(len(codec.centroids.rows)))
    for token, code in enumerate(codes.tolist()):
        cell = codec.centroids.token_cells[ids[token]]
        first, last = codec.centroids.cells[cell : cell + 2]
        assert first <= code < last
        away = np.square(middles[first:last] - centred[token]).sum(axis=1)
        assert away[code - first] <= away.min() * 1.02 + 1e-3  # chosen with int8 tokens


@pytest.mark.parametrize("ids", [None, np.full(9, -1), np.full(9, 2**31 - 1), np.full(9, 4_000)])
def test_tokens_of_ids_never_seen_choose_among_all_centroids(ids: np.ndarray | None) -> None:
    codec = learn()
    rows = np.array([3, 17, 40, 0, 63, 2, 8, 30, 51])[: len(codec.centroids.rows)]
    rows %= len(codec.centroids.rows)
    exactly = codec.centroids.decode(rows)
    again = codec.centroids.decode(codec.centroids.assign(exactly, ids))
    assert np.allclose(again, exactly, atol=0.02)


@pytest.mark.parametrize("with_ids", [False, True])
@pytest.mark.parametrize("n_centroids", [1, 2, 7, 64, 500, 10**6])
@pytest.mark.parametrize("n", [1, 2, 3, 50, 2_000])
def test_n_centroids_is_an_upper_bound(n: int, n_centroids: int, with_ids: bool) -> None:
    codec = learn(1, n=n, n_centroids=n_centroids, with_ids=with_ids)
    found = len(codec.centroids.rows)
    assert 1 <= found <= min(n_centroids, n)
    assert codec.centroids.cells[-1] == found
    encoded = codec.encode(corpus([5], 16).values, None)
    assert encoded.codes.max() < found


def test_the_mean_of_the_corpus_is_taken_off() -> None:
    assert np.allclose(learn().mean, TOKENS.values.astype(np.float64).mean(axis=0), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_tokens_and_zeros_are_kept(kind: str) -> None:
    for values in (np.zeros((40, 8), np.float32), np.full((40, 8), 0.5, np.float32)):
        codec = train_codec(
            values.copy(), None, n_centroids=4, nbits=4, kind=kind, seed=0, progress=Silent()
        )
        assert np.allclose(codec.decode(codec.encode(values, None)), values, atol=1e-6)


def test_fewer_fitted_tokens_give_a_codec_of_the_same_shape() -> None:
    few, all_ = learn(n_fitted=300), learn()
    assert few.codebook.shape == all_.codebook.shape
    assert error_of(few) < 3 * error_of(all_)


def test_layout_and_type_of_values_do_not_matter() -> None:
    codec = learn()
    expected = codec.encode(TOKENS.values, None)
    for other in (np.asfortranarray(TOKENS.values), TOKENS.values.astype(np.float64)):
        for one, same in zip(codec.encode(other, None), expected, strict=True):
            assert np.array_equal(one, same)
