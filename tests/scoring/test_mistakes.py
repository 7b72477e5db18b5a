import numpy as np
import pytest

from medimg.scoring.mistakes import worst_mistakes

NAN = np.nan


def test_labels_by_distance_of_the_probability():
    target = [[1, 0], [NAN, 1], [0, 1], [1, 1]]
    prob = [[0.1, 0.6], [0.99, 0.3], [0.2, 0.9], [0.45, 0.5]]
    # 0.5 is not called; the unknown label is no mistake, however certain.
    assert worst_mistakes(target, prob, exclusive=False) == [(0, 0), (1, 1), (0, 1), (3, 0), (3, 1)]
    assert worst_mistakes(target, prob, exclusive=False, limit=2) == [(0, 0), (1, 1)]


def test_classes_by_the_probability_of_the_true_one():
    target = np.eye(3)[[0, 1, 2, 2]]
    target[3] = NAN
    prob = [[0.3, 0.6, 0.1], [0.1, 0.8, 0.1], [0.5, 0.45, 0.05], [0.9, 0.1, 0.0]]
    assert worst_mistakes(target, prob, exclusive=True) == [(2, 0), (0, 1)]


def test_no_mistakes_and_bad_shapes():
    assert worst_mistakes([[1]], [[0.9]], exclusive=False) == []
    with pytest.raises(ValueError, match="N, K"):
        worst_mistakes([1], [0.9], exclusive=False)
