import numpy as np
import pytest
from sklearn import metrics

from medimg.scoring import label_bootstrap
from medimg.scoring.calibration import expected_calibration_error
from medimg.scoring.classification import sensitivity_at_specificity
from medimg.scoring.label_bootstrap import (
    ClassScores,
    LabelScores,
    PatientDraws,
    interval_of,
    resample_scores,
)
from medimg.scoring.probabilistic_f1 import probabilistic_f1


@pytest.fixture
def cases():
    generator = np.random.default_rng(0)
    positive = generator.random(50) < 0.4
    prob = (0.6 * generator.random(50) + 0.4 * positive).round(1)
    return positive, prob, generator.random(50) < 0.9, [f"p{i // 3}" for i in range(50)]


def test_every_resample_equals_the_score_of_the_repeated_cases(cases):
    """The sums over patients and the sorted order give what scoring each resample from scratch gives."""
    positive, prob, known, patients = cases
    draws = PatientDraws(patients, resamples=6, seed=1)
    found, _ = resample_scores(
        draws, [LabelScores(draws, positive, prob, prob > 0.5, known, specificity=0.8)], None
    )
    times = np.concatenate(list(draws.chunks()), axis=1)
    assert (times.sum(axis=0) == draws.n_patients).all()
    for r, column in enumerate(times.T.astype(int)):
        taken = np.repeat(np.arange(50), np.where(known, column[draws.patient], 0))
        truth, shown = positive[taken].astype(float), prob[taken]
        expected = {
            "auroc": metrics.roc_auc_score(truth, shown),
            "average_precision": metrics.average_precision_score(truth, shown),
            "sensitivity": sensitivity_at_specificity(truth, shown, 0.8),
            "f1": metrics.f1_score(truth, shown > 0.5),
            "accuracy": metrics.accuracy_score(truth, shown > 0.5),
            "balanced_accuracy": metrics.balanced_accuracy_score(truth, shown > 0.5),
            "kappa": metrics.cohen_kappa_score(truth, shown > 0.5),
            "brier": metrics.brier_score_loss(truth, shown),
            "ece": expected_calibration_error(truth, shown),
            "pf1": probabilistic_f1(truth, shown),
        }
        assert {name: values[0, r] for name, values in found.items()} == pytest.approx(expected, abs=1e-12)


def test_classes_together_equal_the_score_of_the_repeated_cases(cases):
    _, _, known, patients = cases
    generator = np.random.default_rng(2)
    prob, index = generator.dirichlet(np.ones(3), 50), generator.integers(0, 3, 50)
    draws = PatientDraws(patients, resamples=4, seed=0)
    labels = [
        LabelScores(draws, index == k, prob[:, k], prob.argmax(1) == k, known, specificity=0.8)
        for k in range(3)
    ]
    classes = ClassScores(draws, index, prob, known, ordinal=True)
    _, found = resample_scores(draws, labels, classes)
    times = np.concatenate(list(draws.chunks()), axis=1)
    for r, column in enumerate(times.T.astype(int)):
        taken = np.repeat(np.arange(50), np.where(known, column[draws.patient], 0))
        truth, called = index[taken], prob[taken].argmax(1)
        assert found["accuracy"][r] == pytest.approx(metrics.accuracy_score(truth, called))
        assert found["balanced_accuracy"][r] == pytest.approx(metrics.balanced_accuracy_score(truth, called))
        expected = metrics.cohen_kappa_score(truth, called, weights="quadratic")
        assert found["quadratic_kappa"][r] == pytest.approx(expected)


def test_parts_give_the_same_draws_as_the_whole(cases, monkeypatch):
    draws = PatientDraws(cases[3], resamples=20, seed=3)
    whole = list(draws.chunks())
    monkeypatch.setattr(label_bootstrap, "_WEIGHTS_AT_ONCE", 50 * 4)
    parts = list(draws.chunks())
    assert (len(whole), len(parts)) == (1, 6)
    np.testing.assert_array_equal(whole[0], np.concatenate(parts, axis=1))
    assert (whole[0][:, 0] == 1).all()
    assert (whole[0][:, 1:] != 1).any(axis=0).all()


def test_undefined_draws_take_no_part_and_an_undefined_score_has_no_interval():
    assert interval_of(np.array([0.5, np.nan, np.nan]), 0.95)[0] == 0.5
    np.testing.assert_array_equal(interval_of(np.array([0.5, np.nan]), 0.95), [0.5, np.nan, np.nan])
    np.testing.assert_array_equal(interval_of(np.array([np.nan, 0.5]), 0.95), [np.nan] * 3)
