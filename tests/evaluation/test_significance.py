from __future__ import annotations

import itertools

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st

from colmodern.errors import InputError
from colmodern.evaluation.significance import (
    Estimate,
    estimate,
    holm,
    randomisation_test,
    t_test,
)

values = st.lists(st.integers(-8, 8).map(lambda n: n / 8), min_size=1, max_size=4)


@given(st.lists(values, min_size=1, max_size=2))
def test_the_randomisation_test_tries_all_signs_of_few_differences(groups) -> None:
    result = randomisation_test([np.array(group) for group in groups])
    assert result == pytest.approx(oracles.sign_test(groups))


def test_many_differences_give_nearly_the_p_value_of_the_t_test() -> None:
    differences = np.random.default_rng(1).normal(0.05, 0.3, 200)
    result = randomisation_test([differences])
    assert result == pytest.approx(t_test(differences), abs=0.01)
    assert 0.01 < result < 0.5
    assert randomisation_test([differences]) == result  # the same seed
    assert randomisation_test([differences], seed=1) != result


def test_the_t_test_by_hand() -> None:
    # mean 2, standard error 1/sqrt(3): t = 3.4641 with 2 degrees of freedom
    assert t_test(np.array([1.0, 2.0, 3.0])) == pytest.approx(0.07418, abs=1e-5)
    assert t_test(np.zeros(5)) == 1.0
    assert t_test(np.ones(5)) == 0.0
    assert t_test(np.ones(1)) is None


def test_no_difference_is_no_evidence() -> None:
    assert randomisation_test([np.zeros(4)]) == 1.0
    assert randomisation_test([np.zeros(1), np.zeros(300)]) == 1.0


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.floats(0.001, 0.999))
def test_holm_rejects_what_its_procedure_rejects(p_values, alpha) -> None:
    rejected = [value <= alpha for value in holm(p_values)]
    assert rejected == oracles.holm_rejects(p_values, alpha)


def test_an_interval_holds_the_mean_at_its_level() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        _, low, high = estimate([rng.normal(0.3, 1.0, 60)])
        held += low <= 0.3 <= high
    assert 180 <= held <= 199  # 95 % of 200 is 190


def test_an_interval_is_that_of_a_normal_mean() -> None:
    sample = np.random.default_rng(0).normal(0.0, 1.0, 400)
    mean, low, high = estimate([sample])
    width = 1.96 * sample.std(ddof=1) / np.sqrt(400)
    assert mean == pytest.approx(sample.mean())
    assert (mean - low, high - mean) == pytest.approx((width, width), rel=0.1)


def test_data_sets_weigh_the_same_whatever_their_size() -> None:
    small, large = np.array([1.0, 0.0]), np.zeros(100)
    result = estimate([small, large])
    assert result.mean == 0.25
    assert (result.low, result.high) == (0.0, 0.5)


def test_weights_say_what_a_group_counts() -> None:
    small, large = np.array([1.0, 0.0, 1.0]), np.array([-1.0, -0.5])
    twice = estimate([small, large, large])
    assert estimate([small, large], weights=[1, 2]).mean == pytest.approx(twice.mean)
    assert estimate([small, large], weights=[1, 0]).mean == pytest.approx(2 / 3)
    # a group that counts nothing has no say in the test
    assert randomisation_test([small, large], weights=[1, 0]) == randomisation_test([small])


def test_equal_values_have_no_spread() -> None:
    assert estimate([np.full(9, 0.5)]) == Estimate(0.5, 0.5, 0.5)
    assert estimate([np.array([0.5]), np.array([0.25])]) == Estimate(0.375, 0.375, 0.375)
    assert estimate([np.array([0.5]), np.array([0.0, 1.0])]).low == 0.25


@pytest.mark.parametrize("groups", [[], [np.empty(0)], [np.ones(2), np.empty(0)]])
def test_nothing_to_judge_is_refused(groups) -> None:
    for judge in (estimate, randomisation_test):
        with pytest.raises(InputError, match="no values to judge"):
            judge(groups)


def test_the_oracles_agree_on_a_case_by_hand() -> None:
    # all 8 sign patterns of (1, 2, 3): a sum of +-6 in two of them
    assert oracles.sign_test([[1, 2, 3]]) == 2 / 8
    assert len(list(itertools.product((1, -1), repeat=3))) == 8
