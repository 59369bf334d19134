from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from index.plaid.corpora import corpus, sample_of

from colmodern import TokenEmbeddings
from colmodern.codecs.centroids import cluster
from colmodern.codecs.codec import Codec, CompressedDocuments, train_codec
from colmodern.progress import Silent

KINDS = ["pq", "residual"]
TEXTS = corpus([40] * 50, 16)


def learn(
    nbits: int = 4,
    kind: str = "pq",
    *,
    texts: TokenEmbeddings = TEXTS,
    n_centroids: int = 64,
    with_ids: bool = True,
    **options: int,
) -> Codec:
    return train_codec(
        sample_of(texts, with_ids=with_ids),
        n_centroids=n_centroids,
        nbits=nbits,
        kind=kind,
        seed=0,
        progress=Silent(),
        **options,
    )


def without_ids(texts: TokenEmbeddings) -> TokenEmbeddings:
    return TokenEmbeddings(texts.values, texts.offsets)


def error_of(codec: Codec, texts: TokenEmbeddings = TEXTS) -> float:
    lost = codec.decode(codec.encode(texts), texts.lengths) - texts.values
    return float(np.square(lost).sum(axis=1).mean())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("with_ids", [False, True])
def test_more_bits_lose_less_and_the_codec_says_how_much(kind: str, with_ids: bool) -> None:
    codecs = [learn(nbits, kind, with_ids=with_ids) for nbits in (1, 2, 4, 8)]
    texts = TEXTS if with_ids else without_ids(TEXTS)
    errors = [error_of(codec, texts) for codec in codecs]
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
    codec = learn(nbits, texts=corpus([40], dim))
    encoded = codec.encode(corpus([3, 0, 2], dim))
    assert encoded.residuals.shape == (5, dim * nbits // 8)
    assert (encoded.codes.dtype, encoded.gains.dtype) == (np.uint16, np.uint8)
    assert (encoded.doc_gains.shape, encoded.doc_vectors.shape) == ((3,), (3, dim // 4))
    assert codec.decode(encoded, np.array([3, 0, 2])).shape == (5, dim)


@given(st.lists(st.integers(0, 30), max_size=4), st.booleans())
@settings(max_examples=15)
def test_a_documents_codes_depend_on_that_document_alone(cuts: list[int], with_ids: bool) -> None:
    codec = learn(2, "residual")
    texts = corpus([7, 0, 1, 30, 2] * 6, 16, with_ids=with_ids)
    whole = codec.encode(texts)
    edges = [0, *sorted(cuts), 30]
    parts = [codec.encode(texts[a:b]) for a, b in pairwise(edges)]
    for i in range(len(whole)):
        assert np.array_equal(np.concatenate([part[i] for part in parts]), whole[i])


def about(subjects: int, seed: int = 1, *, length: int = 30) -> TokenEmbeddings:
    """Documents whose tokens all lean towards one of some subjects."""
    rng = np.random.default_rng(seed)
    texts = corpus([length] * 60, 16, seed)
    places = 0.4 * np.random.default_rng(0).normal(size=(subjects, 16))
    leaning = np.repeat(places[rng.integers(0, subjects, 60)], length, axis=0)
    return TokenEmbeddings(texts.values + leaning, texts.offsets, texts.token_ids)


def test_what_the_tokens_of_a_document_share_is_kept_once() -> None:
    texts = about(8)
    codec = learn(1, texts=texts, n_centroids=40)
    encoded = codec.encode(texts)
    cut = encoded._replace(doc_gains=np.zeros_like(encoded.doc_gains))
    centroids = codec.mean + codec.centroids.decode(encoded.codes)
    shared = codec.decode(encoded, texts.lengths) - codec.decode(cut, texts.lengths)
    left, without = (np.square(texts.values - centroids - s).sum() for s in (shared, 0))
    assert left < 0.6 * without
    for i in range(texts.n_docs):  # and one vector a document it is
        own = shared[texts.offsets[i] : texts.offsets[i + 1]]
        assert np.allclose(own, own[0], atol=1e-6)


def test_a_document_of_one_token_and_one_of_none_are_encoded() -> None:
    codec = learn(4, texts=about(8))
    texts = about(8, 2)[:1].select([0])
    single = TokenEmbeddings(texts.values[:1], np.array([0, 0, 1, 1]), texts.token_ids[:1])
    encoded = codec.encode(single)
    assert encoded.doc_gains[[0, 2]].tolist() == [0, 0]
    lost = codec.decode(encoded, single.lengths) - single.values
    assert np.square(lost).sum() < 0.05 * np.square(single.values).sum()


def test_a_token_gets_the_nearest_centroid_of_its_cell() -> None:
    codec = learn()
    centred = TEXTS.values[:300].astype(np.float32) - codec.mean
    ids = TEXTS.token_ids[:300]
    codes = codec.centroids.assign(centred, ids)
    centroids = codec.centroids.decode(np.arange(len(codec.centroids.values)))
    for token, code in enumerate(codes.tolist()):
        cell = codec.centroids.token_cells[ids[token]]
        first, last = codec.centroids.cells[cell : cell + 2]
        assert first <= code < last
        away = np.square(centroids[first:last] - centred[token]).sum(axis=1)
        assert away[code - first] <= away.min() * 1.02 + 1e-3  # chosen with int8 tokens


@pytest.mark.parametrize("ids", [None, np.full(9, -1), np.full(9, 2**31 - 1), np.full(9, 4_000)])
def test_tokens_of_ids_never_seen_choose_among_all_centroids(ids: np.ndarray | None) -> None:
    codec = learn()
    codes = np.array([3, 17, 40, 0, 63, 2, 8, 30, 51]) % len(codec.centroids.values)
    centroids = codec.centroids.decode(codes)
    again = codec.centroids.decode(codec.centroids.assign(centroids, ids))
    assert np.allclose(again, centroids, atol=0.02)


@pytest.mark.parametrize("with_ids", [False, True])
@pytest.mark.parametrize("n_centroids", [1, 2, 7, 64, 500, 10**6])
@pytest.mark.parametrize("n", [1, 2, 3, 50, 2_000])
def test_n_centroids_is_an_upper_bound(n: int, n_centroids: int, with_ids: bool) -> None:
    codec = learn(1, texts=corpus([n], 16), n_centroids=n_centroids, with_ids=with_ids)
    n_trained = len(codec.centroids.values)
    assert 1 <= n_trained <= min(n_centroids, n)
    assert codec.centroids.cells[-1] == n_trained
    encoded = codec.encode(corpus([5], 16, with_ids=False))
    assert encoded.codes.max() < n_trained


def test_the_mean_of_the_corpus_is_taken_off() -> None:
    assert np.allclose(learn().mean, TEXTS.values.astype(np.float64).mean(axis=0), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_tokens_and_zeros_are_kept(kind: str) -> None:
    for values in (np.zeros((40, 8), np.float32), np.full((40, 8), 0.5, np.float32)):
        texts = TokenEmbeddings(values, np.array([0, 15, 40]))
        codec = learn(4, kind, texts=texts, n_centroids=4, with_ids=False)
        assert np.allclose(codec.decode(codec.encode(texts), texts.lengths), values, atol=1e-6)


def test_fewer_fitted_tokens_give_a_codec_of_the_same_shape() -> None:
    few, all_ = learn(n_fitted=300), learn()
    assert few.residuals.codebook.shape == all_.residuals.codebook.shape
    assert error_of(few) < 3 * error_of(all_)


def test_a_document_longer_than_what_is_fitted_is_fitted_in_part() -> None:
    texts = corpus([1_000], 16)
    codec = learn(texts=texts, n_fitted=100)
    assert error_of(codec, texts) < 0.5


def test_layout_and_type_of_values_do_not_matter() -> None:
    codec = learn()
    expected = codec.encode(without_ids(TEXTS))
    for values in (np.asfortranarray(TEXTS.values), TEXTS.values.astype(np.float64)):
        found: CompressedDocuments = codec.encode(TokenEmbeddings(values, TEXTS.offsets))
        for one, same in zip(found, expected, strict=True):
            assert np.array_equal(one, same)


@given(n_centroids=st.integers(1, 400), seed=st.integers(0, 999), n_values=st.integers(1, 400))
@settings(max_examples=20)
def test_clusters_are_numbered_without_a_gap_and_hold_all_equal_centroids(
    n_centroids: int, seed: int, n_values: int
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n_values, 8)).astype(np.float32)
    rows = rng.integers(0, n_values, n_centroids)
    clusters = cluster(values[rows])
    assert clusters.shape == (n_centroids,)
    assert set(clusters.tolist()) == set(range(clusters.max() + 1))
    assert len(set(zip(rows.tolist(), clusters.tolist(), strict=True))) == len(set(rows.tolist()))


def test_clusters_hold_centroids_near_each_other() -> None:
    rng = np.random.default_rng(1)
    places = rng.normal(size=(10, 16))
    near = rng.integers(0, 10, 2000)
    values = places[near] + 0.05 * rng.normal(size=(2000, 16))
    clusters = cluster(values.astype(np.float32))
    means = np.stack(
        [values[clusters == number].mean(axis=0) for number in range(clusters.max() + 1)]
    )
    within = np.square(values - means[clusters]).sum()
    assert within < 0.01 * np.square(values - values.mean(axis=0)).sum()
