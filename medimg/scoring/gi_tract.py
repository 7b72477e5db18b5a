"""The score of the UW-Madison GI tract segmentation challenge: Dice of slices and a scaled 3D Hausdorff distance."""

import math

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_erosion
from scipy.spatial import cKDTree

BoolArray = npt.NDArray[np.bool_]

DICE_SHARE, HAUSDORFF_SHARE = 0.4, 0.6


def scaled_hausdorff(pred: BoolArray, target: BoolArray) -> float:
    """Hausdorff distance of two volumes that are each scaled to the unit cube, over the cube's diagonal.

    Args:
        pred: Prediction, shape (D, H, W).
        target: Reference, shape (D, H, W).

    Returns:
        A number in [0, 1]: 1 if exactly one mask is empty, NaN if both are.

    Raises:
        ValueError: If the masks are not two volumes of one shape.

    Example:
        >>> pred, target = np.zeros((4, 4, 4), bool), np.zeros((4, 4, 4), bool)
        >>> pred[0, 0, 0] = target[2, 2, 2] = True
        >>> round(scaled_hausdorff(pred, target), 12)  # half of every axis: half of the diagonal
        0.5
    """
    if pred.ndim != 3 or pred.shape != target.shape:
        raise ValueError(f"two masks (D, H, W) of one grid expected, found {pred.shape} and {target.shape}")
    if not pred.any() or not target.any():
        return math.nan if pred.any() == target.any() else 1.0
    return max(_directed(pred, target), _directed(target, pred)) / math.sqrt(3)


def uw_madison_score(dice: float, hausdorff: float) -> float:
    """Put the two means together.

    Args:
        dice: Mean over slices and classes, those with both masks empty left out.
        hausdorff: Mean of ``scaled_hausdorff`` over volumes and classes, likewise.

    Returns:
        0.4 Dice + 0.6 (1 - Hausdorff), in [0, 1].

    Example:
        >>> round(uw_madison_score(0.9, 0.1), 6)
        0.9
    """
    return DICE_SHARE * dice + HAUSDORFF_SHARE * (1 - hausdorff)


def _directed(one: BoolArray, other: BoolArray) -> float:
    """Largest distance of a voxel of one mask to the other, in the unit cube."""
    outside = np.argwhere(one & ~other)
    if not len(outside):
        return 0.0
    scale = np.array(one.shape, np.float64)
    # The voxel of a mask that is nearest to one outside it has a face neighbour outside it.
    edge = np.argwhere(other & ~binary_erosion(other))
    distances, _ = cKDTree(edge / scale).query(outside / scale)
    return float(np.max(distances))
