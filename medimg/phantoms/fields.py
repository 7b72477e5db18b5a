"""Smooth random fields and signed distances, from which phantoms are built.

Everything smooth is computed once on a coarse lattice in millimetres of a standard head and then
interpolated to the voxels, so a brain costs little at any size and is the same brain at each size.
Distances are negative inside. Between the lattice and the voxels stand only elementwise operations: matrix
products may add up in another order with another number of threads, and the same seed would then not give
the same bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Field = NDArray[np.float32]
Points = tuple[Field, Field, Field]  # z up, y anterior, x right, in millimetres of the standard head

HEAD_MM = (140.0, 180.0, 144.0)  # height, length and width of the standard brain
STEP_MM = 2.5  # of the lattice: half of the thinnest smooth structure
_MARGIN_MM = 8.0  # so that surfaces close inside the lattice
_FILL = 0.94  # of the volume's tightest side that the brain takes


def _axis(length: float) -> Field:
    half = STEP_MM * np.ceil((length / 2 + _MARGIN_MM) / STEP_MM)
    return np.arange(-half, half + STEP_MM / 2, STEP_MM, dtype=np.float32)


LATTICE_AXES = (_axis(HEAD_MM[0]), _axis(HEAD_MM[1]), _axis(HEAD_MM[2]))
LATTICE_SHAPE = (LATTICE_AXES[0].size, LATTICE_AXES[1].size, LATTICE_AXES[2].size)


def lattice_points() -> Points:
    """Coordinates of every lattice point: three arrays of shape ``LATTICE_SHAPE``."""
    z, y, x = np.meshgrid(*LATTICE_AXES, indexing="ij")
    return z, y, x


def smooth_noise(rng: np.random.Generator, sigma_mm: float) -> Field:
    """Gaussian noise with zero mean and unit variance, smoothed over ``sigma_mm``, on the lattice.

    Args:
        rng: Source of the noise.
        sigma_mm: Standard deviation of the smoothing kernel in millimetres of the standard head.

    Returns:
        Field of shape ``LATTICE_SHAPE``.

    Example:
        >>> field = smooth_noise(np.random.default_rng(0), 6.0)
        >>> field.shape == LATTICE_SHAPE, round(float(field.std()), 3)
        (True, 1.0)
    """
    # Three knots a sigma hold all that the kernel lets through, and keep wide kernels cheap.
    step = max(sigma_mm / 3, STEP_MM)
    axes = [np.arange(axis[0], axis[-1] + step, step, dtype=np.float32) for axis in LATTICE_AXES]
    knots = rng.standard_normal([axis.size for axis in axes], dtype=np.float32)
    knots = ndimage.gaussian_filter(knots, sigma_mm / step, mode="wrap")
    field = interpolate(knots, axes, LATTICE_AXES)
    field -= field.mean(dtype=np.float64)
    field /= field.std(dtype=np.float64)
    return field


def interpolate(values: Field, axes: Sequence[Field], targets: Sequence[Field]) -> Field:
    """Linear interpolation between two rectangular grids, one axis after the other.

    Args:
        values: Field on the grid ``axes``, shape (D, H, W).
        axes: Ascending, evenly spaced coordinates of the grid along D, H and W.
        targets: Coordinates to interpolate at, along D, H and W; beyond the grid its edge counts.

    Returns:
        Field of shape (len(targets[0]), len(targets[1]), len(targets[2])).

    Example:
        >>> line = np.arange(3, dtype=np.float32)
        >>> ramp = line[:, None, None] + np.zeros((3, 3, 3), np.float32)
        >>> interpolate(ramp, [line] * 3, [np.float32([0.5, 2.0]), line[:1], line[:1]]).ravel()
        array([0.5, 2. ], dtype=float32)
    """
    for dim, (axis, target) in enumerate(zip(axes, targets, strict=True)):
        position = np.clip((target - axis[0]) / (axis[1] - axis[0]), 0, axis.size - 1)
        low = np.minimum(position.astype(np.intp), axis.size - 2)
        shape = [1, 1, 1]
        shape[dim] = -1
        weight = (position - low).astype(np.float32).reshape(shape)
        below = np.take(values, low, axis=dim)
        values = below + weight * (np.take(values, low + 1, axis=dim) - below)
    return values


def ellipsoid(points: Points, centre: Sequence[float], radii: Sequence[float]) -> Field:
    """Signed distance to an ellipsoid, in millimetres, to first order.

    Args:
        points: Coordinates z, y, x in millimetres.
        centre: Centre (z, y, x) in millimetres.
        radii: Semi-axes along z, y, x in millimetres.

    Returns:
        Distances of the points' shape, negative inside, exact on the surface.

    Example:
        >>> at = tuple(np.float32([v]) for v in (0, 3, 0))
        >>> ellipsoid(at, centre=(0, 0, 0), radii=(2, 2, 2))
        array([1.], dtype=float32)
    """
    sides = [np.float32(radius) for radius in radii]
    scaled = [(axis - np.float32(c)) / side for axis, c, side in zip(points, centre, sides, strict=True)]
    level = np.sqrt(sum_of_squares(scaled))
    slope = np.sqrt(sum_of_squares([axis / side for axis, side in zip(scaled, sides, strict=True)]))
    distance: Field = level * (level - 1) / np.maximum(slope, 1e-6)
    distance[level < 1e-6] = -min(sides)  # at the centre level and slope vanish together
    return distance


def tube(points: Points, nodes: NDArray[np.float64], radii: Sequence[float]) -> Field:
    """Signed distance to a chain of straight tubes whose radius changes linearly between nodes.

    Args:
        points: Coordinates z, y, x in millimetres.
        nodes: Corners of the chain as rows (z, y, x), shape (N, 3) with N of at least 2.
        radii: One radius a node, in millimetres.

    Returns:
        Distances of the points' shape, negative inside.

    Example:
        >>> at = tuple(np.float32([v]) for v in (5, 3, 0))
        >>> tube(at, np.array([[0.0, 0, 0], [10, 0, 0]]), [1, 1])
        array([2.], dtype=float32)
    """
    result = np.full(points[0].shape, np.inf, np.float32)
    for start, end, first, last in zip(nodes[:-1], nodes[1:], radii[:-1], radii[1:], strict=True):
        along = (end - start).astype(np.float32)
        offset = [axis - np.float32(s) for axis, s in zip(points, start, strict=True)]
        length2 = np.float32(max(float((along.astype(np.float64) ** 2).sum()), 1e-6))
        t = np.clip((offset[0] * along[0] + offset[1] * along[1] + offset[2] * along[2]) / length2, 0, 1)
        gap = np.sqrt(sum_of_squares([o - t * a for o, a in zip(offset, along, strict=True)]))
        np.minimum(result, gap - (np.float32(first) + t * np.float32(last - first)), out=result)
    return result


def blend(first: Field, second: Field, width_mm: float) -> Field:
    """Union of two shapes whose seam is rounded over ``width_mm``.

    Example:
        >>> blend(np.float32([4.0]), np.float32([9.0]), 1.0)
        array([4.], dtype=float32)
    """
    overlap = np.maximum(np.float32(width_mm) - np.abs(first - second), 0)
    union: Field = np.minimum(first, second) - overlap * overlap / np.float32(4 * width_mm)
    return union


def fraction(distance: Field, width_mm: float) -> Field:
    """Part of a voxel of ``width_mm`` that lies inside a surface, in [0, 1]: the partial volume.

    Example:
        >>> fraction(np.float32([-2, 0, 0.25, 2]), width_mm=1.0)
        array([1.  , 0.5 , 0.25, 0.  ], dtype=float32)
    """
    inside: Field = np.clip(np.float32(0.5) - distance / np.float32(width_mm), 0, 1)
    return inside


def sum_of_squares(parts: Sequence[Field]) -> Field:
    """Sum of the squares, elementwise."""
    total = parts[0] * parts[0]
    for part in parts[1:]:
        total += part * part
    return total


@dataclass(frozen=True)
class Frame:
    """Where the voxels of a volume lie in the standard head.

    Attributes:
        shape: Whole volume (D, H, W).
        box: Slices of the part that can hold brain.
        axes: Coordinates z, y, x of the box's voxel centres, in millimetres of the standard head.
        voxel_mm: Geometric mean of the voxel's sides, in millimetres of the standard head.
    """

    shape: tuple[int, int, int]
    box: tuple[slice, slice, slice]
    axes: Points
    voxel_mm: float

    @classmethod
    def fit(cls, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> "Frame":
        """Place the standard head in the middle of a volume, as large as the volume holds.

        The voxels stand in LPS order as in BraTS files: W runs to the left, H to the back, D up.

        Args:
            shape: Volume (D, H, W).
            spacing_mm: Voxel size along D, H, W in millimetres.

        Returns:
            The frame, whose head has one scale along all axes.
        """
        sides = zip(shape, spacing_mm, HEAD_MM, strict=True)
        scale = min(_FILL * size * step / head for size, step, head in sides)
        axes, box = [], []
        for size, step, sign, lattice in zip(shape, spacing_mm, (1, -1, -1), LATTICE_AXES, strict=True):
            axis = (sign * (np.arange(size) - (size - 1) / 2) * step / scale).astype(np.float32)
            inside = np.flatnonzero(np.abs(axis) <= lattice[-1])
            box.append(slice(int(inside[0]), int(inside[-1]) + 1))
            axes.append(axis[box[-1]])
        voxel = float(np.prod(spacing_mm)) ** (1 / 3) / scale
        return cls(shape, (box[0], box[1], box[2]), (axes[0], axes[1], axes[2]), voxel)

    def sample(self, field: Field) -> Field:
        """Bring a field of the lattice to the voxels of the box."""
        return interpolate(field, LATTICE_AXES, self.axes)
