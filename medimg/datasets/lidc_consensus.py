"""Which outlines mean the same nodule, and the voxels on which the readers agree.

References:
    Armato et al. 2011, "The LIDC and IDRI", Medical Physics 38, doi:10.1118/1.3528204: how outlines are drawn.
    Hancock and Magnan 2016, "Lung nodule malignancy classification using only radiologist-quantified image
    features", Journal of Medical Imaging 3, doi:10.1117/1.JMI.3.4.044504: grouping by distance.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from medimg.datasets.lidc_xml import Annotation
from medimg.errors import DataError

MOST_READERS = 4
_SHRINK = 0.9
_LEAST_TOLERANCE_MM = 0.1  # closer than this, outlines of two nodules cannot be told apart


@dataclass(frozen=True, slots=True, eq=False)
class Consensus:
    """Voxels of one nodule within a box.

    Attributes:
        start: First voxel of the box (d, h, w).
        mask: Shape (d, h, w); may be empty where no voxel is agreed on.
    """

    start: tuple[int, int, int]
    mask: NDArray[np.bool_]

    @property
    def box(self) -> tuple[slice, slice, slice]:
        """The box as slices of the volume."""
        d, h, w = (slice(first, first + n) for first, n in zip(self.start, self.mask.shape, strict=True))
        return d, h, w


def group_annotations(
    annotations: Sequence[Annotation], spacing_mm: tuple[float, float]
) -> list[tuple[Annotation, ...]]:
    """Group what the readers outlined into nodules.

    Two outlines mean one nodule where their pixels come as close as the tolerance, at first the distance of
    two pixels. Where a group has more than four members it is shrunk by a tenth, for the whole scan, until
    none has, or until it is 0.1 mm: nodules that touch then stay together.

    Args:
        annotations: All annotations of one scan.
        spacing_mm: Distance of rows and of columns.

    Returns:
        The groups from the lowest to the highest in z, the annotations of each in their order.
    """
    if not annotations:
        return []
    distances = _distances([outline_mm(one, spacing_mm) for one in annotations])
    tolerance = min(spacing_mm)
    while True:
        count, labels = connected_components(distances <= tolerance, directed=False)
        # Below the least tolerance the last grouping stands.
        if np.bincount(labels).max() <= MOST_READERS or tolerance * _SHRINK < _LEAST_TOLERANCE_MM:
            break
        tolerance *= _SHRINK
    groups = [
        tuple(one for one, label in zip(annotations, labels, strict=True) if label == number)
        for number in range(count)
    ]
    return sorted(groups, key=lambda group: _middle(group, spacing_mm))


def outline_mm(annotation: Annotation, spacing_mm: tuple[float, float]) -> NDArray[np.float64]:
    """Every outlined pixel as (z, y, x) in millimetres from the corner of the image, shape (N, 3)."""
    row, column = spacing_mm
    return np.concatenate(
        [
            np.column_stack(
                [np.full(len(one.points), one.z_mm), one.points[:, 1] * row, one.points[:, 0] * column]
            )
            for one in annotation.contours
        ]
    )


def _distances(outlines: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Smallest distance between each two outlines, shape (N, N)."""
    trees = [KDTree(points) for points in outlines]
    distances = np.zeros((len(trees), len(trees)))
    for i, tree in enumerate(trees):
        for j in range(i):
            distances[i, j] = distances[j, i] = np.asarray(tree.query(outlines[j])[0]).min()
    return distances


def _middle(group: Sequence[Annotation], spacing_mm: tuple[float, float]) -> tuple[float, ...]:
    middles = [outline_mm(one, spacing_mm).mean(axis=0) for one in group]
    return tuple(np.mean(middles, axis=0).tolist())


