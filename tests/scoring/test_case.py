import math

import numpy as np
import pytest

from medimg.scoring.case import class_scores
from medimg.scoring.empty import METRICS
from medimg.scoring.overlap import dice
from medimg.scoring.surface import hd95, nsd


@pytest.mark.parametrize("definition", ["area", "max"])
def test_equal_to_each_metric_alone(definition):
    pred, target = np.random.default_rng(0).random((2, 6, 7, 8)) > 0.6
    spacing = (3.0, 1.0, 0.5)
    found = class_scores(
        pred,
        target,
        spacing,
        metrics=METRICS,
        empty="brats",
        nsd_tolerance_mm=1.0,
        hd95_definition=definition,
    )
    assert found == {
        "dice": dice(pred, target, empty="brats"),
        "hd95": hd95(pred, target, spacing, empty="brats", definition=definition),
        "nsd": nsd(pred, target, spacing, 1.0, empty="brats"),
    }


def test_empty_masks_follow_the_rule():
    none, some = np.zeros((2, 3, 4), bool), np.ones((2, 3, 4), bool)
    missed = class_scores(none, some, (1, 1, 1), metrics=METRICS, empty="skip", nsd_tolerance_mm=1.0)
    assert missed == {"dice": 0.0, "hd95": pytest.approx(math.sqrt(29)), "nsd": 0.0}
    invented = class_scores(some, none, (1, 1, 1), metrics=METRICS, empty="skip", nsd_tolerance_mm=1.0)
    assert all(math.isnan(value) for value in invented.values())


def test_only_the_metrics_asked_for():
    mask = np.ones((2, 2, 2), bool)
    found = class_scores(mask, mask, (1, 1, 1), metrics=("nsd", "dice"), empty="brats", nsd_tolerance_mm=1.0)
    assert list(found) == ["nsd", "dice"]


def test_the_worst_distance_can_be_that_of_2023():
    none, some = np.zeros((2, 2, 2), bool), np.ones((2, 2, 2), bool)
    found = class_scores(
        some, none, (1, 1, 1), metrics=("hd95",), empty="brats", nsd_tolerance_mm=1.0, brats_worst_mm=374.0
    )
    assert found == {"hd95": 374.0}
