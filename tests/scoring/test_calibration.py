import math

import numpy as np
import pytest
from sklearn import metrics
from sklearn.calibration import calibration_curve

from medimg.scoring.calibration import (
    bin_of,
    brier_score,
    expected_calibration_error,
    log_loss,
    multiclass_brier_score,
    multiclass_calibration_error,
    multiclass_log_loss,
    reliability_points,
)

NAN = math.nan


def label(seed, n=300):
    generator = np.random.default_rng(seed)
    prob = generator.random(n).round(2)  # some lie on an edge between bins
    prob[:3] = 0, 1, 0.5
    target = (generator.random(n) < prob**2).astype(float)
    target[generator.random(n) < 0.2] = NAN
    return target, prob


@pytest.mark.parametrize("bins", [1, 5, 10, 15])
@pytest.mark.parametrize("seed", range(3))
def test_binary_error_from_scikit_learns_reliability_curve(seed, bins):
    target, prob = label(seed)
    known = ~np.isnan(target)
    share, mean = calibration_curve(target[known], prob[known], n_bins=bins)
    x, y, count = reliability_points(target, prob, bins)
    np.testing.assert_allclose(x, mean)
    np.testing.assert_allclose(y, share)
    assert count.sum() == known.sum()
    expected = np.sum(np.abs(share - mean) * count) / count.sum()
    assert expected_calibration_error(target, prob, bins) == pytest.approx(expected)


def test_brier_is_scikit_learns():
    target, prob = label(5)
    known = ~np.isnan(target)
    expected = metrics.brier_score_loss(target[known], prob[known])
    assert brier_score(target, prob) == pytest.approx(expected)


def test_multiclass_error_is_that_of_confidence_and_rightness():
    generator = np.random.default_rng(0)
    prob = generator.dirichlet(np.ones(4), 200)
    index = generator.integers(0, 4, 200)
    hot = np.eye(4)[index]
    hot[:20, 1] = NAN
    confidence, right = prob.max(1)[20:], (prob.argmax(1) == index)[20:]
    share, mean = calibration_curve(right, confidence, n_bins=15)
    held = np.unique(np.searchsorted(np.linspace(0, 1, 16)[1:-1], confidence), return_counts=True)[1]
    assert multiclass_calibration_error(hot, prob) == pytest.approx(np.sum(np.abs(share - mean) * held) / 180)
    squares = ((prob - np.eye(4)[index]) ** 2).sum(1)[20:].mean()
    assert multiclass_brier_score(hot, prob) == pytest.approx(squares)


def test_true_probabilities_have_little_error_and_doubled_ones_more():
    generator = np.random.default_rng(1)
    prob = 0.5 * generator.random(20_000)
    target = (generator.random(20_000) < prob).astype(float)
    assert expected_calibration_error(target, prob) < 0.02
    assert expected_calibration_error(target, 2 * prob) == pytest.approx(0.25, abs=0.02)


def test_undefined_where_there_is_nothing_to_judge():
    assert math.isnan(expected_calibration_error([1, NAN], [0.3, 0.2]))
    assert math.isnan(expected_calibration_error([0, 0], [0.3, 0.2]))
    assert math.isnan(expected_calibration_error([], []))
    assert math.isnan(brier_score([NAN], [0.3]))
    assert math.isnan(multiclass_calibration_error([[NAN, 1]], [[0.5, 0.5]]))
    assert math.isnan(multiclass_brier_score([[NAN, 1]], [[0.5, 0.5]]))
    assert brier_score([0], [0.5]) == 0.25


def test_logits_and_bad_shapes_are_refused():
    with pytest.raises(ValueError, match=r"found -2 to 3\. Apply the sigmoid"):
        expected_calibration_error([1, 0], [3.0, -2.0])
    with pytest.raises(ValueError, match="N, K"):
        multiclass_calibration_error([1, 0], [0.5, 0.5])
    with pytest.raises(ValueError, match="one bin"):
        bin_of(np.array([0.5]), 0)


@pytest.mark.parametrize("seed", range(3))
def test_log_loss_is_scikit_learns_with_certain_predictions_too(seed):
    target, prob = label(seed)  # some of which are 0 and 1
    known = ~np.isnan(target)
    assert log_loss(target, prob) == pytest.approx(metrics.log_loss(target[known], prob[known]))
    assert log_loss([1, 0], [0.0, 1.0]) == pytest.approx(metrics.log_loss([1, 0], [0.0, 1.0]))
    generator = np.random.default_rng(seed)
    shares, classes = generator.dirichlet(np.ones(4), 50), generator.integers(0, 4, 50)
    hot = np.eye(4)[classes]
    hot[:5, 1] = NAN
    expected = metrics.log_loss(classes[5:], shares[5:], labels=range(4))
    assert multiclass_log_loss(hot, shares) == pytest.approx(expected)
    assert math.isnan(log_loss([NAN], [0.5])) and math.isnan(multiclass_log_loss(hot[:5], shares[:5]))
