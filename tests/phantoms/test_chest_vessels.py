import numpy as np
import pytest

from medimg.phantoms.chest import build_chest
from medimg.phantoms.chest_vessels import Tube, lung_vessels, paint_tubes, window_of


def test_a_tube_has_its_radius_and_tapers():
    """Across a tube along x that thins from 4 to 2 mm."""
    y, x = np.arange(20, -21, -0.5, dtype=np.float32), np.arange(-20, 21, 0.5, dtype=np.float32)
    image = np.full((y.size, x.size), -900, np.float32)
    paint_tubes(image, [Tube((0.0, 0.0, -10.0), (0.0, 0.0, 10.0), (4.0, 2.0), 40.0)], 0.0, (y, x))
    share = (image + 900) / 940  # of each pixel that the tube fills
    for place, radius in ((-10, 4.0), (0, 3.0), (10, 2.0)):
        column = int(np.abs(x - place).argmin())
        assert share[:, column].sum() * 0.5 == pytest.approx(2 * radius, abs=0.1)
    far = np.full((y.size, x.size), -900, np.float32)
    paint_tubes(far, [Tube((0.0, 0.0, -10.0), (0.0, 0.0, 10.0), (4.0, 2.0), 40.0)], 6.0, (y, x))
    assert (far == -900).all()


@pytest.mark.parametrize("step", [0.5, -0.5])
def test_a_window_holds_the_pixels_in_reach_and_keeps_to_the_axis(step):
    axis = (step * np.arange(-10, 11)).astype(np.float32)
    found = axis[window_of(axis, 1.0, 2.0, 0.5)]
    assert {0.5, 1.0, 1.5, 2.0, 2.5} <= set(found.tolist())
    assert found.size <= 9
    assert axis[window_of(axis, 50.0, 60.0, 1.0)].size == 0
    assert axis[window_of(axis, -60.0, -50.0, 1.0)].size == 0


def test_vessels_branch_in_both_lungs_and_grow_thinner():
    chest = build_chest(np.random.default_rng(0), 1, vessels=False)
    tubes = lung_vessels(np.random.default_rng(1), chest.lung)
    assert len(tubes) > 60
    assert {tube.end[2] > 0 for tube in tubes} == {True, False}
    assert all(tube.radii_mm[0] > tube.radii_mm[1] for tube in tubes)
    thin = [tube for tube in tubes if tube.radii_mm[0] < 2]
    ends = [np.array([axis], np.float32) for axis in thin[0].end]
    assert float(chest.lung(tuple(ends))[0]) < 0
