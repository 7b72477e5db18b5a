import math

import numpy as np
import pytest
from scipy.special import expit, logit, softmax
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from medimg.ensembling.calibrators import (
    Isotonic,
    Platt,
    Temperature,
    apply_labels,
    fit_isotonic,
    fit_joint_temperature,
    fit_labels,
    fit_platt,
    fit_temperature,
)
from medimg.errors import DataError
from medimg.scoring.calibration import log_loss, multiclass_log_loss

FITS = [fit_temperature, fit_platt, fit_isotonic]


def sample(n=400, sharpness=1.0, seed=0, decimals=9):
    """Targets drawn from the true probabilities, and probabilities of a model that is too sure."""
    rng = np.random.default_rng(seed)
    z = rng.normal(-0.5, 1.5, n)
    return (rng.random(n) < expit(z)).astype(float), expit(sharpness * z).round(decimals)


def classes(n=3000, sharpness=1.0, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 1.5, (n, 4))
    drawn = (rng.random((n, 1)) > softmax(z, axis=1).cumsum(axis=1)).sum(axis=1).clip(max=3)
    return np.eye(4)[drawn], softmax(sharpness * z, axis=1)


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_the_temperature_is_the_slope_of_a_logistic_regression(sharpness):
    target, prob = sample(sharpness=sharpness)
    peer = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-12).fit(logit(prob)[:, None], target)
    found = fit_temperature(target, prob)
    assert 1 / found.temperature == pytest.approx(peer.coef_[0, 0], rel=1e-6)
    np.testing.assert_allclose(found.apply(prob), peer.predict_proba(logit(prob)[:, None])[:, 1], atol=1e-6)


def test_a_calibrated_sample_has_temperature_one():
    assert fit_temperature(*sample(n=20000)).temperature == pytest.approx(1, abs=0.05)
    assert fit_joint_temperature(*classes(n=10000)).temperature == pytest.approx(1, abs=0.05)


def test_a_joint_temperature_has_the_least_log_loss():
    target, prob = classes(sharpness=2.5)
    target[:50, 1] = math.nan
    found = fit_joint_temperature(target, prob)
    assert found.temperature == pytest.approx(2.5, rel=0.1)
    losses = {t: multiclass_log_loss(target, Temperature(t).apply_classes(prob)) for t in (0.999, 1, 1.001)}
    best = multiclass_log_loss(target, found.apply_classes(prob))
    for factor in (0.999, 1.001):
        moved = Temperature(found.temperature * factor).apply_classes(prob)
        assert best < multiclass_log_loss(target, moved)
    assert best < min(losses.values())
    np.testing.assert_allclose(found.apply_classes(prob).sum(axis=1), 1)


def test_platt_is_a_logistic_regression_on_smoothed_targets():
    target, prob = sample(n=60, sharpness=2)
    n_positive, n_negative = target.sum(), (1 - target).sum()
    goal = np.where(target == 1, (n_positive + 1) / (n_positive + 2), 1 / (n_negative + 2))
    twice = np.tile(logit(prob)[:, None], (2, 1))  # each case once as positive and once as negative
    weights = np.concatenate([goal, 1 - goal])
    truth = np.repeat([1, 0], len(target))
    peer = LogisticRegression(C=np.inf, tol=1e-12, max_iter=1000).fit(twice, truth, sample_weight=weights)
    found = fit_platt(target, prob)
    assert (found.a, found.b) == pytest.approx((peer.coef_[0, 0], peer.intercept_[0]), rel=1e-5)


class Logits:
    """A classifier of scikit-learn that is trained already: its one feature is the logit."""

    classes_ = np.array([0, 1])

    def fit(self, x, y):
        return self

    def decision_function(self, x):
        return x[:, 0]

    def predict(self, x):
        return (x[:, 0] > 0).astype(int)

    def __sklearn_is_fitted__(self):
        return True

    def __sklearn_tags__(self):
        return LogisticRegression().__sklearn_tags__()


def test_platt_equals_scikit_learns_sigmoid_calibration():
    target, prob = sample(n=150, sharpness=3)
    x = logit(prob)[:, None]
    peer = CalibratedClassifierCV(FrozenEstimator(Logits()), method="sigmoid", cv=2, ensemble=False)
    peer.fit(x, target)
    # Its own optimiser stops earlier than ours.
    np.testing.assert_allclose(fit_platt(target, prob).apply(prob), peer.predict_proba(x)[:, 1], atol=1e-4)


