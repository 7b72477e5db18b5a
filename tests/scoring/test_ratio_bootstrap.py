import math

import numpy as np
import pytest

from medimg.scoring.bootstrap import mean_interval
from medimg.scoring.ratio_bootstrap import ratio_interval

GENERATOR = np.random.default_rng(4)


def test_with_equal_weights_it_is_a_mean_with_its_interval():
    values = GENERATOR.random(200)
    groups = [f"p{number // 4}" for number in range(200)]
    found = ratio_interval([(values, np.ones(200))], groups=groups, resamples=4000)
    expected = mean_interval(values, groups=groups, resamples=4000)
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(expected.low, abs=0.003)
    assert found.high == pytest.approx(expected.high, abs=0.003)
    assert (found.n, found.n_left_out) == (200, 0)


def test_several_quotients_and_cases_that_take_no_part():
    one = (np.array([1.0, 1.0, 0.0]), np.array([1.0, 3.0, 0.0]))  # 2 / 4
    other = (np.array([0.0, 4.0, 0.0]), np.array([0.0, 5.0, 0.0]))  # 4 / 5
    found = ratio_interval([one, other], shares=(0.4, 0.6), groups=["p", "q", "r"])
    assert found.mean == pytest.approx(0.4 * 0.5 + 0.6 * 0.8)
    assert (found.n, found.n_left_out) == (2, 1)


def test_cases_of_one_patient_stay_together():
    values = np.array([0.0, 1.0])
    same = ratio_interval([(values, np.ones(2))], groups=["p", "p"])
    apart = ratio_interval([(values, np.ones(2))], groups=["p", "q"])
    assert (same.low, same.high) == (0.5, 0.5)
    assert (apart.low, apart.high) == (0.0, 1.0)


def test_nothing_to_divide_by_is_undefined():
    found = ratio_interval([(np.zeros(2), np.zeros(2))], groups=["p", "q"])
    assert math.isnan(found.mean)
    assert (found.n, found.n_left_out) == (0, 2)


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="one share for each part"):
        ratio_interval([(np.ones(2), np.ones(2))], groups=["p"])
