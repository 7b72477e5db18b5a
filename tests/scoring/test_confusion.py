import math

import numpy as np
import pytest
from sklearn import metrics

from medimg.scoring.confusion import (
    confusion_matrix,
    kappa,
    known_classes,
    matrix_accuracy,
    matrix_balanced_accuracy,
    matrix_kappa,
    quadratic_kappa,
)


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.parametrize("absent", [None, 0, 3])
@pytest.mark.parametrize("seed", range(3))
def test_equal_to_scikit_learn(seed, absent):
    generator = np.random.default_rng(seed)
    target, pred = generator.integers(0, 5, (2, 80))
    pred = np.where(generator.random(80) < 0.5, target, pred)
    if absent is not None:  # a class that is predicted but never true
        pred, target = pred[target != absent], target[target != absent]
    labels = list(range(5))
    matrix = confusion_matrix(target, pred, 5)
    np.testing.assert_array_equal(matrix, metrics.confusion_matrix(target, pred, labels=labels))
    expected = metrics.cohen_kappa_score(target, pred, labels=labels)
    assert kappa(target, pred, 5) == pytest.approx(expected)
    expected = metrics.cohen_kappa_score(target, pred, labels=labels, weights="quadratic")
    assert quadratic_kappa(target, pred, 5) == pytest.approx(expected)
    assert float(matrix_accuracy(matrix)) == pytest.approx(metrics.accuracy_score(target, pred))
    expected = metrics.balanced_accuracy_score(target, pred)
    assert float(matrix_balanced_accuracy(matrix)) == pytest.approx(expected)


def test_several_matrices_at_once():
    matrices = np.random.default_rng(0).integers(0, 9, (4, 3, 3)).astype(float)
    matrices[1, 1:] = 0  # one class alone
    matrices[2] = 0
    for score in (matrix_accuracy, matrix_balanced_accuracy, matrix_kappa):
        np.testing.assert_array_equal(score(matrices), [score(matrix) for matrix in matrices])
    np.testing.assert_array_equal(np.isnan(matrix_kappa(matrices)), [False, True, True, False])
    np.testing.assert_array_equal(np.isnan(matrix_accuracy(matrices)), [False, False, True, False])


def test_one_class_or_no_case_is_undefined():
    assert math.isnan(quadratic_kappa([2, 2], [2, 1], 3))
    assert math.isnan(kappa([], [], 3))


def test_the_class_of_a_soft_target_is_its_largest_share():
    known, index = known_classes([[0.2, 0.8], [0.9, 0.1], [math.nan, 0], [0, 0]])
    assert known.tolist() == [True, True, False, False]
    assert index.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("target", "pred", "message"),
    [([0, 3], [0, 1], "0 to 2"), ([0, -1], [0, 1], "0 to 2"), ([0], [0, 1], "shape"), ([0.5], [0], "0 to 2")],
)
def test_what_is_no_class_is_refused(target, pred, message):
    with pytest.raises(ValueError, match=message):
        confusion_matrix(target, pred, 3)
