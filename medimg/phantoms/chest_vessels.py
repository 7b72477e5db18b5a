"""Vessels and airways of a make-believe chest: trees of straight tubes, painted slice by slice."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medimg.phantoms.fields import Field, Points, fraction, sum_of_squares

_THINNEST_MM = 0.6
_HILUM = (8.0, -12.0, 36.0)  # (z, y, x) of the right one


@dataclass(frozen=True)
class Tube:
    """A straight tube whose radius changes linearly.

    Attributes:
        start: One end (z, y, x) in millimetres.
        end: The other.
        radii_mm: Radius at either end.
        hu: Hounsfield units inside.
    """

    start: tuple[float, ...]
    end: tuple[float, ...]
    radii_mm: tuple[float, float]
    hu: float


def lung_vessels(rng: np.random.Generator, lung: Callable[[Points], Field]) -> tuple[Tube, ...]:
    """Draw the arteries of both lungs, from the hilum to close below the pleura.

    Args:
        rng: Source of the courses.
        lung: Signed distance to the lungs' surface, negative inside.
    """
    tubes: list[Tube] = []
    for side in (1.0, -1.0):
        hilum = np.array(_HILUM) * (1, 1, side)
        for aim in ((1.0, 0.1), (0.45, 0.8), (0.1, -0.8), (-0.4, 0.5), (-1.0, -0.3), (-0.8, 0.7)):
            direction = np.array([aim[0], aim[1], side * 0.8]) + 0.2 * rng.standard_normal(3)
            _grow(rng, lung, tubes, hilum, direction, 4.2)
    return tuple(tubes)


def _grow(
    rng: np.random.Generator,
    lung: Callable[[Points], Field],
    tubes: list[Tube],
    start: NDArray[np.float64],
    direction: NDArray[np.float64],
    radius: float,
) -> None:
    """Add one tube and, at its end, two thinner branches."""
    unit = direction / np.sqrt((direction**2).sum())
    end = start + unit * rng.uniform(5.5, 8.0) * radius**0.6 * 2
    inside = float(lung(_point(end))[0])
    # The first tubes lie in the mediastinum, so only thin ones end for being outside.
    if radius < _THINNEST_MM or (inside > -3 and radius < 3):
        return
    after = 0.8 * radius
    tubes.append(Tube(tuple(start.tolist()), tuple(end.tolist()), (radius, after), 40.0))
    for turn in (0.35, 0.75):
        _grow(rng, lung, tubes, end, unit + turn * rng.standard_normal(3) * 0.8, after * rng.uniform(0.85, 1))


def _point(at: NDArray[np.float64]) -> Points:
    z, y, x = (np.array([value], np.float32) for value in at)
    return z, y, x


def paint_tubes(image: Field, tubes: Sequence[Tube], z_mm: float, axes: tuple[Field, Field]) -> None:
    """Blend tubes into one slice, in place; each touches a few pixels only.

    Args:
        image: Hounsfield units (H, W).
        tubes: What to paint; a later one lies over an earlier one.
        z_mm: Position of the slice.
        axes: Coordinates y of the rows, shape (H,), and x of the columns, (W,), both evenly spaced.
    """
    voxel = abs(float(axes[0][1] - axes[0][0]))
    for tube in tubes:
        reach = max(tube.radii_mm) + voxel
        if not min(tube.start[0], tube.end[0]) - reach < z_mm < max(tube.start[0], tube.end[0]) + reach:
            continue
        window = tuple(
            window_of(axis, min(tube.start[dim], tube.end[dim]), max(tube.start[dim], tube.end[dim]), reach)
            for dim, axis in ((1, axes[0]), (2, axes[1]))
        )
        y, x = axes[0][window[0]][:, None], axes[1][window[1]][None, :]
        if not (y.size and x.size):
            continue
        inside = fraction(_distance(tube, z_mm, y, x), voxel)
        image[window] += inside * (np.float32(tube.hu) - image[window])


def window_of(axis: Field, low: float, high: float, reach: float) -> slice:
    """The pixels of an evenly spaced axis, rising or falling, between two coordinates and a reach beyond."""
    step = float(axis[1] - axis[0])
    ends = sorted(((low - reach - float(axis[0])) / step, (high + reach - float(axis[0])) / step))
    return slice(max(int(np.floor(ends[0])), 0), max(int(np.ceil(ends[1])) + 1, 0))


def _distance(tube: Tube, z_mm: float, y: Field, x: Field) -> Field:
    """Distance to the tube's surface, (h, w)."""
    along = [np.float32(b - a) for a, b in zip(tube.start, tube.end, strict=True)]
    z = np.full((1, 1), z_mm, np.float32)
    offset = [axis - np.float32(c) for axis, c in zip((z, y, x), tube.start, strict=True)]
    squared = np.float32(max(sum(float(part) ** 2 for part in along), 1e-6))
    dot = offset[0] * along[0] + offset[1] * along[1] + offset[2] * along[2]
    t: Field = np.clip(dot / squared, 0, 1).astype(np.float32)
    length = np.sqrt(sum_of_squares([part - t * axis for part, axis in zip(offset, along, strict=True)]))
    first, last = tube.radii_mm
    radius = np.float32(first) + t * np.float32(last - first)
    distance: Field = (length - radius).astype(np.float32)
    return distance
