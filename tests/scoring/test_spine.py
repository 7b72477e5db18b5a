import math

import numpy as np
import pytest
from sklearn.metrics import log_loss

from medimg.scoring.spine import spine_losses


def test_a_negative_and_a_positive_exam_by_hand():
    target = np.array([[0] * 8, [1, 0, 1, 0, 0, 0, 0, 0]])
    prob = np.array([[0.2, *[0.1] * 7], [0.7, 0.1, 0.6, *[0.1] * 5]])
    negative = (7 * -math.log(0.8) + 7 * -math.log(0.9)) / 14
    positive = (14 * -math.log(0.7) + 2 * -math.log(0.6) + 6 * -math.log(0.9)) / 22
    assert spine_losses(target, prob) == pytest.approx([negative, positive], rel=1e-12)


def test_an_exam_is_a_weighted_log_loss():
    generator = np.random.default_rng(2)
    target, prob = generator.integers(0, 2, (30, 8)), generator.random((30, 8))
    weights = np.where(target, 2, 1) * np.array([7, *[1] * 7])
    expected = [
        log_loss(t, p, sample_weight=w, labels=[0, 1]) for t, p, w in zip(target, prob, weights, strict=True)
    ]
    assert spine_losses(target, prob) == pytest.approx(expected, rel=1e-12)


def test_eight_labels_are_expected():
    with pytest.raises(ValueError, match=r"\(N, 8\) expected"):
        spine_losses(np.zeros((1, 7)), np.zeros((1, 7)))
