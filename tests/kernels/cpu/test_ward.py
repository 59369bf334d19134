from __future__ import annotations

import numpy as np
import oracles
import pytest
from conftest import unit_rows
from hypothesis import given
from hypothesis import strategies as st

from colmodern.kernels.cpu.ward import ward_labels


def labels_of(rows: np.ndarray, n_clusters: int) -> list[int]:
    labels = np.full(len(rows), -1, np.int64)
    ward_labels(rows, n_clusters, labels)
    return labels.tolist()


@given(st.integers(2, 80), st.integers(3, 33), st.integers(0, 5), st.data())
def test_clusters_are_those_of_scipy(n: int, dim: int, seed: int, data: st.DataObject) -> None:
    rows = unit_rows([n], dim, seed).values
    n_clusters = data.draw(st.integers(1, n))
    assert labels_of(rows, n_clusters) == oracles.ward(rows, n_clusters)


@pytest.mark.parametrize("n", [511, 512, 513, 1100])
def test_more_tokens_than_a_block_changes_nothing(n: int) -> None:
    rows = unit_rows([n], 24, seed=n).values
    for factor in (2, 4):
        assert labels_of(rows, n // factor) == oracles.ward(rows, n // factor)


@given(st.integers(1, 40), st.integers(1, 4), st.data())
def test_equal_rows_give_as_many_clusters_as_asked(
    n: int, n_distinct: int, data: st.DataObject
) -> None:
    # ties may be broken in any way, but the same way each time, and equal rows go first
    rows = unit_rows([n_distinct], 5, seed=0).values
    rows = rows[data.draw(st.lists(st.integers(0, n_distinct - 1), min_size=n, max_size=n))]
    n_clusters = data.draw(st.integers(1, n))
    labels = labels_of(rows, n_clusters)
    assert sorted(set(labels)) == list(range(n_clusters))
    assert labels == labels_of(rows, n_clusters)
    if n_clusters >= len(np.unique(rows, axis=0)):
        for label in range(n_clusters):
            members = rows[np.array(labels) == label]
            assert (members == members[0]).all()