@pytest.mark.parametrize("decimals", [1, 2, 9])
def test_isotonic_equals_scikit_learns_within_laplaces_bounds(decimals):
    target, prob = sample(n=80, decimals=decimals)
    bound = 1 / (len(target) + 2)
    peer = IsotonicRegression(y_min=bound, y_max=1 - bound, out_of_bounds="clip").fit(prob, target)
    asked = np.linspace(0, 1, 501)
    np.testing.assert_allclose(fit_isotonic(target, prob).apply(asked), peer.predict(asked), atol=1e-6)


@pytest.mark.parametrize("decimals", [1, 3, 9])
@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_cases_stays(fit, seed, decimals):
    target, prob = sample(n=60, seed=seed, decimals=decimals, sharpness=2)
    target[:5] = math.nan
    found = fit(target, prob)
    rising = np.unique(prob)  # ties stay ties
    steps = np.diff(found.apply(rising))
    assert (steps >= 0).all() if isinstance(found, Isotonic) else (steps > 0).all()
    again = found.apply(prob)
    assert again.min() >= 0 and again.max() <= 1
    assert log_loss(target, again) < log_loss(target, expit(2 * logit(prob.clip(1e-3, 1 - 1e-3))))


@pytest.mark.parametrize("fit", FITS)
def test_saturated_probabilities_do_not_run_away(fit):
    target, prob = sample(n=100)
    prob[:4], target[:4] = (0, 1, 0, 1), (1, 0, 0, 1)
    calibrated = fit(target, prob).apply([0.0, 1.0])
    assert np.isfinite(calibrated).all()
    assert 0 < calibrated[0] < calibrated[1] < 1


UNFIT = [
    ([0, 0, math.nan], [0.1, 0.2, 0.9], "found 0 positive and 2 negative ones"),
    ([1, math.nan], [0.1, 0.2], "found 1 positive and 0 negative ones"),
    ([math.nan], [0.1], "found 0 positive and 0 negative ones"),
    ([1, 0], [0.5, 0.5], "the same probability"),
    ([0, 0, 1, 1], [0.9, 0.8, 0.2, 0.1], "do not go with more positive"),
]


@pytest.mark.parametrize(("target", "prob", "said"), UNFIT)
@pytest.mark.parametrize("fit", FITS)
def test_what_no_map_can_be_fitted_to_is_refused(fit, target, prob, said):
    with pytest.raises(DataError, match=said):
        fit(target, prob)


def test_without_errors_there_is_no_temperature():
    with pytest.raises(DataError, match="no case is on the wrong side"):
        fit_temperature([0, 0, 1, 1], [0.1, 0.2, 0.7, 0.9])
    with pytest.raises(DataError, match="no case is on the wrong side"):
        fit_joint_temperature(np.eye(2), [[0.9, 0.1], [0.2, 0.8]])
    with pytest.raises(DataError, match="two classes are needed, found 2 of 1"):
        fit_joint_temperature([[1, 0], [1, 0]], [[0.9, 0.1], [0.2, 0.8]])


@pytest.mark.parametrize("method", ["temperature", "platt", "isotonic"])
@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_labels_are_fitted_one_by_one_and_classes_add_up_to_one(method, task):
    target, prob = classes(n=300, sharpness=3)
    labels = ("a", "b", "c", "d")
    maps, reasons = fit_labels(method, task, labels, target, prob)
    assert (set(maps), reasons) == (set(labels), {})
    calibrated = apply_labels(maps, task, labels, prob)
    if task == "multiclass":
        np.testing.assert_allclose(calibrated.sum(axis=1), 1)
    else:
        np.testing.assert_array_equal(calibrated[:, 2], maps["c"].apply(prob[:, 2]))
    assert multiclass_log_loss(target, calibrated) < multiclass_log_loss(target, prob)


def test_a_label_without_a_map_stays_as_it_is():
    target, prob = classes(n=100)
    target[:, 1] = 0
    maps, reasons = fit_labels("platt", "multilabel", "abcd", target, prob)
    assert set(maps) == {"a", "c", "d"}
    assert reasons == {
        "b": "cases with and without the label are needed, found 0 positive and 100 negative ones"
    }
    np.testing.assert_array_equal(apply_labels(maps, "multilabel", "abcd", prob)[:, 1], prob[:, 1])


@pytest.mark.parametrize(
    ("made", "values"),
    [
        (Temperature, (0.0,)),
        (Temperature, (math.nan,)),
        (Platt, (-1.0, 0.0)),
        (Platt, (1.0, math.inf)),
        (Isotonic, ((0.2, 0.1), (0.0, 1.0))),
        (Isotonic, ((0.1, 0.2), (0.5, 0.4))),
        (Isotonic, ((0.1, 1.2), (0.5, 0.6))),
        (Isotonic, ((), ())),
    ],
)
def test_a_map_that_would_turn_cases_round_is_refused(made, values):
    with pytest.raises(ValueError, match="expected"):
        made(*values)
