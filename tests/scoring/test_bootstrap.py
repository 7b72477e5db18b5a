import math

import numpy as np
import pytest

from medimg.scoring.bootstrap import class_mean_interval, mean_interval


def test_undefined_values_are_left_out_and_counted():
    interval = mean_interval([1.0, math.nan, 2.0, math.nan, 6.0])
    assert (interval.mean, interval.n, interval.n_left_out) == (3.0, 3, 2)
    assert interval.low <= interval.mean <= interval.high


def test_same_seed_same_interval():
    values = np.random.default_rng(0).normal(size=30)
    assert mean_interval(values, seed=4) == mean_interval(values, seed=4)
    assert mean_interval(values, seed=4) != mean_interval(values, seed=5)


def test_agrees_with_scipy():
    from scipy.stats import bootstrap

    values = np.random.default_rng(1).normal(0.8, 0.1, size=60)
    ours = mean_interval(values, resamples=20_000)
    theirs = bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=1).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-3)


def test_patients_are_drawn_whole():
    # Ten copies of each patient's value say no more than one, so the interval must not shrink.
    generator = np.random.default_rng(2)
    patients = generator.normal(size=12)
    values, groups = np.repeat(patients, 10), [f"p{i}" for i in range(12) for _ in range(10)]
    alone = mean_interval(patients, resamples=4000)
    grouped = mean_interval(values, groups=groups, resamples=4000)
    naive = mean_interval(values, resamples=4000)
    assert grouped.high - grouped.low == pytest.approx(alone.high - alone.low, rel=0.1)
    assert naive.high - naive.low < 0.5 * (grouped.high - grouped.low)
    assert grouped.n == 120


def test_a_patients_number_of_cases_weighs_in_the_mean():
    interval = mean_interval([0.0, 0.0, 0.0, 1.0], groups=["a", "a", "a", "b"])
    assert interval.mean == 0.25
    assert (interval.low, interval.high) == (0.0, 1.0)


def test_one_value_and_no_value():
    assert mean_interval([0.5]).low == mean_interval([0.5]).high == 0.5
    nothing = mean_interval([math.nan, math.nan])
    assert math.isnan(nothing.mean)
    assert (nothing.n, nothing.n_left_out) == (0, 2)
    assert mean_interval([]).n == 0


def test_wider_level_wider_interval():
    values = np.random.default_rng(3).normal(size=40)
    narrow, wide = mean_interval(values, level=0.5), mean_interval(values, level=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_mean_over_classes_is_the_mean_of_class_means():
    values = [[1.0, math.nan], [0.5, 0.2], [math.nan, math.nan]]
    interval = class_mean_interval(values)
    assert interval.mean == pytest.approx((0.75 + 0.2) / 2)
    assert (interval.n, interval.n_left_out) == (2, 1)
    assert class_mean_interval([[0.4, math.nan]]).mean == pytest.approx(0.4)


def test_many_patients_are_drawn_in_parts():
    values = np.random.default_rng(4).random(30_000)
    interval = mean_interval(values, resamples=300)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * values.std() / math.sqrt(30_000), rel=0.2)


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="one group for each"):
        mean_interval([1.0, 2.0], groups=["a"])
    with pytest.raises(ValueError, match="level"):
        mean_interval([1.0], level=1.0)
    with pytest.raises(ValueError, match=r"shape \(N,\)"):
        mean_interval([[1.0]])