def consensus_mask(
    annotations: Sequence[Annotation], slices_mm: NDArray[np.float64], *, share: float = 0.5
) -> Consensus:
    """Voxels that at least a share of a nodule's readers hold to be nodule.

    An outline runs on the first pixels outside, so its own pixels are no nodule; those of a part that is cut
    out are none either. Two annotations of one reader count as one that holds both.

    Args:
        annotations: One nodule's, as `group_annotations` gives them.
        slices_mm: Position of each slice of the volume as in the files' ``imageZposition``, shape (D,).
        share: Share of the readers who outlined the nodule, not of all four.

    Returns:
        The voxels in a box around all outlines.

    Raises:
        DataError: If an outline lies on none of the slices.
    """
    points = np.concatenate([contour.points for one in annotations for contour in one.contours])
    low, high = points.min(axis=0), points.max(axis=0)
    depths = [slice_of(contour.z_mm, slices_mm) for one in annotations for contour in one.contours]
    start = (min(depths), int(low[1]), int(low[0]))
    shape = (max(depths) - start[0] + 1, int(high[1] - low[1]) + 1, int(high[0] - low[0]) + 1)
    votes = np.zeros(shape, np.int32)
    readers = sorted({one.reader for one in annotations})
    for reader in readers:
        held = np.zeros(shape, bool)
        for one in annotations:
            if one.reader == reader:
                held |= _mask(one, slices_mm, start, shape)
        votes += held
    return Consensus(start, votes >= max(share * len(readers), 1))


def _mask(
    annotation: Annotation,
    slices_mm: NDArray[np.float64],
    start: tuple[int, int, int],
    shape: tuple[int, int, int],
) -> NDArray[np.bool_]:
    """One annotation in a box, shape (d, h, w)."""
    mask = np.zeros(shape, bool)
    # What is cut out comes last, whatever the order in the file.
    for contour in sorted(annotation.contours, key=lambda one: not one.inclusion):
        plane = mask[slice_of(contour.z_mm, slices_mm) - start[0]]
        points = contour.points - np.array([start[2], start[1]], np.int32)
        if contour.inclusion:
            plane |= fill(points, shape[1:])
        else:
            plane &= ~fill(points, shape[1:], with_outline=True)
    return mask


def slice_of(z_mm: float, slices_mm: NDArray[np.float64]) -> int:
    """Return the slice nearest to a position.

    Args:
        z_mm: The position.
        slices_mm: Position of each slice, shape (D,).

    Raises:
        DataError: If the nearest is farther than the slices are apart.

    Example:
        >>> slice_of(-7.4, np.array([-10.0, -7.5, -5.0]))
        1
    """
    away = np.abs(slices_mm - z_mm)
    nearest = int(away.argmin())
    step = float(np.abs(np.diff(slices_mm)).max()) if len(slices_mm) > 1 else 1.0
    if away[nearest] > step:
        raise DataError(
            f"expected the outline at z = {z_mm:g} mm on a slice, found slices from {slices_mm.min():g} to "
            f"{slices_mm.max():g} mm, {step:g} mm apart: the annotations belong to another scan, or slices are missing"
        )
    return nearest


def fill(
    points: NDArray[np.int32], shape: tuple[int, ...], *, with_outline: bool = False
) -> NDArray[np.bool_]:
    """Pixels inside a closed outline, by the even-odd rule.

    Args:
        points: Corners (x, y) in drawing order, closed or not, shape (N, 2).
        shape: Image (H, W).
        with_outline: Also take the pixels on the outline itself, those between two corners included.

    Returns:
        Shape (H, W).

    Example:
        >>> square = np.array([[0, 0], [3, 0], [3, 3], [0, 3]])
        >>> fill(square, (4, 4)).astype(int).tolist()
        [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    """
    height, width = shape
    inside, outline = np.zeros((height, width), bool), np.zeros((height, width), bool)
    columns = np.arange(width)
    for (x0, y0), (x1, y1) in zip(points.tolist(), np.roll(points, -1, axis=0).tolist(), strict=True):
        steps = max(abs(x1 - x0), abs(y1 - y0), 1)
        for step in range(steps + 1):
            x, y = x0 * steps + step * (x1 - x0), y0 * steps + step * (y1 - y0)
            if x % steps == 0 and y % steps == 0:  # the edge passes through the middle of a pixel
                outline[y // steps, x // steps] = True
        for row in range(min(y0, y1), max(y0, y1)):  # a row at the upper end belongs to the next edge
            inside[row] ^= columns < x0 + (row - y0) * (x1 - x0) / (y1 - y0)
    filled: NDArray[np.bool_] = (inside | outline) if with_outline else (inside & ~outline)
    return filled
