from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from colmodern.codecs.centroids import (
    FEW_CENTROIDS,
    POINTS_PER_CENTROID,
    CentredTokens,
    train_centroids,
)
from colmodern.index.plaid.write.settings import BuildSettings, settle
from colmodern.progress import as_progress

GIGABYTE = 1_000_000_000


def settled(n_tokens: int, **changes: Any) -> BuildSettings:
    options = {"nbits": 2, "codec": None, "n_centroids": None, "seed": 0}
    sizes = {"dim": 128, "n_docs": max(1, n_tokens // 80), "max_memory": 4 * GIGABYTE}
    return settle(n_tokens, **{**options, **sizes, **changes})


@pytest.mark.parametrize(
    ("n_tokens", "max_memory", "n_sampled"),
    [
        (100_000, 4 * GIGABYTE, 98_304),
        (400_000, 4 * GIGABYTE, 240_000),
        (11_000_000, 4 * GIGABYTE, 1_250_000),
        (11_000_000, 16 * GIGABYTE, 1 << 21),
    ],
)
def test_the_sample_of_a_small_index_is_what_it_always_was(
    n_tokens: int, max_memory: int, n_sampled: int
) -> None:
    settings = settled(n_tokens, max_memory=max_memory)
    assert settings.n_sampled == n_sampled
    assert settings.n_clustered is None


def test_the_sample_of_a_large_index_grows_with_its_centroids() -> None:
    settings = settled(112_000_000, max_memory=8 * GIGABYTE)
    assert settings.n_sampled == settings.n_centroids * POINTS_PER_CENTROID
    assert settings.n_clustered is not None
    fewer = settled(112_000_000, max_memory=GIGABYTE)
    assert fewer.n_sampled == GIGABYTE // 512  # a file of its float32 tokens


@given(
    n_tokens=st.integers(1, 3 * GIGABYTE),
    per_doc=st.integers(1, 20_000),
    dim=st.sampled_from([48, 64, 128, 768]),
    max_memory=st.integers(GIGABYTE, 64 * GIGABYTE),
)
def test_no_sample_takes_more_than_the_memory_allowed(
    n_tokens: int, per_doc: int, dim: int, max_memory: int
) -> None:
    settings = settled(n_tokens, n_docs=-(-n_tokens // per_doc), dim=dim, max_memory=max_memory)
    n_sampled, vector = settings.n_sampled, 4 * dim
    if n_sampled * (3 * vector + 64) <= max_memory // 2:  # whatever cells and documents are
        return
    assert settings.n_clustered is not None
    assert n_sampled * vector <= max_memory
    numbers = n_sampled * (64 + 3 * vector / min(per_doc, 256))
    assert numbers + settings.n_clustered * 2 * vector <= max_memory


class CountedTokens(CentredTokens):
    """Tokens that remember the largest number taken at a time."""

    most = 0

    def __getitem__(self, rows: Any) -> Any:
        CountedTokens.most = max(CountedTokens.most, len(rows))
        return super().__getitem__(rows)


def test_no_cell_takes_more_tokens_than_it_may() -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((6000, 16), np.float32)
    subjects, doc_of = np.zeros((60, 16), np.float32), np.repeat(np.arange(60, dtype=np.int32), 100)
    tokens = CountedTokens(values, np.zeros(16, np.float32), subjects, doc_of)
    ids = np.where(rng.random(6000) < 0.7, 0, rng.integers(1, 9, 6000)).astype(np.int32)
    most = {}
    for n_clustered in (700, None):
        CountedTokens.most = 0
        centroids = train_centroids(
            tokens, ids, 100, n_clustered=n_clustered, seed=0, progress=as_progress(None)
        )
        assert 60 <= len(centroids.values) <= 100
        most[n_clustered] = CountedTokens.most
    assert most[700] <= 700 < most[None]


def test_an_index_of_few_centroids_has_no_bound_for_a_cell() -> None:
    assert settled(1_000_000, n_centroids=FEW_CENTROIDS).n_clustered is None
    assert settled(1_000_000, n_centroids=FEW_CENTROIDS + 1).n_clustered is not None
