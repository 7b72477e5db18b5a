"""Lesion-wise scores of the BraTS challenges from 2023 on: each lesion counts alike, large or small."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_dilation, find_objects, generate_binary_structure, label

from medimg.scoring.empty import BRATS_2023_WORST_MM
from medimg.scoring.overlap import dice
from medimg.scoring.surface import hd95

BoolArray = npt.NDArray[np.bool_]
Labels = npt.NDArray[Any]
Box = tuple[slice, ...]
LesionChallenge = Literal["gli", "ssa", "ped", "men", "met"]

_TOUCHING_26 = generate_binary_structure(3, 3)
_DILATION = generate_binary_structure(3, 2)


@dataclass(frozen=True, slots=True)
class LesionRule:
    """How lesions are told apart and which count.

    Attributes:
        dilation: Steps by which the reference is dilated; parts that then touch are one lesion.
        min_volume_mm3: Reference lesions of at most this volume are dropped.
    """

    dilation: int
    min_volume_mm3: float


LESION_RULES: Mapping[LesionChallenge, LesionRule] = MappingProxyType(
    {
        "gli": LesionRule(dilation=3, min_volume_mm3=50.0),
        "ssa": LesionRule(dilation=3, min_volume_mm3=50.0),
        "ped": LesionRule(dilation=3, min_volume_mm3=50.0),
        "men": LesionRule(dilation=1, min_volume_mm3=50.0),
        "met": LesionRule(dilation=1, min_volume_mm3=2.0),  # metastases may be a few voxels
    }
)
"""Rule of each BraTS 2023 challenge."""


@dataclass(frozen=True, slots=True)
class LesionScore:
    """One reference lesion.

    Attributes:
        volume_mm3: Its volume.
        dice: Against all predicted components that touch the dilated lesion.
        hd95_mm: Likewise; 374 if none touches it.
        found: Whether a predicted component touches it.
        kept: Whether it is large enough to count.
    """

    volume_mm3: float
    dice: float
    hd95_mm: float
    found: bool
    kept: bool


@dataclass(frozen=True, slots=True)
class LesionwiseScore:
    """Scores of one region of one case.

    Attributes:
        dice: Sum over kept lesions / (kept lesions + false positives); 1 if there is nothing to count.
        hd95_mm: Likewise with 374 for each false positive; 0 if there is nothing to count.
        n_false_positives: Predicted components that touch no reference lesion, dropped ones included.
        lesions: Every reference lesion, kept or not.
    """

    dice: float
    hd95_mm: float
    n_false_positives: int
    lesions: tuple[LesionScore, ...]

    @property
    def n_lesions(self) -> int:
        """Number of kept reference lesions."""
        return sum(lesion.kept for lesion in self.lesions)

    @property
    def n_missed(self) -> int:
        """Number of kept reference lesions that no predicted component touches."""
        return sum(lesion.kept and not lesion.found for lesion in self.lesions)


def lesionwise_scores(
    pred: BoolArray,
    target: BoolArray,
    spacing_mm: Sequence[float],
    *,
    rule: LesionRule = LESION_RULES["gli"],
    worst_mm: float = BRATS_2023_WORST_MM,
) -> LesionwiseScore:
    """Score one region lesion by lesion.

    Lesions are told apart after dilation and scored without it. A predicted component may serve several
    lesions. Predictions that touch only a dropped lesion are no false positives.

    Args:
        pred: Prediction of the region, shape (D, H, W).
        target: Reference of the region, shape (D, H, W).
        spacing_mm: Voxel size along D, H, W in mm.
        rule: Dilation and smallest volume, by default those for glioma.
        worst_mm: HD95 of a missed lesion and of a false positive.

    Returns:
        Lesion-wise Dice and HD95 and what they were made of.

    Raises:
        ValueError: If the masks are not two volumes of one shape.

    Example:
        >>> target = np.zeros((8, 8, 8), bool)
        >>> target[:4, :4, :4] = True
        >>> pred = target.copy()
        >>> pred[7, 7, 7] = True  # one voxel far away halves the score
        >>> lesionwise_scores(pred, target, (1.0, 1.0, 1.0)).dice
        0.5

    Reference:
        Moawad et al., "The brain tumor segmentation - metastases (BraTS-METS) challenge 2023",
        arXiv:2306.00838; Saluja et al., the challenge's published metric code, 2023.
    """
    if pred.ndim != 3 or pred.shape != target.shape:
        raise ValueError(f"two masks (D, H, W) of one grid expected, found {pred.shape} and {target.shape}")
    lesion_labels = _lesions(target, rule.dilation)
    pred_labels, n_pred = label(pred, structure=_TOUCHING_26)
    pred_boxes = find_objects(pred_labels)
    voxel_mm3 = float(np.prod(spacing_mm))
    touching_any: set[int] = set()
    lesions = []
    for number, box in enumerate(find_objects(lesion_labels), start=1):
        touching = _touching(lesion_labels, number, box, pred_labels, rule.dilation)
        touching_any.update(touching)
        whole = _cover([box, *(pred_boxes[component - 1] for component in touching)])
        lesion = lesion_labels[whole] == number
        found = np.isin(pred_labels[whole], touching)
        volume_mm3 = int(np.count_nonzero(lesion)) * voxel_mm3
        lesions.append(
            LesionScore(
                volume_mm3=volume_mm3,
                dice=dice(found, lesion, empty="brats"),
                hd95_mm=hd95(found, lesion, spacing_mm, empty="brats", brats_worst_mm=worst_mm),
                found=bool(touching),
                kept=volume_mm3 > rule.min_volume_mm3,
            )
        )
    return _combined(lesions, n_pred - len(touching_any), worst_mm)


def _lesions(target: BoolArray, dilation: int) -> Labels:
    """Number each voxel of the reference by the dilated component that it lies in, shape (D, H, W)."""
    if not target.any():
        return np.zeros(target.shape, dtype=np.int32)
    # No step is lost at the rim of the filled box once it has a margin of the dilation's reach.
    (filled,) = find_objects(target.view(np.uint8))
    box = _grown(filled, dilation, target.shape)
    near = target[box]
    dilated, _ = label(
        binary_dilation(near, structure=_DILATION, iterations=dilation), structure=_TOUCHING_26
    )
    lesions = np.zeros(target.shape, dtype=np.int32)
    lesions[box] = dilated * near
    return lesions


def _touching(lesion_labels: Labels, number: int, box: Box, pred_labels: Labels, dilation: int) -> list[int]:
    """Predicted components that share a voxel with a dilated lesion."""
    near = _grown(box, dilation, lesion_labels.shape)
    dilated = binary_dilation(lesion_labels[near] == number, structure=_DILATION, iterations=dilation)
    return [int(component) for component in np.unique(pred_labels[near][dilated]) if component]


def _grown(box: Box, margin: int, shape: tuple[int, ...]) -> Box:
    return tuple(
        slice(max(axis.start - margin, 0), min(axis.stop + margin, n))
        for axis, n in zip(box, shape, strict=True)
    )


def _cover(boxes: Sequence[Box]) -> Box:
    """Smallest box around all boxes."""
    return tuple(
        slice(min(axis.start for axis in axes), max(axis.stop for axis in axes))
        for axes in zip(*boxes, strict=True)
    )


def _combined(lesions: Sequence[LesionScore], n_false_positives: int, worst_mm: float) -> LesionwiseScore:
    kept = [lesion for lesion in lesions if lesion.kept]
    counted = len(kept) + n_false_positives
    if counted == 0:
        return LesionwiseScore(1.0, 0.0, 0, tuple(lesions))
    return LesionwiseScore(
        dice=sum(lesion.dice for lesion in kept) / counted,
        hd95_mm=(sum(lesion.hd95_mm for lesion in kept) + n_false_positives * worst_mm) / counted,
        n_false_positives=n_false_positives,
        lesions=tuple(lesions),
    )
