"""Overlap of two masks."""

import numpy as np
import numpy.typing as npt

from medimg.scoring.empty import EmptyRule, empty_score


def dice(pred: npt.NDArray[np.bool_], target: npt.NDArray[np.bool_], *, empty: EmptyRule) -> float:
    """Twice the common voxels over the sum of both masks' voxels.

    Args:
        pred: Prediction, shape (D, H, W), or any other shape equal to the reference's.
        target: Reference, same shape.
        empty: What a case with an empty mask scores: a rule of ``medimg.scoring.empty``.

    Returns:
        A number in [0, 1], or NaN for a case that the rule leaves out.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> pred = np.array([True, True, False])
        >>> dice(pred, np.array([True, False, False]), empty="brats")
        0.6666666666666666

    Reference:
        Dice, "Measures of the amount of ecologic association between species", Ecology 1945.
    """
    if pred.shape != target.shape:
        raise ValueError(f"masks of one grid expected, found shapes {pred.shape} and {target.shape}")
    n_pred, n_target = int(np.count_nonzero(pred)), int(np.count_nonzero(target))
    score = empty_score(
        "dice", prediction_empty=n_pred == 0, reference_empty=n_target == 0, rule=empty, diagonal_mm=0.0
    )
    if score is not None:
        return score
    return 2 * int(np.count_nonzero(np.logical_and(pred, target))) / (n_pred + n_target)
