"""Changes to one region of a label map: its components, its holes, its volume."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_fill_holes, find_objects, generate_binary_structure, label

from medimg.scoring.regions import region_mask

Connectivity = Literal[6, 18, 26]
"""Neighbours of a voxel: across faces, also across edges, also across corners. In 2D: 4, 8 and 8."""

CONNECTIVITIES: tuple[Connectivity, ...] = (6, 18, 26)

Mask = NDArray[Any]
BoolArray = NDArray[np.bool_]

# Volumes are sums of equal voxels: one that equals the limit but for rounding is kept.
_ROUNDING = 1 - 1e-6


def structure(ndim: int, connectivity: Connectivity) -> BoolArray:
    """Which neighbours touch a voxel, shape (3,) * ndim.

    Example:
        >>> [int(structure(3, number).sum()) - 1 for number in CONNECTIVITIES]
        [6, 18, 26]
        >>> int(structure(2, 26).sum()) - 1
        8
    """
    rank = min(CONNECTIVITIES.index(connectivity) + 1, ndim)
    neighbours: BoolArray = generate_binary_structure(ndim, rank)
    return neighbours


def keep_largest(mask: Mask, values: Sequence[int], *, connectivity: Connectivity = 26) -> Mask:
    """Keep the largest component of a region; of equal ones the first.

    What is removed takes the label that is most common around it: background, or the label that encloses it.

    Args:
        mask: Label map, shape (H, W) or (D, H, W).
        values: Label values of the region.
        connectivity: Which voxels belong together.

    Returns:
        A new label map.

    Example:
        >>> keep_largest(np.array([[1, 1, 0, 1, 2]]), [1])
        array([[1, 1, 0, 0, 2]])
        >>> keep_largest(np.array([[1, 1, 2, 1, 2]]), [1])
        array([[1, 1, 2, 2, 2]])
    """
    parts, sizes = _parts(mask, values, connectivity)
    largest = sizes.argmax() if len(sizes) else 0
    return _without(mask, parts, np.flatnonzero(np.arange(len(sizes)) != largest), connectivity)


def drop_small(
    mask: Mask,
    values: Sequence[int],
    *,
    min_volume_mm3: float,
    voxel_mm3: float,
    connectivity: Connectivity = 26,
) -> Mask:
    """Remove the components of a region that are smaller than a volume, as ``keep_largest`` removes them.

    Args:
        mask: Label map, shape (H, W) or (D, H, W).
        values: Label values of the region.
        min_volume_mm3: Least volume in mm3 of a component that stays.
        voxel_mm3: Volume of a voxel in mm3; 1 for a picture, whose volumes are pixels.
        connectivity: Which voxels belong together.

    Returns:
        A new label map.

    Example:
        >>> drop_small(np.array([[1, 1, 0, 1, 2]]), [1], min_volume_mm3=4, voxel_mm3=2)
        array([[1, 1, 0, 0, 2]])
    """
    parts, sizes = _parts(mask, values, connectivity)
    small = np.flatnonzero(sizes * voxel_mm3 < min_volume_mm3 * _ROUNDING)
    return _without(mask, parts, small, connectivity)


def drop_outside(
    mask: Mask, inner: Sequence[int], outer: Sequence[int], *, connectivity: Connectivity = 26
) -> Mask:
    """Remove the components of a region that touch nothing of the region that should enclose it.

    The regions of a label map always nest: a voxel of the tumour core is one of the whole tumour, by its
    value. What may be missing is the rest of the outer region around it.

    Args:
        mask: Label map, shape (H, W) or (D, H, W).
        inner: Label values of the inner region.
        outer: Label values of the outer region, with or without those of the inner one.
        connectivity: Which voxels touch.

    Returns:
        A new label map, what is removed being background or the label most common around it.

    Example:
        >>> drop_outside(np.array([[1, 0, 2, 1, 2]]), [1], [1, 2])
        array([[0, 0, 2, 1, 2]])
    """
    parts, sizes = _parts(mask, inner, connectivity)
    rest = region_mask(mask, [value for value in outer if value not in inner])
    near = binary_dilation(rest, structure(mask.ndim, connectivity))
    touched = np.bincount(parts[near], minlength=len(sizes) + 1)[1:] > 0
    return _without(mask, parts, np.flatnonzero(~touched), connectivity)


def replace_small(
    mask: Mask, values: Sequence[int], *, to: int, min_volume_mm3: float, voxel_mm3: float
) -> Mask:
    """Give a region another label in a case that holds less than a volume of it.

    BraTS scores a case without enhancing tumour 0 for a single false voxel of it.

    Args:
        mask: Label map of any shape.
        values: Label values of the region.
        to: Label that takes its place; 0 is background.
        min_volume_mm3: Least volume in mm3 that stays.
        voxel_mm3: Volume of a voxel in mm3.

    Returns:
        A new label map.

    Example:
        >>> replace_small(np.array([3, 3, 1, 2]), [3], to=1, min_volume_mm3=3, voxel_mm3=1)
        array([1, 1, 1, 2])
    """
    region = region_mask(mask, values)
    result = mask.copy()
    if np.count_nonzero(region) * voxel_mm3 < min_volume_mm3 * _ROUNDING:
        result[region] = to
    return result


def fill_holes(mask: Mask, values: Sequence[int], *, slicewise: bool = False) -> Mask:
    """Fill the background that a region encloses; other labels inside it stay.

    Args:
        mask: Label map, shape (H, W) or (D, H, W).
        values: Label values of the region; a hole takes the one of them that is most common around it.
        slicewise: Judge each slice along D on its own: what is open to the next slice is a hole too.

    Returns:
        A new label map.

    Example:
        >>> ring = np.array([[1, 1, 1, 1], [1, 0, 2, 1], [1, 1, 1, 1]])
        >>> fill_holes(ring, [1])
        array([[1, 1, 1, 1],
               [1, 1, 2, 1],
               [1, 1, 1, 1]])
    """
    region = region_mask(mask, values)
    if slicewise and mask.ndim == 3:
        # Neighbours of the same slice only, so that each slice is filled by itself.
        filled = np.stack([binary_fill_holes(one) for one in region]) if len(region) else region
    else:
        filled = binary_fill_holes(region)
    holes = np.logical_and(filled, mask == 0)
    result = mask.copy()
    parts, _ = label(holes, structure(mask.ndim, 26))
    for part, box in enumerate(find_objects(parts), start=1):
        wide = _widened(box, mask.shape)
        around = mask[wide][_shell(parts[wide] == part, 26)]
        # A hole inside another label, with no voxel of the region beside it, is not this region's.
        result[box][parts[box] == part] = _most_common(around[np.isin(around, values)])
    return result


def part_volumes(
    mask: Mask, values: Sequence[int], *, voxel_mm3: float, connectivity: Connectivity = 26
) -> NDArray[np.float64]:
    """Volume of each component of a region in mm3, in no order.

    Example:
        >>> part_volumes(np.array([[1, 1, 0, 1, 2]]), [1], voxel_mm3=2.0)
        array([4., 2.])
    """
    _, sizes = _parts(mask, values, connectivity)
    return sizes * voxel_mm3


def _parts(
    mask: Mask, values: Sequence[int], connectivity: Connectivity
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Number of each voxel's component, from 1, and how many voxels each component has."""
    labelled, number = label(region_mask(mask, values), structure(mask.ndim, connectivity))
    parts = np.asarray(labelled, np.int32)
    return parts, np.bincount(parts.ravel(), minlength=number + 1)[1:].astype(np.float64)


def _without(
    mask: Mask, parts: NDArray[np.int32], removed: NDArray[np.intp], connectivity: Connectivity
) -> Mask:
    """Give each removed component (numbered from 0) the label most common around it."""
    result = mask.copy()
    if not len(removed):
        return result
    boxes = find_objects(parts)
    for part in removed.tolist():
        box = boxes[part]
        wide = _widened(box, mask.shape)
        # Read from the mask as it was, so that the order of the components does not matter.
        around = mask[wide][_shell(parts[wide] == part + 1, connectivity)]
        result[box][parts[box] == part + 1] = _most_common(around)
    return result


def _widened(box: tuple[slice, ...], shape: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(
        slice(max(side.start - 1, 0), min(side.stop + 1, size)) for side, size in zip(box, shape, strict=True)
    )


def _shell(part: BoolArray, connectivity: Connectivity) -> BoolArray:
    """Voxels that touch a part."""
    shell: BoolArray = binary_dilation(part, structure(part.ndim, connectivity)) & ~part
    return shell


def _most_common(labels: Mask) -> int:
    """The most common label, of equally common ones the smallest; background where there is none."""
    if not labels.size:
        return 0
    found, counts = np.unique(labels, return_counts=True)
    return int(found[counts.argmax()])
