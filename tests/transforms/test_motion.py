import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from medimg.transforms.motion import Motion, turn_and_scale


def test_turns_against_scipy() -> None:
    degrees, scale = (20.0, -35.0, 70.0), (0.8, 1.1, 1.3)
    expected = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() @ np.diag(scale)
    assert np.allclose(turn_and_scale(degrees, scale), expected)


def test_reach_of_a_crop_is_half_the_patch() -> None:
    assert Motion(None, (0,)).reach((10, 12, 7)) == (5, 6, 3.5)
    assert not Motion(None, (0, 1)).resamples


def test_reach_of_a_quarter_turn_swaps_the_axes() -> None:
    motion = Motion(turn_and_scale((90, 0, 0), (1, 1, 1)), ())
    assert motion.reach((10, 20, 30)) == pytest.approx((6, 16, 11))
