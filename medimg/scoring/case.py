"""The scores of one class of one case."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from medimg.scoring.empty import BRATS_WORST_MM, EmptyRule, Metric
from medimg.scoring.overlap import dice
from medimg.scoring.surface import (
    HausdorffDefinition,
    hd95,
    robust_hausdorff,
    score_if_empty,
    surface_dice,
    surface_distances,
)

BoolArray = npt.NDArray[np.bool_]


def class_scores(
    pred: BoolArray,
    target: BoolArray,
    spacing_mm: Sequence[float],
    *,
    metrics: Sequence[Metric],
    empty: EmptyRule,
    nsd_tolerance_mm: float,
    hd95_definition: HausdorffDefinition = "area",
    brats_worst_mm: float = BRATS_WORST_MM,
) -> dict[Metric, float]:
    """Score one mask; HD95 and NSD share one measurement of the surfaces.

    Args:
        pred: Prediction, shape (D, H, W) or (H, W).
        target: Reference, same shape.
        spacing_mm: Voxel size along each of these axes in mm.
        metrics: Numbers to compute.
        empty: What an empty mask scores: a rule of ``medimg.scoring.empty``.
        nsd_tolerance_mm: Distance in mm that counts as agreement of the surfaces.
        hd95_definition: Form of HD95, see ``medimg.scoring.surface.hd95``.
        brats_worst_mm: HD95 under the rule ``"brats"`` when exactly one mask is empty.

    Returns:
        One number a metric, in the order asked for; NaN where the rule leaves the case out.

    Raises:
        ValueError: If the masks are not two of bool and one shape, or a spacing is not positive.

    Example:
        >>> mask = np.ones((2, 2, 2), bool)
        >>> class_scores(mask, mask, (1, 1, 1), metrics=("dice", "nsd"), empty="brats", nsd_tolerance_mm=1)
        {'dice': 1.0, 'nsd': 1.0}
    """
    scores: dict[Metric, float] = {}
    distances = None
    for metric in metrics:
        if_empty = score_if_empty(
            metric, pred, target, spacing_mm, empty=empty, brats_worst_mm=brats_worst_mm
        )
        if if_empty is not None:
            scores[metric] = if_empty
        elif metric == "dice":
            scores[metric] = dice(pred, target, empty=empty)
        elif metric == "hd95" and hd95_definition == "max":
            scores[metric] = hd95(pred, target, spacing_mm, empty=empty, definition="max")
        else:
            distances = distances or surface_distances(pred, target, spacing_mm)
            scores[metric] = (
                robust_hausdorff(distances)
                if metric == "hd95"
                else surface_dice(distances, tolerance_mm=nsd_tolerance_mm)
            )
    return scores
