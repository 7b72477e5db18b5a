import math

import numpy as np
import pytest

from medimg.scoring.overlap import dice


def test_hand_worked_value():
    pred, target = np.zeros((2, 3, 4), bool), np.zeros((2, 3, 4), bool)
    pred[0, 0, :] = True  # 4 voxels
    target[0, :, 0] = True  # 3 voxels, 1 in common
    assert dice(pred, target, empty="brats") == pytest.approx(2 / 7)


def test_agrees_with_scikit_learn_f1():
    from sklearn.metrics import f1_score

    generator = np.random.default_rng(3)
    for share in (0.05, 0.5, 0.9):
        pred, target = (generator.random((2, 5, 6, 7)) < share).astype(bool)
        assert dice(pred, target, empty="brats") == pytest.approx(f1_score(target.ravel(), pred.ravel()))


@pytest.mark.parametrize(
    ("rule", "both", "only_pred", "only_target"),
    [("brats", 1, 0, 0), ("one", 1, 0, 0), ("skip", math.nan, math.nan, 0)],
)
def test_empty_masks(rule, both, only_pred, only_target):
    none, some = np.zeros((2, 2, 2), bool), np.ones((2, 2, 2), bool)
    assert dice(none, none, empty=rule) == pytest.approx(both, nan_ok=True)
    assert dice(some, none, empty=rule) == pytest.approx(only_pred, nan_ok=True)
    assert dice(none, some, empty=rule) == only_target


def test_masks_of_two_shapes_are_refused():
    with pytest.raises(ValueError, match="one grid"):
        dice(np.ones((2, 2, 2), bool), np.ones((2, 2, 3), bool), empty="brats")
