"""What a sample's random numbers make of its geometry."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

Matrix = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]
IDENTITY: Matrix = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


@dataclass(frozen=True, slots=True)
class Motion:
    """What a sample's random numbers made of the geometry.

    Attributes:
        matrix: Offset from the centre of the patch (D, H, W) to offset from the centre of the source,
            mirroring left out; ``None`` if every voxel is read where it lies.
        mirrored: Axes read backwards.
        elastic_sigma: Smoothing of the displacements along each axis, in voxels; ``None`` for none.
        elastic_reach: The largest displacement along each axis, in voxels.
    """

    matrix: Matrix | None
    mirrored: tuple[int, ...]
    elastic_sigma: tuple[float, ...] | None = None
    elastic_reach: tuple[float, ...] = (0.0, 0.0, 0.0)

    @property
    def resamples(self) -> bool:
        """Whether voxels are interpolated, and not only moved."""
        return self.matrix is not None or self.elastic_sigma is not None

    def reach(self, patch: Sequence[int]) -> tuple[float, ...]:
        """Distance along each axis from the centre of the source to the farthest voxel that is read."""
        if not self.resamples:
            return tuple(size / 2 for size in patch)
        half = [size / 2 + bend for size, bend in zip(patch, self.elastic_reach, strict=True)]
        rows = self.matrix or IDENTITY
        # One voxel more than the patch's edge, for the neighbours of linear interpolation.
        return tuple(sum(abs(a) * h for a, h in zip(row, half, strict=True)) + 1.0 for row in rows)


def turn_and_scale(degrees: Sequence[float], scale: Sequence[float]) -> Matrix:
    """Matrix of a scaling followed by turns about the axes D, H and W, in this order.

    Args:
        degrees: Angle of the turn about each axis.
        scale: Factor along each axis; above one an object looks smaller.

    Example:
        >>> [[round(value, 6) for value in row] for row in turn_and_scale((90, 0, 0), (1, 1, 2))]
        [[1.0, 0.0, 0.0], [0.0, 0.0, -2.0], [0.0, 1.0, 0.0]]
    """
    columns = [[float(row == axis) * scale[axis] for row in range(3)] for axis in range(3)]
    for axis, angle in enumerate(degrees):
        cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        first, second = (axis + 1) % 3, (axis + 2) % 3
        for column in columns:
            a, b = column[first], column[second]
            column[first], column[second] = cosine * a - sine * b, sine * a + cosine * b
    first_row, second_row, third_row = zip(*columns, strict=True)
    return first_row, second_row, third_row
