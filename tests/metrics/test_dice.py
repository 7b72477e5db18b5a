import math

import numpy as np
import pytest
import torch

from medimg.metrics.dice import CaseDice
from medimg.scoring.overlap import dice

SHAPE = (5, 2, 4, 5, 6)  # (B, K, D, H, W)


def masks(seed):
    generator = np.random.default_rng(seed)
    preds, target = (generator.random((2, *SHAPE)) > 0.6).astype(np.int64)
    preds[1, 0] = target[1, 0] = 0  # both empty: left out
    preds[2, 0] = 0  # missed: counts as 0
    target[3, 1] = 0  # invented: counts as 0
    return preds, target


def mean_dice(preds, target, counted, k):
    scores = []
    for pred, truth, valid in zip(preds[:, k], target[:, k], counted[:, k], strict=True):
        pred, truth = pred.astype(bool) & valid, (truth == 1) & valid
        if pred.any() or truth.any():
            scores.append(dice(pred, truth, empty="brats"))
    return np.mean(scores)


@pytest.mark.parametrize("ignored", [False, True])
def test_equal_to_the_mean_of_the_scored_dice(ignored):
    preds, target = masks(0)
    if ignored:
        target[:, :, 2] = 255
    metric = CaseDice(["a", "b"])
    metric.update(torch.from_numpy(preds), torch.from_numpy(target))
    found = metric.compute()
    for k, name in enumerate("ab"):
        assert float(found[name]) == pytest.approx(mean_dice(preds, target, target != 255, k), rel=1e-6)


def test_batches_of_any_size_give_one_number():
    preds, target = (torch.from_numpy(mask) for mask in masks(1))
    whole, parts = CaseDice(["a", "b"]), CaseDice(["a", "b"])
    whole.update(preds, target)
    for part in (slice(0, 1), slice(1, 2), slice(2, 5)):
        parts.update(preds[part], target[part])
    for name, value in whole.compute().items():
        assert float(parts.compute()[name]) == pytest.approx(float(value))


def test_a_class_that_no_case_holds_is_undefined_and_reset_forgets():
    metric = CaseDice(["a"])
    full = torch.ones(1, 1, 2, 2, 2)
    metric.update(full, full)
    assert float(metric.compute()["a"]) == 1.0
    metric.reset()
    metric.update(0 * full, 0 * full)
    assert math.isnan(metric.compute()["a"])
