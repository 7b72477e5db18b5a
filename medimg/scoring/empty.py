"""What a case scores when the reference, the prediction or both hold no voxel of a class."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

EmptyRule = Literal["brats", "skip", "one"]
Metric = Literal["dice", "hd95", "nsd"]

METRICS: tuple[Metric, ...] = ("dice", "hd95", "nsd")

BRATS_WORST_MM = 373.12866
"""Diagonal of 240 x 240 x 155 mm: what BraTS gives as HD95 when exactly one mask is empty."""

BRATS_2023_WORST_MM = 374.0
"""The same in the code of the 2023 challenge, which rounds it up."""

IMAGE_DIAGONAL = math.inf
"""Stands in the table for the diagonal of the case's own volume, in millimetres."""

_PERFECT: Mapping[Metric, float] = MappingProxyType({"dice": 1.0, "hd95": 0.0, "nsd": 1.0})
_BRATS_WORST: Mapping[Metric, float] = MappingProxyType({"dice": 0.0, "hd95": BRATS_WORST_MM, "nsd": 0.0})
_WORST: Mapping[Metric, float] = MappingProxyType({"dice": 0.0, "hd95": IMAGE_DIAGONAL, "nsd": 0.0})
_LEFT_OUT: Mapping[Metric, float] = MappingProxyType({"dice": math.nan, "hd95": math.nan, "nsd": math.nan})


@dataclass(frozen=True, slots=True)
class EmptyScores:
    """The scores one rule gives; NaN leaves the case out of the mean, and it is counted as left out.

    Attributes:
        both: Neither mask holds a voxel.
        only_prediction: The prediction holds voxels and the reference none.
        only_reference: The reference holds voxels and the prediction none.
    """

    both: Mapping[Metric, float]
    only_prediction: Mapping[Metric, float]
    only_reference: Mapping[Metric, float]


# A structure that was missed never scores NaN: leaving it out would reward the network for missing it.
EMPTY_SCORES: Mapping[EmptyRule, EmptyScores] = MappingProxyType(
    {
        "brats": EmptyScores(both=_PERFECT, only_prediction=_BRATS_WORST, only_reference=_BRATS_WORST),
        "one": EmptyScores(both=_PERFECT, only_prediction=_WORST, only_reference=_WORST),
        "skip": EmptyScores(both=_LEFT_OUT, only_prediction=_LEFT_OUT, only_reference=_WORST),
    }
)
"""The three rules.

| rule | both empty | only the prediction holds voxels | only the reference holds voxels |
|---|---|---|---|
| ``brats`` | Dice 1, HD95 0, NSD 1 | Dice 0, HD95 373.12866 mm, NSD 0 | the same |
| ``one`` | Dice 1, HD95 0, NSD 1 | Dice 0, HD95 the volume's diagonal, NSD 0 | the same |
| ``skip`` | left out | left out | Dice 0, HD95 the volume's diagonal, NSD 0 |

On a BraTS volume of 240 x 240 x 155 mm the diagonal is 373.12866 mm.
"""


def empty_score(
    metric: Metric, *, prediction_empty: bool, reference_empty: bool, rule: EmptyRule, diagonal_mm: float
) -> float | None:
    """Score of a case in which a mask is empty.

    Args:
        metric: The number asked for.
        prediction_empty: The prediction holds no voxel.
        reference_empty: The reference holds no voxel.
        rule: Row of the table ``EMPTY_SCORES``.
        diagonal_mm: Diagonal of the volume in mm.

    Returns:
        The score, NaN where the case is left out, or ``None`` if both masks hold voxels.

    Example:
        >>> empty_score("dice", prediction_empty=True, reference_empty=True, rule="brats", diagonal_mm=9.0)
        1.0
        >>> empty_score("hd95", prediction_empty=True, reference_empty=False, rule="one", diagonal_mm=9.0)
        9.0
    """
    if not (prediction_empty or reference_empty):
        return None
    scores = EMPTY_SCORES[rule]
    if prediction_empty and reference_empty:
        value = scores.both[metric]
    else:
        value = (scores.only_reference if prediction_empty else scores.only_prediction)[metric]
    return diagonal_mm if value == IMAGE_DIAGONAL else value
