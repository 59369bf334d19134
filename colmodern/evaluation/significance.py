"""Is a difference between two runs more than chance? Tests and intervals that are paired by query.

Each function takes groups, one for each data set: (n_queries,) values or differences. With several
groups the mean of their means is judged, so that every data set weighs the same, or as ``weights``
(one a group) say.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from colmodern.errors import InputError

Values = npt.NDArray[np.float64]

LEVEL = 0.95  # confidence level of all intervals
_RESAMPLES = 9_999
_DRAWN_AT_ONCE = 4_000_000  # values drawn at once, which bounds memory


class Estimate(NamedTuple):
    """A mean and its bootstrap interval.

    Attributes:
        mean: The mean.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    mean: float
    low: float
    high: float


def estimate(
    groups: Sequence[Values], *, weights: Sequence[float] | None = None, seed: int = 0
) -> Estimate:
    """The mean with its percentile bootstrap interval; queries are resampled within each group.

    Raises:
        InputError: a group has no value.
    """
    from scipy.stats import bootstrap  # takes a second to load

    _expect_values(groups)
    mean = float(np.average([group.mean() for group in groups], weights=weights))
    if all(np.ptp(group) == 0 for group in groups):
        return Estimate(mean, mean, mean)
    result = bootstrap(
        # scipy takes no sample of one; two equal values have the same mean and spread
        [np.repeat(group, 2) if len(group) == 1 else group for group in groups],
        partial(_mean_of_means, weights=weights),
        n_resamples=_RESAMPLES,
        batch=_batch(groups),
        vectorized=True,
        confidence_level=LEVEL,
        method="percentile",
        random_state=np.random.default_rng(seed),
    )
    low, high = result.confidence_interval
    return Estimate(mean, float(low), float(high))


def randomisation_test(
    groups: Sequence[Values], *, weights: Sequence[float] | None = None, seed: int = 0
) -> float:
    """Two-sided p-value of paired differences: how often random signs give as large a mean.

    All signs are tried where there are few differences, else 9,999 random ones. Source: Smucker,
    Allan and Carterette, CIKM 2007, https://doi.org/10.1145/1321440.1321528.

    Raises:
        InputError: a group has no value.
    """
    _expect_values(groups)
    group_weights = np.ones(len(groups)) if weights is None else np.asarray(weights)
    shares = [
        group * weight / len(group) for group, weight in zip(groups, group_weights, strict=True)
    ]
    return _sign_test(np.concatenate(shares) / group_weights.sum(), seed)


def t_test(differences: Values) -> float | None:
    """Two-sided p-value of the paired t-test; None for fewer than two differences."""
    from scipy.stats import ttest_1samp

    if len(differences) < 2:
        return None
    if np.ptp(differences) == 0:  # no variance: equal for certain, or different for certain
        return 1.0 if differences[0] == 0 else 0.0
    return float(ttest_1samp(differences, 0.0).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values: below alpha where Holm's procedure finds a difference at that alpha.

    Source: Holm, Scandinavian Journal of Statistics 6 (1979).
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return [float(value) for value in np.minimum(adjusted, 1.0)]


def _sign_test(shares: Values, seed: int) -> float:
    """Two-sided p-value of the sum of the shares that queries have in a mean."""
    from scipy.stats import permutation_test

    shares = shares[shares != 0]  # no sign changes a zero
    if len(shares) < 2:  # both signs of one difference are as far from 0
        return 1.0
    result = permutation_test(
        (shares,),
        np.sum,
        permutation_type="samples",
        n_resamples=_RESAMPLES,
        batch=_batch([shares]),
        vectorized=True,
        random_state=np.random.default_rng(seed),
    )
    return float(result.pvalue)


def _mean_of_means(*groups: Values, axis: int, weights: Sequence[float] | None) -> Values:
    means = [group.mean(axis=axis) for group in groups]
    return np.asarray(np.average(means, axis=0, weights=weights))


def _batch(groups: Sequence[Values]) -> int:
    return max(1, _DRAWN_AT_ONCE // sum(map(len, groups)))


def _expect_values(groups: Sequence[Values]) -> None:
    if not groups or not all(len(group) for group in groups):
        raise InputError("there are no values to judge; give at least one query of each data set")
