"""A make-believe brain: surfaces, ventricles, nuclei and folds as signed distances on the lattice."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medimg.phantoms.fields import (
    Field,
    Points,
    blend,
    ellipsoid,
    lattice_points,
    smooth_noise,
    sum_of_squares,
    tube,
)

# Centres and semi-axes (z, y, x) in millimetres of the standard head: z up, y anterior, x right.
_CEREBRUM = ((12, 0, 0), (55, 85, 67))
_TEMPORAL = ((-22, 8, 40), (24, 44, 26))
_CEREBELLUM = ((-35, -45, 0), (27, 35, 50))
_STEM = ((-42, -18, 0), (30, 14, 13))
_STEM_END_MM = -66.0  # where skull-stripping cuts the brain stem
_NUCLEI = (
    ((10, 20, 13), (8, 9, 5)),  # head of the caudate
    ((3, 4, 26), (9, 15, 5.5)),  # putamen
    ((0, 1, 19), (6, 8, 4)),  # pallidum
    ((6, -12, 11), (8, 13, 8)),  # thalamus
)
_LATERAL = np.array([[8, 30, 10], [18, 5, 9], [20, -20, 14], [10, -36, 24], [-14, -15, 30]], dtype=float)
_LATERAL_RADII = (4.5, 5.5, 6.0, 7.0, 2.5)
_OCCIPITAL_HORN = np.array([[10, -36, 24], [6, -60, 22]], dtype=float)
_CHOROID = np.array([[20, -20, 14], [12, -34, 23], [2, -28, 27]], dtype=float)
_FOLD_MM = 3.6  # smoothing of the folds: sulci come out about 16 mm apart
_FOLD_SLOPE = 1.7  # millimetres from a sulcus for each unit of the noise, as a part of the smoothing
_FOLD_DEPTH_MM = 18.0
_FOLIA_MM = 5.0  # distance between the sheets of the cerebellum


@dataclass(frozen=True)
class Bulge:
    """A mass that pushes the brain aside.

    Attributes:
        centre: Its middle (z, y, x) in millimetres of the standard head.
        radius_mm: Reach of the push.
        strength: Part of the distance from the centre that tissue is moved, below 0.6.
    """

    centre: tuple[float, float, float]
    radius_mm: float
    strength: float


@dataclass(frozen=True)
class Anatomy:
    """Signed distances in millimetres on the lattice, negative inside.

    Attributes:
        hull: Outer surface of the skull-stripped brain.
        pial: Surface of the cortex, folds included: positive in tissue, negative in the fluid around it.
        cortex_mm: Thickness of the grey-matter ribbon at each place.
        ventricles: Ventricles.
        nuclei: Deep grey nuclei.
        choroid: Choroid plexus, inside the ventricles.
        fissure: Sheet between the hemispheres, in which the falx lies.
    """

    hull: Field
    pial: Field
    cortex_mm: Field
    ventricles: Field
    nuclei: Field
    choroid: Field
    fissure: Field


def cerebrum(points: Points) -> Field:
    """Signed distance to the smooth cerebrum, in which tumours are placed."""
    return ellipsoid(points, *_CEREBRUM)


def build_anatomy(rng: np.random.Generator, bulges: tuple[Bulge, ...] = ()) -> Anatomy:
    """Draw one brain.

    Args:
        rng: Source of the individual shape.
        bulges: Masses that push ventricles, nuclei and midline aside and close the sulci; the hull stays,
            as under a skull.

    Returns:
        The brain's surfaces on the lattice.
    """
    points = lattice_points()
    bumps = 1.8 * smooth_noise(rng, 12.0)
    inner = _push(_wobble(points, rng), bulges)
    parts = [cerebrum(points), _both_sides(points, *_TEMPORAL), ellipsoid(points, *_CEREBELLUM)]
    stem = ellipsoid(points, *_STEM)
    parts = [part + bumps for part in parts]
    hull = blend(blend(blend(parts[0], parts[1], 8.0), parts[2], 14.0), stem, 8.0)
    hull = np.maximum(hull - 0.8, _STEM_END_MM - points[0])
    fissure = _fissure(inner)
    ventricles, choroid = _ventricles(inner, rng)
    depth = -np.minimum(np.minimum(parts[0], parts[1]), np.minimum(parts[2], stem))
    in_stem = stem < np.minimum(np.minimum(parts[0], parts[1]), parts[2])
    in_cerebellum = (parts[2] < np.minimum(parts[0], parts[1])) & ~in_stem
    folds = _folds(rng, inner, depth, in_cerebellum)
    for bulge in bulges:  # a mass closes the sulci around it
        offset = [axis - np.float32(c) for axis, c in zip(points, bulge.centre, strict=True)]
        folds += 6 * np.exp(sum_of_squares(offset) / np.float32(-(bulge.radius_mm**2)))
    pial = np.minimum(depth - 0.8, np.where(in_stem, 50, np.minimum(folds, fissure)))
    cortex = np.where(in_cerebellum, 1.6, np.where(in_stem, 0.0, 3.0)).astype(np.float32)
    nuclei = np.minimum.reduce([_both_sides(inner, *nucleus) for nucleus in _NUCLEI])
    return Anatomy(hull, pial.astype(np.float32), cortex, ventricles, nuclei, choroid, fissure)


def _both_sides(points: Points, centre: tuple[float, ...], radii: tuple[float, ...]) -> Field:
    return ellipsoid((points[0], points[1], np.abs(points[2])), centre, radii)


def _wobble(points: Points, rng: np.random.Generator) -> Points:
    """Shift every point smoothly by a few millimetres, so that no two brains are alike."""
    size = 1 + 0.04 * rng.standard_normal()
    z, y, x = (axis * np.float32(size) + 2.5 * smooth_noise(rng, 16.0) for axis in points)
    return z, y, x


def _push(points: Points, bulges: tuple[Bulge, ...]) -> Points:
    """Coordinates of the healthy brain that each point shows once the masses have grown."""
    for bulge in bulges:
        offset = [axis - np.float32(c) for axis, c in zip(points, bulge.centre, strict=True)]
        reach = np.exp(sum_of_squares(offset) / np.float32(-2 * bulge.radius_mm**2))
        reach *= np.float32(bulge.strength)
        z, y, x = (axis - reach * o for axis, o in zip(points, offset, strict=True))
        points = (z, y, x)
    return points


def _fissure(points: Points) -> Field:
    """Sheet at the midline, down to the corpus callosum and not into the brain stem."""
    z, y, x = points
    centre = np.sqrt(((y + 2) / 48) ** 2 + ((z - 2) / 26) ** 2)
    sheet: Field = np.maximum(np.abs(x) - 0.8, (1 - centre) * 28)
    return np.maximum(sheet, -25 - z).astype(np.float32)


def _ventricles(points: Points, rng: np.random.Generator) -> tuple[Field, Field]:
    half: Points = (points[0], points[1], np.abs(points[2]))
    growth = rng.uniform(0.85, 1.25)
    lateral = tube(half, _LATERAL, [growth * r for r in _LATERAL_RADII])
    horn = tube(half, _OCCIPITAL_HORN, [growth * 6.0, growth * 2.5])
    third = ellipsoid(points, (3, -3, 0), (9, 13, 2.2 * growth))
    fourth = ellipsoid(points, (-34, -32, 0), (9, 5, 5))
    ventricles = blend(np.minimum(blend(lateral, horn, 3.0), third), fourth, 2.0)
    plexus = tube(half, _CHOROID, [2.5, 4.5, 3.0]) + 1.2 * smooth_noise(rng, 4.0)
    return ventricles, np.maximum(plexus, ventricles + 0.5).astype(np.float32)


def _folds(rng: np.random.Generator, inner: Points, depth: Field, in_cerebellum: NDArray[np.bool_]) -> Field:
    """Distance from the sulci: sheets that reach down from the surface."""
    # The zero level of a noise field is a tangle of sheets; its slope turns levels into millimetres.
    sheets = np.abs(smooth_noise(rng, _FOLD_MM)) * np.float32(_FOLD_SLOPE * _FOLD_MM) - np.float32(0.6)
    sulci = np.maximum(sheets, depth - _FOLD_DEPTH_MM - 4 * smooth_noise(rng, 8.0))
    phase = (inner[0] + np.float32(0.4) * inner[1]) / np.float32(_FOLIA_MM)
    folia = np.abs(phase - np.rint(phase)) * np.float32(_FOLIA_MM) - np.float32(0.5)
    folia = np.maximum(folia, depth - 12)
    folds: Field = np.where(in_cerebellum, folia, sulci).astype(np.float32)
    return folds
