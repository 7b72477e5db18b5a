"""The evaluator that TransUNet was published with, to compare with its figures and for nothing else.

It scores a prediction where the reference holds nothing as perfect, and two empty masks as a failure; its HD95
is measured in voxels, whatever their size.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_erosion
from scipy.spatial import cKDTree

from medimg.io.nifti import read_grid, read_mask
from medimg.scoring.files import check_grids
from medimg.scoring.pairs import Pair
from medimg.scoring.regions import region_mask
from medimg.scoring.table import CASE_COLUMN, PATIENT_COLUMN, Row

BoolArray = npt.NDArray[np.bool_]


def transunet_scores(pred: BoolArray, target: BoolArray) -> tuple[float, float]:
    """Dice and HD95 of one class of one case, as that evaluator has them.

    Args:
        pred: Prediction, shape (D, H, W).
        target: Reference, shape (D, H, W).

    Returns:
        Dice and, in voxels, the 95th percentile of the distances of both surfaces taken together. (1, 0) if
        only the reference is empty, (0, 0) if the prediction is.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> some, none = np.ones((2, 2, 2), bool), np.zeros((2, 2, 2), bool)
        >>> transunet_scores(some, none), transunet_scores(none, some), transunet_scores(none, none)
        ((1.0, 0.0), (0.0, 0.0), (0.0, 0.0))

    Reference:
        Chen et al., "TransUNet", arXiv:2102.04306, 2021, and its published code.
    """
    if pred.shape != target.shape:
        raise ValueError(f"masks of one grid expected, found shapes {pred.shape} and {target.shape}")
    if not pred.any():
        return 0.0, 0.0
    if not target.any():
        return 1.0, 0.0
    dice = 2 * int((pred & target).sum()) / int(pred.sum() + target.sum())
    one, other = _boundary(pred), _boundary(target)
    distances = [cKDTree(other).query(one)[0], cKDTree(one).query(other)[0]]
    return dice, float(np.percentile(np.concatenate(distances), 95))


def transunet_pair(pair: Pair, classes: Mapping[str, Sequence[int]]) -> Row:
    """Score each class of the two masks of a case.

    Args:
        pair: The two files.
        classes: Label values of each class.

    Returns:
        One row: ``case_id``, ``patient_id``, ``dice_<class>``, ``hd95_<class>``.

    Raises:
        DataError: If a file cannot be read or the grids differ.
    """
    check_grids(pair.case_id, read_grid(pair.pred), read_grid(pair.ref))
    pred, ref = read_mask(pair.pred), read_mask(pair.ref)
    found = {
        name: transunet_scores(region_mask(pred, values), region_mask(ref, values))
        for name, values in classes.items()
    }
    return {
        CASE_COLUMN: pair.case_id,
        PATIENT_COLUMN: pair.patient_id,
        **{f"dice_{name}": dice for name, (dice, _) in found.items()},
        **{f"hd95_{name}": hd95 for name, (_, hd95) in found.items()},
    }


def _boundary(mask: BoolArray) -> npt.NDArray[np.intp]:
    """Voxels with a face neighbour outside the mask, shape (P, 3)."""
    return np.argwhere(mask & ~binary_erosion(mask))
