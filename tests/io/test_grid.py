import numpy as np
import pytest
from nibabel.orientations import aff2axcodes

from medimg.io.grid import Grid


def test_corner_distance_sees_shift_rotation_and_spacing():
    grid = Grid((11, 11, 11), np.eye(4))
    shifted = np.eye(4)
    shifted[:3, 3] = (3, 4, 0)
    assert grid.corner_distance_mm(Grid((11, 11, 11), shifted)) == pytest.approx(5)
    assert grid.corner_distance_mm(Grid((11, 11, 11), np.diag([1.1, 1, 1, 1]))) == pytest.approx(1.0)
    angle = np.deg2rad(1)
    turned = np.eye(4)
    turned[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    # A chord of twice the sine of half the angle, at the far corner of the plane.
    chord = 2 * np.sin(angle / 2) * np.hypot(10, 10)
    assert grid.corner_distance_mm(Grid((11, 11, 11), turned)) == pytest.approx(chord)
    assert grid.corner_distance_mm(grid) == 0


def test_orientation_is_that_of_nibabel():
    rng = np.random.default_rng(0)
    for _ in range(50):
        matrix, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        affine = np.eye(4)
        affine[:3, :3] = matrix @ np.diag(rng.uniform(0.5, 5, 3))
        assert Grid((4, 4, 4), affine).orientation == "".join(aff2axcodes(affine))


def test_corners_are_voxel_centres():
    corners = Grid((2, 3, 4), np.diag([1.0, 10.0, 100.0, 1.0])).corners_mm()
    assert corners.max(axis=0).tolist() == [3, 20, 100]
    assert corners.min(axis=0).tolist() == [0, 0, 0]
