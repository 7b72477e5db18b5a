"""Grids of volumes as scanners make them: oblique, tilted."""

import numpy as np

from medimg.io.grid import Grid


def make_grid(shape=(5, 6, 7), spacing_mm=(2.5, 1.0, 0.8), *, turn=20.0, tilt=0.0):
    """A grid LPS-like in RAS+, turned by degrees about the third axis; ``tilt`` shears D towards H."""
    turn, tilt = np.deg2rad([turn, tilt])
    row = np.array([-np.cos(turn), np.sin(turn), 0.0])
    column = np.array([-np.sin(turn), -np.cos(turn), 0.0])
    depth = np.array([0.0, 0.0, 1.0]) + np.tan(tilt) * column
    affine = np.eye(4)
    affine[:3, :3] = np.stack([row * spacing_mm[2], column * spacing_mm[1], depth * spacing_mm[0]], axis=1)
    affine[:3, 3] = 30.0, -12.0, 7.0
    return Grid(tuple(shape), affine)


def make_hu(shape=(5, 6, 7), seed=0):
    """Random whole Hounsfield units, int16 (D, H, W)."""
    return np.random.default_rng(seed).integers(-1000, 1000, shape).astype(np.int16)
