"""Lung nodules of a make-believe chest: how they look, where they lie, how malignant they are."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medimg.errors import ConfigError
from medimg.phantoms.fields import Field, Points, sum_of_squares

_TRIES, _DRAWS = 2000, 20
_GAP_MM = 9.0  # between two nodules, more than any reader's hand trembles
_FROM_PLEURA_MM = 3.0
_LOBES, _SPIKES = 4, 14
SOLID_HU, GLASS_HU, CALCIUM_HU = 45.0, -520.0, 420.0


@dataclass(frozen=True, eq=False)
class Nodule:
    """One nodule.

    Attributes:
        centre: Its middle (z, y, x) in millimetres of the chest: z up, y to the front, x to the right.
        radius_mm: Mean radius.
        malignancy: True likelihood of malignancy, 1 to 5.
        lobulation: Depth of its lobes as a part of the radius.
        spike_mm: Length of its spicules.
        hu: Hounsfield units of its tissue.
        calcified: Whether its core holds calcium.
        directions: Unit vectors of lobes, then of spicules, shape (4 + 14, 3).
    """

    centre: tuple[float, float, float]
    radius_mm: float
    malignancy: float
    lobulation: float
    spike_mm: float
    hu: float
    calcified: bool
    directions: NDArray[np.float32]

    @property
    def reach_mm(self) -> float:
        """No voxel farther than this from the middle belongs to it."""
        return self.radius_mm * (1 + 1.5 * self.lobulation) + self.spike_mm + 1.0

    def distance(self, points: Points) -> Field:
        """Distance to its surface, negative inside, to first order.

        Args:
            points: Coordinates z, y, x in millimetres, of shapes that broadcast.
        """
        offsets = [
            np.asarray(axis - np.float32(c), np.float32) for axis, c in zip(points, self.centre, strict=True)
        ]
        length = np.sqrt(sum_of_squares(list(np.broadcast_arrays(*offsets))))
        unit = [offset / np.maximum(length, np.float32(1e-3)) for offset in offsets]
        lobes, spikes = np.zeros_like(length), np.zeros_like(length)
        for number, (z, y, x) in enumerate(self.directions):
            along = unit[0] * z + unit[1] * y + unit[2] * x
            if number < _LOBES:
                lobes += along * along * along
            else:
                np.maximum(spikes, np.exp(np.float32(30) * (along - np.float32(1))), out=spikes)
        surface = np.float32(self.radius_mm) * (1 + np.float32(self.lobulation) * lobes)
        distance: Field = (length - surface - np.float32(self.spike_mm) * spikes).astype(np.float32)
        return distance


def make_nodule(rng: np.random.Generator, least_mm: float = 4.0) -> Nodule:
    """Draw a nodule at the origin: the more malignant, the larger, the more lobulated and spiculated.

    Size alone does not tell: large benign nodules are smooth and often calcified.

    Args:
        rng: Source of the nodule.
        least_mm: Smallest diameter.
    """
    malignancy = float(rng.uniform(1.0, 5.0))
    ill = (malignancy - 1) / 4
    diameter = float(np.clip(5.5 + 13 * ill + 3.5 * rng.standard_normal(), least_mm, max(28.0, least_mm)))
    glass = rng.random() < 0.12 + 0.1 * ill
    calcified = bool(rng.random() < 0.45 * (1 - ill) ** 2)
    directions = rng.standard_normal((_LOBES + _SPIKES, 3))
    directions /= np.sqrt((directions**2).sum(axis=1, keepdims=True))
    return Nodule(
        centre=(0.0, 0.0, 0.0),
        radius_mm=diameter / 2,
        malignancy=malignancy,
        lobulation=0.04 + 0.16 * ill,
        spike_mm=max(0.0, ill - 0.35) * 0.5 * diameter,
        hu=GLASS_HU if glass else SOLID_HU,
        calcified=calcified and not glass,
        directions=directions.astype(np.float32),
    )


def place_nodules(
    rng: np.random.Generator,
    count: int,
    lung: Callable[[Points], Field],
    box_mm: NDArray[np.float64],
    least_mm: float = 4.0,
) -> tuple[Nodule, ...]:
    """Draw nodules and give each a place inside the lungs, apart from the others.

    Args:
        rng: Source of the nodules and their places.
        count: How many.
        lung: Signed distance to the lungs' surface, negative inside.
        box_mm: Lower and upper limits along z, y, x of where to look, shape (2, 3).
        least_mm: Smallest diameter that is drawn.

    Returns:
        The nodules; one for which there is no room is drawn again.

    Raises:
        ConfigError: If so many have no room.
    """
    placed: list[Nodule] = []
    for _ in range(_DRAWS * count):
        if len(placed) == count:
            break
        nodule = make_nodule(rng, least_mm)
        z, y, x = rng.uniform(box_mm[0], box_mm[1], (_TRIES, 3)).astype(np.float32).T
        room = _room((z, y, x), -lung((z, y, x)), nodule, placed)
        if room.size:
            at = room[0]
            placed.append(replace(nodule, centre=(float(z[at]), float(y[at]), float(x[at]))))
    if len(placed) < count:
        raise ConfigError(
            f"nodules: expected room for {count} in one chest, found room for {len(placed)}. Ask for fewer."
        )
    return tuple(placed)


def _room(points: Points, depth: Field, nodule: Nodule, others: list[Nodule]) -> NDArray[np.intp]:
    """Which of the places suit."""
    free = depth > nodule.reach_mm + _FROM_PLEURA_MM
    for other in others:
        gaps = [axis - np.float32(c) for axis, c in zip(points, other.centre, strict=True)]
        free &= np.sqrt(sum_of_squares(gaps)) > nodule.reach_mm + other.reach_mm + _GAP_MM
    return np.flatnonzero(free)
