import math
import time

import numpy as np
import pytest
from sklearn import metrics

from medimg.scoring.classification import (
    accuracy,
    auroc,
    average_precision,
    balanced_accuracy,
    counts_at,
    f1,
    label_mean,
    per_label,
    precision_recall_points,
    roc_points,
    sensitivity_at_specificity,
)

NAN = math.nan


def label(kind, seed, n=60):
    """Targets with unknown ones among them, and scores: separate, tied, or all alike."""
    generator = np.random.default_rng(seed)
    target = (generator.random(n) < 0.35).astype(float)
    target[generator.random(n) < 0.2] = NAN
    score = 0.7 * generator.random(n) + 0.3 * np.nan_to_num(target)
    if kind == "tied":
        score = score.round(1)
    if kind == "constant":
        score = np.full(n, 0.25)
    if kind == "hopeless":
        score = -score
    return target, score


GRID = [(kind, seed) for kind in ("smooth", "tied", "constant", "hopeless") for seed in range(3)]


@pytest.mark.parametrize(("kind", "seed"), GRID)
def test_equal_to_scikit_learn_on_the_known_cases(kind, seed):
    target, score = label(kind, seed)
    known = ~np.isnan(target)
    truth, shown, called = target[known], score[known], score[known] > 0.4
    assert auroc(target, score) == pytest.approx(metrics.roc_auc_score(truth, shown), abs=1e-12)
    expected = metrics.average_precision_score(truth, shown)
    assert average_precision(target, score) == pytest.approx(expected, abs=1e-12)
    assert f1(target, score, 0.4) == pytest.approx(metrics.f1_score(truth, called, zero_division=0))
    assert accuracy(target, score, 0.4) == pytest.approx(metrics.accuracy_score(truth, called))
    found = balanced_accuracy(target, score, 0.4)
    assert found == pytest.approx(metrics.balanced_accuracy_score(truth, called))
    kappa = counts_at(target, score, 0.4).kappa()
    assert float(kappa) == pytest.approx(metrics.cohen_kappa_score(truth, called), abs=1e-12)
    fpr, tpr, _ = metrics.roc_curve(truth, shown, drop_intermediate=False)
    for specificity in (0.0, 0.5, 0.9, 1.0):
        best = tpr[fpr <= 1 - specificity + 1e-9].max()
        assert sensitivity_at_specificity(target, score, specificity) == pytest.approx(best)


@pytest.mark.parametrize(("kind", "seed"), GRID)
def test_the_curves_are_scikit_learns(kind, seed):
    target, score = label(kind, seed)
    known = ~np.isnan(target)
    fpr, tpr, _ = metrics.roc_curve(target[known], score[known], drop_intermediate=False)
    np.testing.assert_allclose(roc_points(target, score), (fpr, tpr))
    precision, recall, _ = metrics.precision_recall_curve(target[known], score[known])
    np.testing.assert_allclose(precision_recall_points(target, score), (recall[::-1], precision[::-1]))


@pytest.mark.parametrize(
    "target", [[], [1.0], [0.0], [NAN], [1, 1, 1], [0, 0, 0], [NAN, NAN, 1], [0, NAN, NAN]]
)
def test_a_label_without_both_classes_is_undefined(target):
    score = [0.9, 0.2, 0.6][: len(target)]
    for metric in (auroc, average_precision, f1, balanced_accuracy):
        assert math.isnan(metric(target, score)), metric
    assert math.isnan(sensitivity_at_specificity(target, score, 0.9))
    assert [part.size for part in (*roc_points(target, score), *precision_recall_points(target, score))] == [
        0, 0, 0, 0,
    ]  # fmt: skip


def test_accuracy_needs_one_known_case():
    assert math.isnan(accuracy([NAN], [0.3]))
    assert accuracy([0, 0], [0.3, 0.7]) == 0.5


def test_a_probability_at_the_threshold_is_not_called():
    assert accuracy([1, 0], [0.5, 0.5]) == 0.5
    assert f1([1, 0], [0.5, 0.1]) == 0  # both classes are there: nothing found is 0, not undefined


def test_the_mean_leaves_out_undefined_labels_and_counts_them():
    """The second label is never positive: counted as 0 it would drag the mean to 0.56."""
    target = np.array([[1, 0, 1], [0, 0, 0], [1, 0, 1], [0, 0, NAN]])
    score = np.array([[0.9, 0.5, 0.3], [0.6, 0.4, 0.5], [0.7, 0.3, 0.6], [0.1, 0.2, 0.9]])
    values = per_label(auroc, target, score)
    np.testing.assert_array_equal(np.isnan(values), [False, True, False])
    mean = label_mean(values)
    assert mean.mean == pytest.approx((1.0 + 0.5) / 2)
    assert (mean.n, mean.n_left_out) == (2, 1)
    nothing = label_mean([NAN, NAN])
    assert math.isnan(nothing.mean)
    assert (nothing.n, nothing.n_left_out) == (0, 2)


@pytest.mark.parametrize(
    ("target", "score", "message"),
    [
        ([1, 0], [0.5], "one shape"),
        ([1, -1], [0.5, 0.2], "0, 1 or NaN .unknown. expected, found -1"),
        ([1, 0], [NAN, 0.2], "1 times NaN"),
        ([[1, 0]], [[0.5, 0.2]], "one shape"),
    ],
)
def test_what_cannot_be_scored_is_refused(target, score, message):
    with pytest.raises(ValueError, match=message):
        auroc(target, score)


def test_other_refusals():
    with pytest.raises(ValueError, match="specificity in"):
        sensitivity_at_specificity([1, 0], [0.5, 0.2], 90)
    with pytest.raises(ValueError, match="N, K"):
        per_label(auroc, [1, 0], [0.5, 0.2])
    assert auroc([1, 0, NAN], [0.7, 0.2, NAN]) == 1  # an unknown case needs no score


def test_fifty_thousand_cases_of_fourteen_labels_take_less_than_a_second():
    generator = np.random.default_rng(0)
    target = (generator.random((50_000, 14)) < 0.1).astype(float)
    score = generator.random(target.shape)
    start = time.process_time()
    per_label(auroc, target, score)
    assert time.process_time() - start < 1
