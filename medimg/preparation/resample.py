"""Resampling of volumes as one small matrix an axis.

Spline interpolation along an axis is linear in the samples, so it is a matrix (n_out, n_in) that is
made once for each pair of lengths. Applying it is a matrix product, which runs many times
faster than evaluating the spline voxel by voxel and gives the same numbers.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Degree = Literal[0, 1, 3]


@lru_cache(maxsize=512)
def axis_matrix(n_in: int, n_out: int, order: Degree) -> NDArray[np.float32]:
    """Interpolation weights from ``n_in`` samples to ``n_out`` that cover the same extent.

    Samples stand at the centres of their cells; beyond the first and the last the edge value holds.

    Args:
        n_in: Samples along the axis now.
        n_out: Samples wanted.
        order: Degree of the spline: 0 nearest, 1 linear, 3 cubic.

    Returns:
        Matrix of shape (n_out, n_in), rows summing to one.

    Example:
        >>> axis_matrix(2, 4, 1).round(2).tolist()
        [[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]]
    """
    positions = (np.arange(n_out) + 0.5) * n_in / n_out - 0.5
    responses = [  # how the output answers to a unit sample at each input position
        ndimage.map_coordinates(unit, positions[None], order=order, mode="nearest") for unit in np.eye(n_in)
    ]
    return np.stack(responses, axis=1).astype(np.float32)


def resample_volume(
    volume: NDArray[np.float32], shape: Sequence[int], order: Sequence[Degree]
) -> NDArray[np.float32]:
    """Resample the last three axes to a new shape over the same extent.

    Args:
        volume: Array of shape (..., D, H, W).
        shape: Wanted (D, H, W).
        order: Spline degree along D, H, W.

    Returns:
        Array of shape (..., *shape).

    Example:
        >>> resample_volume(np.ones((2, 4, 4), np.float32), (4, 2, 4), (3, 3, 3)).shape
        (4, 2, 4)
    """
    lead = volume.ndim - 3
    for axis, (n_out, degree) in enumerate(zip(shape, order, strict=True)):
        n_in = volume.shape[lead + axis]
        if n_in == n_out:
            continue
        moved = np.moveaxis(volume, lead + axis, -1)
        volume = np.moveaxis(moved @ axis_matrix(n_in, n_out, degree).T, -1, lead + axis)
    return np.ascontiguousarray(volume, dtype=np.float32)


def resample_labels(
    labels: NDArray[np.uint8], shape: Sequence[int], order: Sequence[Degree]
) -> NDArray[np.uint8]:
    """Resample a label map: each value is interpolated on its own and the largest wins.

    Args:
        labels: Label map (D, H, W).
        shape: Wanted (D, H, W).
        order: Spline degree along D, H, W, at most 1, so that no label overshoots.

    Returns:
        Label map of the wanted shape that holds no value the input lacks.

    Example:
        >>> resample_labels(np.array([[[0, 5]]], np.uint8), (1, 1, 4), (1, 1, 1)).tolist()
        [[[0, 0, 5, 5]]]
    """
    if tuple(labels.shape) == tuple(shape):
        return labels
    result = np.zeros(shape, dtype=labels.dtype)
    best = np.full(shape, -np.inf, dtype=np.float32)
    for value in np.unique(labels):
        share = resample_volume((labels == value).astype(np.float32), shape, order)
        wins = share > best
        result[wins] = value
        best[wins] = share[wins]
    return result


def axis_orders(
    spacing_mm: Sequence[float], degree: Degree, *, anisotropy: float = 3.0
) -> tuple[Degree, Degree, Degree]:
    """Spline degree along each axis: nearest across thick slices, ``degree`` elsewhere.

    Interpolating between slices much further apart than the pixels invents anatomy, so the one axis
    whose spacing is more than ``anisotropy`` times the finest is copied, not blended. Two axes that
    are equally coarse are no slices, and are blended.

    Example:
        >>> axis_orders((5.0, 0.7, 0.7), 3)
        (0, 3, 3)
        >>> axis_orders((0.3, 1.2, 1.2), 3)
        (3, 3, 3)
    """
    finest, coarsest = min(spacing_mm), max(spacing_mm)
    slices = coarsest > anisotropy * finest and list(spacing_mm).count(coarsest) == 1
    d, h, w = (slices and step == coarsest for step in spacing_mm)
    return (0 if d else degree), (0 if h else degree), (0 if w else degree)
