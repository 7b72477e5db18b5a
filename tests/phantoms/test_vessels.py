import numpy as np
import pytest

from medimg.phantoms import vessels
from medimg.phantoms.anatomy import build_anatomy
from medimg.phantoms.fields import Frame

_FRAME = Frame.fit((48, 60, 52), (1.0, 1.0, 1.0))


@pytest.fixture(scope="module")
def hull():
    return build_anatomy(np.random.default_rng(0)).hull


def test_painting_agrees_with_the_distance_to_every_point():
    path = np.array([[0.0, 0.0, 0.0], [6.0, 3.0, -2.0], [40.0, -50.0, 30.0]])
    radius = 4.0
    shape = tuple(axis.size for axis in _FRAME.axes)
    painted = np.full(shape, np.float32(1e3))
    vessels._paint(painted, path, radius, _FRAME)
    grid = np.stack(np.meshgrid(*_FRAME.axes, indexing="ij"), -1)
    brute = np.linalg.norm(grid[..., None, :] - path, axis=-1).min(-1) - radius
    close = brute < _FRAME.voxel_mm  # what partial volume looks at
    assert close.sum() > 50
    np.testing.assert_allclose(painted[close], brute[close], atol=1e-3)
    assert (painted[~close] >= _FRAME.voxel_mm - 1e-3).all()


def test_resampling_keeps_the_course_and_the_step():
    path = np.array([[0.0, 0, 0], [0, 10, 0], [0, 10, 7]])
    points = vessels._resample(path, 0.5)
    np.testing.assert_allclose(np.linalg.norm(np.diff(points, axis=0), axis=1), 0.5, atol=1e-6)
    np.testing.assert_allclose(points[20], (0, 10, 0), atol=1e-6)


def test_surface_points_lie_at_the_asked_depth(hull):
    directions = vessels._arc(np.linspace(20, 160, 30), 0.0)
    points = vessels._on_surface(hull, directions, 5.0)
    deeper = vessels._on_surface(hull, directions, 15.0)
    inward = np.linalg.norm(points, axis=1) - np.linalg.norm(deeper, axis=1)
    assert (inward > 5).all()
    assert np.median(np.linalg.norm(points, axis=1)) > 45


def test_vessels_fill_a_small_part_of_the_brain_and_follow_the_seed(hull):
    first, again = (vessels.draw_vessels(np.random.default_rng(3), hull, _FRAME) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    inside = _FRAME.sample(hull) < 0
    part = ((first < 0) & inside).sum() / inside.sum()
    assert 0.005 < part < 0.08
