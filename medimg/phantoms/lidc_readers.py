"""Four make-believe radiologists who outline and judge the same nodules, and disagree as people do."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from medimg.io.grid import Grid
from medimg.phantoms.chest import grid_axes
from medimg.phantoms.chest_nodules import SOLID_HU, Nodule
from medimg.phantoms.chest_vessels import window_of
from medimg.phantoms.fields import Points

READERS = 4

_SIZE_MM, _PLACE_MM = 0.3, 0.2  # standard deviations between readers
_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)


@dataclass(frozen=True, eq=False)
class Outline:
    """A closed chain of pixels around a nodule on one slice.

    Attributes:
        slice: Number of the slice.
        points: (x, y) in drawing order, the first again at the end, shape (N, 2): the first pixels outside.
    """

    slice: int
    points: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Finding:
    """What one reader says of one nodule.

    Attributes:
        nodule: Number of the nodule from 0 on.
        scores: The nine characteristics, by the names of LIDC's XML.
        outlines: From the lowest slice to the highest.
    """

    nodule: int
    scores: Mapping[str, int]
    outlines: tuple[Outline, ...]


def read_nodules(
    nodules: tuple[Nodule, ...], grid: Grid, seed: tuple[int, ...]
) -> tuple[tuple[Finding, ...], ...]:
    """Let four readers look at a scan.

    Each sees the nodules a little larger or smaller and shifted, scores around the truth, and misses some of the
    small ones; one reader, another for each nodule, never misses it.

    Args:
        nodules: What is there.
        grid: The scan's.
        seed: Of the readers' errors.

    Returns:
        The findings of each reader.
    """
    readings: list[tuple[Finding, ...]] = []
    for reader in range(READERS):
        found = []
        for number, nodule in enumerate(nodules):
            rng = np.random.default_rng([*seed, reader, number])
            missed = float(np.clip(0.5 - 0.05 * (2 * nodule.radius_mm - 4), 0.02, 0.5))
            if rng.random() < missed and number % READERS != reader:
                continue
            outlines = outline(_as_seen(nodule, rng), grid)
            found.append(Finding(number, score(nodule, rng), outlines))
        readings.append(tuple(found))
    return tuple(readings)


def _as_seen(nodule: Nodule, rng: np.random.Generator) -> Nodule:
    centre = np.array(nodule.centre) + _PLACE_MM * rng.standard_normal(3)
    radius = nodule.radius_mm + float(np.clip(_SIZE_MM * rng.standard_normal(), -0.6, 0.6))
    directions = nodule.directions + 0.12 * rng.standard_normal(nodule.directions.shape)
    directions /= np.sqrt((directions**2).sum(axis=1, keepdims=True))
    return replace(
        nodule,
        centre=(float(centre[0]), float(centre[1]), float(centre[2])),
        radius_mm=radius,
        spike_mm=nodule.spike_mm * float(rng.uniform(0.6, 1.1)),
        directions=directions.astype(np.float32),
    )


def score(nodule: Nodule, rng: np.random.Generator) -> dict[str, int]:
    """Score the nine characteristics as one reader does, around the truth.

    Args:
        nodule: What is there.
        rng: Source of the reader's error.

    Returns:
        Scores in LIDC's ranges, by the names of its XML.
    """
    ill = (nodule.malignancy - 1) / 4
    solid = nodule.hu >= SOLID_HU
    true = {
        "subtlety": 2 + nodule.radius_mm / 4 - (not solid),
        "sphericity": 4.8 - 8 * nodule.lobulation,
        "margin": 4.8 - 2 * ill - 1.5 * (not solid),
        "lobulation": 1 + 18 * nodule.lobulation - 0.6,
        "spiculation": 1 + 8 * nodule.spike_mm / (2 * nodule.radius_mm),
        "texture": 5.0 if solid else 1.2,
        "malignancy": nodule.malignancy,
    }
    noisy = {
        key: int(np.clip(np.rint(value + 0.6 * rng.standard_normal()), 1, 5)) for key, value in true.items()
    }
    head = {
        "subtlety": noisy["subtlety"],
        "internalStructure": 1,
        "calcification": 3 if nodule.calcified else 6,
    }
    return {**head, **noisy}


def outline(nodule: Nodule, grid: Grid) -> tuple[Outline, ...]:
    """Trace the first pixels outside a nodule on every slice that shows it.

    Args:
        nodule: What is seen.
        grid: The scan's.
    """
    axes = grid_axes(grid)
    reach = nodule.reach_mm + 2 * max(grid.spacing_mm)
    box = [window_of(axis, c, c, reach) for axis, c in zip(axes, nodule.centre, strict=True)]
    z, y, x = (axis[part] for axis, part in zip(axes, box, strict=True))
    at: Points = (z[:, None, None], y[None, :, None], x[None, None, :])
    mask = nodule.distance(at) < 0
    if not mask.any():  # smaller than a voxel: it is drawn around the nearest one
        nearest = [int(np.abs(axis - c).argmin()) for axis, c in zip((z, y, x), nodule.centre, strict=True)]
        mask[tuple(nearest)] = True
    corner = np.array([box[2].start, box[1].start], np.int32)
    return tuple(
        Outline(box[0].start + number, points + corner)
        for number, plane in enumerate(mask)
        for points in _trace(plane)
    )


def _trace(plane: NDArray[np.bool_]) -> list[NDArray[np.int32]]:
    """Chains of neighbouring pixels around each part of a mask."""
    around = cv2.dilate(plane.astype(np.uint8), _CROSS)
    chains, _ = cv2.findContours(around, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    closed = [np.concatenate([chain[:, 0], chain[:1, 0]]).astype(np.int32) for chain in chains]
    return sorted(closed, key=lambda points: tuple(points[0].tolist()))
