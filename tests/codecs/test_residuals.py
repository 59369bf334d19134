from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from colmodern.codecs.residuals import (
    default_kind,
    shared_weights,
    train_codebook,
    train_quantizer,
)


def units(n: int, dim: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, dim)).astype(np.float32) * np.linspace(0.2, 2, dim, dtype="f4")
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


def error_of(codebook: np.ndarray, values: np.ndarray) -> float:
    """Mean squared distance to the nearest combination of entries."""
    parts = values.reshape(len(values), len(codebook), 1, -1)
    return float(np.square(parts - codebook).sum(axis=3).min(axis=2).sum(axis=1).mean())


@pytest.mark.parametrize("kind", ["pq", "residual"])
@pytest.mark.parametrize("nbits", [1, 2, 4, 8])
@pytest.mark.parametrize("n", [0, 1, 5, 300])
def test_a_codebook_has_256_entries_for_each_byte(kind: str, nbits: int, n: int) -> None:
    codebook = train_codebook(units(n, 24), nbits, kind, seed=0)
    assert codebook.shape == (24 * nbits // 8, 256, 8 // nbits)
    assert codebook.dtype == np.float32
    assert np.isfinite(codebook).all()
    assert np.array_equal(codebook, train_codebook(units(n, 24), nbits, kind, seed=0))


def test_products_are_as_good_as_those_of_faiss() -> None:
    import faiss

    values = units(3_000, 16)
    quantizer = faiss.ProductQuantizer(16, 4, 8)
    quantizer.cp.niter = 12
    quantizer.cp.min_points_per_centroid = 1
    quantizer.train(values)
    theirs = faiss.vector_to_array(quantizer.centroids).reshape(4, 256, 4)
    ours = train_codebook(values, 2, "pq", seed=0)
    assert error_of(ours, values) <= 1.02 * error_of(np.ascontiguousarray(theirs), values)


def test_points_that_repeat_fill_no_more_entries_than_there_are() -> None:
    values = np.repeat(units(9, 8), 100, axis=0)
    assert error_of(train_codebook(values, 4, "pq", seed=0), values) < 1e-6


def test_weights_of_a_dimension_stand_where_its_values_are() -> None:
    values = np.zeros((400, 8), np.float32)
    values[:, 0] = np.repeat([-0.9, 0.1, 0.3, 0.7], 100)
    codebook = train_codebook(values, 2, "residual", seed=0)
    assert set(np.round(codebook[0, :, 0], 5).tolist()) == {-0.9, 0.1, 0.3, 0.7} or np.allclose(
        sorted(set(codebook[0, :, 0].tolist())), [-0.9, 0.1, 0.3, 0.7], atol=1e-5
    )


@pytest.mark.parametrize("dim", [8, 48, 128])
def test_four_bits_share_their_weights_and_others_do_not(dim: int) -> None:
    codebook = train_codebook(units(2_000, dim), 4, "residual", seed=0)
    found = shared_weights(codebook)
    assert found is not None
    levels, scales = found
    assert levels.dtype == np.int8
    assert np.abs(levels).max() == 127
    bytes_, codes = np.arange(dim // 2)[:, None], np.arange(256)
    for place, named in ((0, codes & 15), (1, codes >> 4)):
        expected = levels[named] * scales[2 * bytes_ + place]
        np.testing.assert_allclose(codebook[:, :, place], expected, rtol=1e-5)
    for nbits, kind in ((4, "pq"), (2, "residual"), (8, "residual"), (2, "pq")):
        assert shared_weights(train_codebook(units(2_000, dim), nbits, kind, seed=0)) is None


def test_weights_of_each_dimension_alone_are_not_taken_for_shared() -> None:
    codebook = train_codebook(units(2_000, 8), 4, "residual", seed=0)
    codebook[1, 3, 0] *= 1.01
    assert shared_weights(codebook) is None


def test_no_values_share_weights_of_zero() -> None:
    found = shared_weights(train_codebook(units(0, 8), 4, "residual", seed=0))
    assert found is not None
    assert not found[1].any()


def test_shared_weights_lose_no_more_than_those_of_each_dimension() -> None:
    values = units(20_000, 16)
    shared = error_of(train_codebook(values, 4, "residual", seed=0), values[:2_000])
    alone = error_of(train_codebook(values, 4, "pq", seed=0), values[:2_000])
    assert shared <= 1.5 * alone


def test_four_bits_take_the_kind_that_is_scored_fast() -> None:
    assert [default_kind(nbits) for nbits in (1, 2, 4, 8)] == ["pq", "pq", "residual", "pq"]


def test_directions_of_several_lengths_lose_a_tenth_less(monkeypatch: pytest.MonkeyPatch) -> None:
    values = units(2_000, 64) * np.float32(0.3)
    quantizer = train_quantizer(values, 4, "residual", seed=0)

    def lost() -> float:
        fresh = replace(quantizer)  # with the lengths that are tried now
        return float(np.square(fresh.decode(*fresh.encode(values)) - values).sum())

    several = lost()
    monkeypatch.setattr("colmodern.codecs.residuals._TRIED_LENGTHS", np.ones(1, np.float32))
    assert several < 0.9 * lost()


@pytest.mark.parametrize("nbits", [1, 2, 4, 8])
@pytest.mark.parametrize("kind", ["pq", "residual"])
def test_vectors_keep_their_length_and_zeros_stay_zero(kind: str, nbits: int) -> None:
    values = units(500, 16) * np.linspace(0, 3, 500, dtype=np.float32)[:, None]
    quantizer = train_quantizer(values, nbits, kind, seed=0)
    gains, entries = quantizer.encode(values)
    assert (gains.shape, entries.shape) == ((500,), (500, 2 * nbits))
    decoded = quantizer.decode(gains, entries)
    assert not decoded[0].any()
    lengths = np.linalg.norm(values, axis=1)
    assert np.all(np.linalg.norm(decoded, axis=1) <= lengths + quantizer.gain_step)
    assert quantizer.encode(values[:0])[1].shape == (0, 2 * nbits)
