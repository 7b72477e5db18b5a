import numpy as np
import pytest

from medimg.errors import ConfigError
from medimg.phantoms.chest import build_chest, chest_grid, draw_slices, grid_axes
from medimg.phantoms.chest_scan import draw_chest, draw_scan

SMALL = (24, 64, 64)


def test_tissues_have_the_densities_of_a_chest():
    voxels, labels, grid = draw_scan(0, seed=0, size=(30, 128, 128))
    z, y, x = grid_axes(grid)
    level = int(np.abs(z).argmin())
    plane = voxels[level].astype(float)

    def at(dy, dx, size=2):
        h, w = int(np.abs(y - dy).argmin()), int(np.abs(x - dx).argmin())
        return float(np.median(plane[h - size : h + size + 1, w - size : w + size + 1]))

    assert at(160, -160) == pytest.approx(-1000, abs=30)
    assert -960 < at(25, 95) < -780
    assert -960 < at(25, -95) < -780
    assert at(45, 0) == pytest.approx(50, abs=30)
    assert plane.max() > 350
    lung = voxels[labels == 0] < -700
    assert 0.1 < lung.mean() < 0.8
    assert voxels.dtype == np.int16


def test_one_slice_needs_no_volume():
    slices = draw_slices(draw_chest(0, seed=0, size=SMALL), chest_grid((120, 512, 512)), (0,))
    plane, labels = next(slices)
    assert plane.shape == labels.shape == (512, 512)


def test_too_many_nodules_find_no_room():
    with pytest.raises(ConfigError, match="expected room for 120 in one chest"):
        build_chest(np.random.default_rng(0), 120, voxel_mm=25.0)


def test_vessels_change_no_nodule():
    """Tables of the truth leave them out."""
    with_vessels, bare = (build_chest(np.random.default_rng(3), 2, vessels=one) for one in (True, False))
    assert with_vessels.tubes
    assert not bare.tubes
    assert [one.centre for one in with_vessels.nodules] == [one.centre for one in bare.nodules]
