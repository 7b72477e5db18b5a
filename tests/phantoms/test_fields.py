import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

from medimg.phantoms.fields import (
    HEAD_MM,
    LATTICE_AXES,
    LATTICE_SHAPE,
    Frame,
    blend,
    ellipsoid,
    fraction,
    interpolate,
    lattice_points,
    smooth_noise,
    tube,
)


def test_interpolation_agrees_with_scipy():
    rng = np.random.default_rng(0)
    axes = [np.linspace(-3, 5, n).astype(np.float32) for n in (5, 7, 6)]
    values = rng.normal(size=(5, 7, 6)).astype(np.float32)
    targets = [np.sort(rng.uniform(-3, 5, n)).astype(np.float32) for n in (9, 4, 11)]
    expected = RegularGridInterpolator(axes, values)(np.stack(np.meshgrid(*targets, indexing="ij"), -1))
    np.testing.assert_allclose(interpolate(values, axes, targets), expected, atol=1e-5)


def test_interpolation_keeps_the_edge_beyond_the_grid():
    line = np.arange(3, dtype=np.float32)
    values = np.broadcast_to(line[:, None, None], (3, 3, 3))
    ends = interpolate(values, [line] * 3, [np.float32([-9, 9]), line, line])
    assert (ends[0] == 0).all()
    assert (ends[1] == 2).all()


def test_a_sphere_has_its_exact_distance():
    z, y, x = lattice_points()
    exact = np.sqrt((z - 3) ** 2 + (y + 5) ** 2 + x**2) - 20
    near = np.abs(exact) < 15
    np.testing.assert_allclose(ellipsoid((z, y, x), (3, -5, 0), (20, 20, 20))[near], exact[near], atol=1e-3)


def test_an_ellipsoid_is_zero_on_its_surface_and_negative_inside_to_the_very_centre():
    angles = np.random.default_rng(1).normal(size=(50, 3))
    surface = angles / np.linalg.norm(angles, axis=1, keepdims=True) * (10, 20, 30)
    z, y, x = (surface[:, dim].astype(np.float32) for dim in range(3))
    assert np.abs(ellipsoid((z, y, x), (0, 0, 0), (10, 20, 30))).max() < 1e-3
    assert ellipsoid((z / 2, y / 2, x / 2), (0, 0, 0), (10, 20, 30)).max() < 0
    centre = (np.zeros(1, np.float32),) * 3
    assert ellipsoid(centre, (0, 0, 0), (10, 20, 30)) == -10


def test_a_tube_is_as_far_as_its_nearest_ball():
    rng = np.random.default_rng(2)
    nodes = np.array([[0.0, 0, 0], [10, 5, 0], [12, 20, -8]])
    points = rng.uniform(-20, 30, size=(200, 3)).astype(np.float32)
    t = np.linspace(0, 1, 4001)[:, None]
    path = np.concatenate([nodes[0] + t * (nodes[1] - nodes[0]), nodes[1] + t * (nodes[2] - nodes[1])])
    brute = np.linalg.norm(points[:, None] - path[None], axis=2).min(axis=1) - 1.5
    found = tube((points[:, 0], points[:, 1], points[:, 2]), nodes, [1.5, 1.5, 1.5])
    np.testing.assert_allclose(found, brute, atol=1e-2)


def test_partial_volume_adds_up_to_the_volume():
    """A ball sampled with voxels as large as its radius keeps its volume to a few percent."""
    axis = np.arange(-15, 16, 4, dtype=np.float32)
    points = tuple(np.meshgrid(axis, axis, axis, indexing="ij"))
    inside = fraction(ellipsoid(points, (0, 0, 0), (10, 10, 10)), 4.0)
    assert inside.sum() * 4**3 == pytest.approx(4 / 3 * np.pi * 10**3, rel=0.05)


def test_a_blend_holds_both_shapes_and_a_little_more():
    a, b = np.random.default_rng(3).normal(size=(2, 1000)).astype(np.float32) * 10
    joined = blend(a, b, 4.0)
    assert (joined <= np.minimum(a, b)).all()
    assert (joined >= np.minimum(a, b) - 1).all()


@pytest.mark.parametrize("sigma", [2.5, 9.0, 40.0])
def test_noise_is_smooth_over_its_width_and_follows_the_seed(sigma):
    field = smooth_noise(np.random.default_rng(4), sigma)
    assert field.shape == LATTICE_SHAPE
    assert field.dtype == np.float32
    np.testing.assert_array_equal(field, smooth_noise(np.random.default_rng(4), sigma))
    assert abs(field.mean()) < 1e-4
    step = LATTICE_AXES[0][1] - LATTICE_AXES[0][0]
    # Neighbours of gaussian-smoothed noise correlate by exp(-(step / 2 sigma)^2).
    neighbours = np.corrcoef(field[1:].ravel(), field[:-1].ravel())[0, 1]
    assert neighbours > np.exp(-((step / (2 * sigma)) ** 2)) - 0.1


def test_a_frame_fits_the_head_and_runs_as_brats_files_do():
    frame = Frame.fit((155, 240, 240), (1.0, 1.0, 1.0))
    z, y, x = frame.axes
    assert (np.diff(z) > 0).all()  # up
    assert (np.diff(y) < 0).all()  # to the back
    assert (np.diff(x) < 0).all()  # to the left
    assert frame.voxel_mm == pytest.approx(HEAD_MM[0] / (0.94 * 155))
    whole = [axis[-1] - axis[0] for axis in (z, -y, -x)]
    assert all(length >= head for length, head in zip(whole, HEAD_MM, strict=True))


def test_a_frame_uses_millimetres_and_not_voxels():
    """Thick slices give the same head as thin ones."""
    thick = Frame.fit((31, 240, 240), (5.0, 1.0, 1.0))
    thin = Frame.fit((155, 240, 240), (1.0, 1.0, 1.0))
    assert np.diff(thick.axes[0])[0] == pytest.approx(5 * np.diff(thin.axes[0])[0], rel=1e-5)
    np.testing.assert_allclose(thick.axes[1], thin.axes[1], rtol=1e-5)
