import math

import numpy as np
import pytest
from scipy.spatial.distance import directed_hausdorff

from medimg.scoring.gi_tract import scaled_hausdorff, uw_madison_score


@pytest.mark.parametrize("seed", range(4))
def test_distance_is_that_of_all_voxels_in_the_unit_cube(seed):
    generator = np.random.default_rng(seed)
    shape = (6, 20, 14)
    pred, target = np.zeros(shape, bool), np.zeros(shape, bool)
    for mask in (pred, target):  # blobs with holes, some at the rim
        d, h, w = generator.integers(0, (4, 12, 8))
        mask[d : d + 3, h : h + 8, w : w + 6] = generator.random((3, 8, 6))[: 6 - d] > 0.2
    one, other = np.argwhere(pred) / shape, np.argwhere(target) / shape
    expected = max(directed_hausdorff(one, other)[0], directed_hausdorff(other, one)[0]) / math.sqrt(3)
    assert scaled_hausdorff(pred, target) == pytest.approx(expected, rel=1e-12)


def test_empty_masks():
    some, none = np.ones((2, 2, 2), bool), np.zeros((2, 2, 2), bool)
    assert scaled_hausdorff(some, none) == scaled_hausdorff(none, some) == 1.0
    assert math.isnan(scaled_hausdorff(none, none))
    assert scaled_hausdorff(some, some) == 0.0


def test_the_parts_are_weighed():
    assert uw_madison_score(1.0, 1.0) == pytest.approx(0.4)
    assert uw_madison_score(0.0, 0.0) == pytest.approx(0.6)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="one grid"):
        scaled_hausdorff(np.ones((2, 2, 2), bool), np.ones((2, 2, 3), bool))
