"""Score one case from its two files."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medimg.errors import DataError
from medimg.io.grid import Grid
from medimg.io.nifti import read_grid, read_mask
from medimg.scoring.empty import BRATS_WORST_MM, EmptyRule
from medimg.scoring.lesionwise import LesionRule, lesionwise_scores
from medimg.scoring.pairs import Pair
from medimg.scoring.regions import region_mask
from medimg.scoring.surface import HausdorffDefinition
from medimg.scoring.table import Row, score_case

_SAME_PLACE_MM = 0.05  # rounding of headers; further apart up to half a voxel is a warning, beyond a refusal


@dataclass(frozen=True, slots=True)
class ScoreSettings:
    """What a case's numbers depend on beside its masks.

    Attributes:
        classes: Label values of each class or region.
        labels: Label values that may occur, the background left out; ``None`` allows any.
        empty: Rule for empty masks.
        nsd_tolerance_mm: Distance in mm that counts as agreement of the surfaces.
        hd95_definition: Form of HD95.
        brats_worst_mm: HD95 under the rule ``"brats"`` when exactly one mask is empty.
        ignore_label: Voxels with this value in the reference are background on both sides.
        lesion_rule: How lesions are told apart; ``None`` leaves the lesion-wise scores out.
    """

    classes: Mapping[str, tuple[int, ...]]
    labels: frozenset[int] | None = None
    empty: EmptyRule = "brats"
    nsd_tolerance_mm: float = 1.0
    hd95_definition: HausdorffDefinition = "area"
    brats_worst_mm: float = BRATS_WORST_MM
    ignore_label: int | None = None
    lesion_rule: LesionRule | None = None


@dataclass(frozen=True, slots=True)
class ScoredCase:
    """A row of the table, and what the user should know about it.

    Attributes:
        row: Scores of the case.
        warning: A sentence on grids that do not quite agree, or ``None``.
    """

    row: Row
    warning: str | None


def score_pair(pair: Pair, settings: ScoreSettings) -> ScoredCase:
    """Read both masks of a case, check that they can be compared, and score them.

    Args:
        pair: The two files.
        settings: Classes and rules.

    Returns:
        The row of this case, lesion-wise columns last: ``lesion_dice_<class>``, ``lesion_hd95_<class>``,
        and the counts ``lesions_<class>``, ``lesions_missed_<class>``, ``false_positives_<class>``.

    Raises:
        DataError: If a file cannot be read, the grids differ, or a label value is outside the set.
    """
    ref_grid = read_grid(pair.ref)
    warning = check_grids(pair.case_id, read_grid(pair.pred), ref_grid)
    pred, ref = read_mask(pair.pred), read_mask(pair.ref)
    if settings.labels is not None:
        _check_labels(pair, "prediction", pred, settings.labels)
        ignored = {settings.ignore_label} - {None}
        _check_labels(pair, "reference", ref, settings.labels | ignored)
    row = score_case(
        pair.case_id,
        pair.patient_id,
        pred,
        ref,
        ref_grid.spacing_mm,
        settings.classes,
        empty=settings.empty,
        nsd_tolerance_mm=settings.nsd_tolerance_mm,
        hd95_definition=settings.hd95_definition,
        ignore_label=settings.ignore_label,
        brats_worst_mm=settings.brats_worst_mm,
    )
    if settings.lesion_rule is not None:
        row |= _lesion_columns(pred, ref, ref_grid.spacing_mm, settings, settings.lesion_rule)
    return ScoredCase(row, warning)


def check_grids(case_id: str, pred: Grid, ref: Grid) -> str | None:
    """Refuse masks that lie on different grids.

    Args:
        case_id: Name of the case.
        pred: Grid of the prediction.
        ref: Grid of the reference.

    Returns:
        ``None`` if all corners agree within 0.05 mm, a warning if they do within half a voxel.

    Raises:
        DataError: If the shapes differ or a corner is further away.

    Example:
        >>> check_grids("a", Grid((2, 2, 2), np.eye(4)), Grid((2, 2, 2), np.eye(4)))
    """
    if pred.shape != ref.shape:
        raise DataError(
            f"case {case_id}: the prediction has shape {pred.shape}, the reference {ref.shape} (D, H, W). "
            "Resample the prediction to the reference's grid, labels by nearest neighbour, and score again."
        )
    apart_mm = pred.corner_distance_mm(ref)
    half_voxel_mm = min(ref.spacing_mm) / 2
    if apart_mm > half_voxel_mm:
        raise DataError(
            f"case {case_id}: prediction and reference lie {apart_mm:.2f} mm apart at a corner, at most half "
            f"a voxel ({half_voxel_mm:.2f} mm) allowed. Write the prediction with the source image's affine."
        )
    if apart_mm < _SAME_PLACE_MM:
        return None
    return f"case {case_id}: prediction and reference lie {apart_mm:.2f} mm apart at a corner; scored so."


def _check_labels(pair: Pair, side: str, mask: npt.NDArray[Any], labels: frozenset[int | None]) -> None:
    found = {int(value) for value in np.unique(mask)} - {0}
    outside = sorted(found - labels)
    if outside:
        path = pair.pred if side == "prediction" else pair.ref
        allowed = sorted(label for label in labels if label is not None)
        raise DataError(
            f"{path}: label values {outside} in the {side} are outside the set {allowed}. "
            "Name the regions or labels that this data set uses."
        )


def _lesion_columns(
    pred: npt.NDArray[Any],
    ref: npt.NDArray[Any],
    spacing_mm: tuple[float, float, float],
    settings: ScoreSettings,
    rule: LesionRule,
) -> dict[str, float]:
    counted = None if settings.ignore_label is None else ref != settings.ignore_label
    scores = {}
    for name, values in settings.classes.items():
        pred_region, ref_region = region_mask(pred, values), region_mask(ref, values)
        if counted is not None:
            pred_region &= counted
            ref_region &= counted
        scores[name] = lesionwise_scores(pred_region, ref_region, spacing_mm, rule=rule)
    return {
        **{f"lesion_dice_{name}": score.dice for name, score in scores.items()},
        **{f"lesion_hd95_{name}": score.hd95_mm for name, score in scores.items()},
        **{f"lesions_{name}": float(score.n_lesions) for name, score in scores.items()},
        **{f"lesions_missed_{name}": float(score.n_missed) for name, score in scores.items()},
        **{f"false_positives_{name}": float(score.n_false_positives) for name, score in scores.items()},
    }
