"""Distances between the surfaces of two volumes' masks, or the contours of two images', in millimetres.

Each surface is a set of small elements between voxel centres, each with its own area
(``medimg.scoring.surface_elements``), so that a percentile or a share means a share of the surface and
not of a voxel count that depends on the spacing. A contour is treated likewise, with lengths in place of
areas; a spacing of (1, 1) gives distances in pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_erosion
from scipy.spatial import cKDTree

from medimg.scoring.empty import BRATS_WORST_MM, EmptyRule, Metric, empty_score
from medimg.scoring.surface_elements import CORNERS, SQUARE, element_areas, element_lengths

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
HausdorffDefinition = Literal["area", "max"]


@dataclass(frozen=True, slots=True)
class SurfaceDistances:
    """How far each element of one surface lies from the other surface; of a contour, areas are lengths in mm.

    Attributes:
        pred_to_target_mm: Distance of each element of the prediction, ascending; infinite if the
            reference is empty, no entry if the prediction is.
        target_to_pred_mm: The same for the reference's elements.
        pred_areas_mm2: Area of each element of the prediction, in the order of its distances.
        target_areas_mm2: Area of each element of the reference.
    """

    pred_to_target_mm: FloatArray
    target_to_pred_mm: FloatArray
    pred_areas_mm2: FloatArray
    target_areas_mm2: FloatArray


def surface_distances(pred: BoolArray, target: BoolArray, spacing_mm: Sequence[float]) -> SurfaceDistances:
    """Measure the distance of every surface element of each mask to the other mask's surface.

    Args:
        pred: Prediction, shape (D, H, W) or (H, W).
        target: Reference, same shape.
        spacing_mm: Voxel size along each of these axes in mm.

    Returns:
        Distances and areas of both surfaces, sorted by distance.

    Raises:
        ValueError: If the masks are not two of bool and one shape, or a spacing is not positive.

    Example:
        >>> pred, target = np.zeros((4, 4, 4), bool), np.zeros((4, 4, 4), bool)
        >>> pred[1, 1, 1] = target[1, 1, 2] = True
        >>> surface_distances(pred, target, (1.0, 1.0, 3.0)).pred_to_target_mm
        array([0., 0., 0., 0., 3., 3., 3., 3.])

    Reference:
        Nikolov et al., arXiv:1809.04430, 2018.
    """
    spacing = _checked_spacing(pred, target, spacing_mm)
    box = _union_box(pred, target)
    pred_codes, target_codes = _neighbour_codes(pred[box]), _neighbour_codes(target[box])
    pred_surface, target_surface = _is_surface(pred_codes), _is_surface(target_codes)
    areas = element_areas(_three(spacing)) if len(spacing) == 3 else element_lengths(_two(spacing))
    pred_to_target, pred_areas = _sorted(
        _distances(pred_surface, target_surface, spacing), areas[pred_codes[pred_surface]]
    )
    target_to_pred, target_areas = _sorted(
        _distances(target_surface, pred_surface, spacing), areas[target_codes[target_surface]]
    )
    return SurfaceDistances(pred_to_target, target_to_pred, pred_areas, target_areas)


def robust_hausdorff(distances: SurfaceDistances, *, percent: float = 95.0) -> float:
    """Larger of the two directed distances within which ``percent`` of each surface's area lies.

    Args:
        distances: What ``surface_distances`` gave.
        percent: Share of the surface, in (0, 100].

    Returns:
        Millimetres; infinite if a mask is empty.

    Example:
        >>> line = np.zeros((1, 1, 6), bool); line[0, 0, :3] = True
        >>> robust_hausdorff(surface_distances(line, line[..., ::-1], (1.0, 1.0, 2.0)))
        6.0
    """
    directed = (
        _area_percentile(distances.pred_to_target_mm, distances.pred_areas_mm2, percent),
        _area_percentile(distances.target_to_pred_mm, distances.target_areas_mm2, percent),
    )
    return max(directed)


def surface_dice(distances: SurfaceDistances, *, tolerance_mm: float) -> float:
    """Share of both surfaces' area that lies within a tolerance of the other surface.

    Args:
        distances: What ``surface_distances`` gave; at least one mask holds voxels.
        tolerance_mm: Distance in mm that still counts as agreement.

    Returns:
        A number in [0, 1].

    Example:
        >>> line = np.zeros((1, 1, 6), bool); line[0, 0, :3] = True
        >>> surface_dice(surface_distances(line, line, (1.0, 1.0, 2.0)), tolerance_mm=0.0)
        1.0
    """
    within = (
        distances.pred_areas_mm2[distances.pred_to_target_mm <= tolerance_mm].sum()
        + distances.target_areas_mm2[distances.target_to_pred_mm <= tolerance_mm].sum()
    )
    return float(within / (distances.pred_areas_mm2.sum() + distances.target_areas_mm2.sum()))


def hd95(
    pred: BoolArray,
    target: BoolArray,
    spacing_mm: Sequence[float],
    *,
    empty: EmptyRule,
    definition: HausdorffDefinition = "area",
    brats_worst_mm: float = BRATS_WORST_MM,
) -> float:
    """95 % Hausdorff distance in millimetres.

    Args:
        pred: Prediction, shape (D, H, W) or (H, W).
        target: Reference, same shape.
        spacing_mm: Voxel size along each of these axes in mm.
        empty: What a case with an empty mask scores: a rule of ``medimg.scoring.empty``.
        definition: ``"area"``: within this distance lie 95 % of each surface's area, the form of BraTS;
            ``"max"``: the larger of the two directed 95th percentiles over boundary voxels, every voxel
            alike, as MONAI has it. They differ by up to a voxel: say which one you quote.
        brats_worst_mm: What the rule ``"brats"`` gives when exactly one mask is empty; the code of the
            2023 challenge has 374.

    Returns:
        Millimetres, or NaN for a case that the rule leaves out.

    Raises:
        ValueError: If the masks are not two of bool and one shape, or a spacing is not positive.

    Example:
        >>> pred = np.zeros((4, 4, 4), bool)
        >>> hd95(pred, pred, (1.0, 1.0, 1.0), empty="brats")
        0.0

    Reference:
        Nikolov et al., arXiv:1809.04430, 2018; Menze et al., "The multimodal brain tumor image
        segmentation benchmark", IEEE TMI 2015.
    """
    score = score_if_empty("hd95", pred, target, spacing_mm, empty=empty, brats_worst_mm=brats_worst_mm)
    if score is not None:
        return score
    if definition == "max":
        return _max_of_percentiles(pred, target, spacing_mm)
    return robust_hausdorff(surface_distances(pred, target, spacing_mm))


def nsd(
    pred: BoolArray, target: BoolArray, spacing_mm: Sequence[float], tolerance_mm: float, *, empty: EmptyRule
) -> float:
    """Normalised surface Dice: share of both surfaces within a tolerance of each other.

    Args:
        pred: Prediction, shape (D, H, W) or (H, W).
        target: Reference, same shape.
        spacing_mm: Voxel size along each of these axes in mm.
        tolerance_mm: Distance in mm that still counts as agreement.
        empty: What a case with an empty mask scores: a rule of ``medimg.scoring.empty``.

    Returns:
        A number in [0, 1], or NaN for a case that the rule leaves out.

    Raises:
        ValueError: If the masks are not two of bool and one shape, or a spacing is not positive.

    Example:
        >>> pred, target = np.zeros((4, 4, 4), bool), np.zeros((4, 4, 4), bool)
        >>> pred[1, 1, 1] = target[1, 1, 2] = True
        >>> nsd(pred, target, (1.0, 1.0, 1.0), 0.5, empty="brats")
        0.5

    Reference:
        Nikolov et al., arXiv:1809.04430, 2018.
    """
    score = score_if_empty("nsd", pred, target, spacing_mm, empty=empty)
    if score is not None:
        return score
    return surface_dice(surface_distances(pred, target, spacing_mm), tolerance_mm=tolerance_mm)


def score_if_empty(
    metric: Metric,
    pred: BoolArray,
    target: BoolArray,
    spacing_mm: Sequence[float],
    *,
    empty: EmptyRule,
    brats_worst_mm: float = BRATS_WORST_MM,
) -> float | None:
    """Score of a case with an empty mask, or ``None`` if both hold voxels.

    Args:
        metric: The number asked for.
        pred: Prediction, shape (D, H, W) or (H, W).
        target: Reference, same shape.
        spacing_mm: Voxel size along each of these axes in mm.
        empty: A rule of ``medimg.scoring.empty``.
        brats_worst_mm: Replaces 373.12866 mm in the rule ``"brats"``.

    Returns:
        The score, NaN where the case is left out, ``None`` if both masks hold voxels.

    Raises:
        ValueError: If the masks are not two of bool and one shape, or a spacing is not positive.
    """
    spacing = _checked_spacing(pred, target, spacing_mm)
    score = empty_score(
        metric,
        prediction_empty=not pred.any(),
        reference_empty=not target.any(),
        rule=empty,
        diagonal_mm=math.hypot(*(n * step for n, step in zip(pred.shape, spacing, strict=True))),
    )
    return brats_worst_mm if score == BRATS_WORST_MM and empty == "brats" else score


def _checked_spacing(pred: BoolArray, target: BoolArray, spacing_mm: Sequence[float]) -> tuple[float, ...]:
    if pred.ndim not in (2, 3) or pred.shape != target.shape:
        raise ValueError(
            f"two masks (D, H, W) or (H, W) of one grid expected, found {pred.shape} and {target.shape}"
        )
    if pred.dtype != np.bool_ or target.dtype != np.bool_:
        raise ValueError(f"masks of type bool expected, found {pred.dtype} and {target.dtype}")
    if len(spacing_mm) != pred.ndim or not all(0 < float(step) < math.inf for step in spacing_mm):
        raise ValueError(f"{pred.ndim} positive spacings in mm expected, found {tuple(spacing_mm)}")
    return tuple(float(step) for step in spacing_mm)


def _three(spacing: tuple[float, ...]) -> tuple[float, float, float]:
    return spacing[0], spacing[1], spacing[2]


def _two(spacing: tuple[float, ...]) -> tuple[float, float]:
    return spacing[0], spacing[1]


def _union_box(pred: BoolArray, target: BoolArray) -> tuple[slice, ...]:
    """Smallest box that holds both masks; an empty box if neither holds a voxel."""
    slices = []
    for axis in range(pred.ndim):
        others = tuple(other for other in range(pred.ndim) if other != axis)
        filled = np.flatnonzero(pred.any(axis=others) | target.any(axis=others))
        slices.append(slice(int(filled[0]), int(filled[-1]) + 1) if filled.size else slice(0, 0))
    return tuple(slices)


def _neighbour_codes(mask: BoolArray) -> npt.NDArray[np.uint8]:
    """Code of every cube of eight voxel centres, shape (D + 1, H + 1, W + 1), outside counting as empty.

    Of an image, of every square of four, shape (H + 1, W + 1).
    """
    codes = np.zeros([n + 1 for n in mask.shape], dtype=np.uint8)
    values = mask.view(np.uint8)
    for bit, corner in enumerate(CORNERS if mask.ndim == 3 else SQUARE):
        # The voxel at the cube's upper corner along an axis belongs to the cube with its own index.
        window = tuple(
            slice(0, n) if upper else slice(1, n + 1) for upper, n in zip(corner, mask.shape, strict=True)
        )
        codes[window] |= values << bit
    return codes


def _is_surface(codes: npt.NDArray[np.uint8]) -> BoolArray:
    surface: BoolArray = (codes != 0) & (codes != (255 if codes.ndim == 3 else 15))
    return surface


def _distances(surface: BoolArray, other: BoolArray, spacing: tuple[float, ...]) -> FloatArray:
    """Distance in mm of each element of a surface, in array order, to the nearest element of the other."""
    distances = np.zeros(np.count_nonzero(surface), dtype=np.float64)
    if not other.any():
        distances[:] = np.inf
        return distances
    apart = ~other[surface]  # elements that both surfaces share are at distance 0
    if not apart.any():
        return distances
    # Surfaces are thin: a search tree over their elements is about ten times faster than a distance
    # transform of the whole box, and needs memory for the elements only.
    steps = np.array(spacing)
    points = np.argwhere(surface & ~other)
    others = np.argwhere(other)
    tree = cKDTree(others * steps, balanced_tree=False, compact_nodes=False)
    _, nearest = tree.query(points * steps)
    # From whole voxels, so that equal distances are equal numbers and "<= tolerance" is exact.
    distances[apart] = np.sqrt(np.square((points - others[nearest]) * steps).sum(axis=1))
    return distances


def _sorted(distances: FloatArray, areas: FloatArray) -> tuple[FloatArray, FloatArray]:
    order = np.lexsort((areas, distances))
    return distances[order], areas[order]


def _area_percentile(distances: FloatArray, areas: FloatArray, percent: float) -> float:
    """Smallest distance within which the given share of the area lies."""
    if distances.size == 0:
        return math.inf
    share = np.cumsum(areas) / np.sum(areas)
    position = int(np.searchsorted(share, percent / 100.0))
    return float(distances[min(position, distances.size - 1)])


def _max_of_percentiles(pred: BoolArray, target: BoolArray, spacing_mm: Sequence[float]) -> float:
    """Larger of the directed 95th percentiles over boundary voxels, each voxel counting alike."""
    spacing = _checked_spacing(pred, target, spacing_mm)
    box = _union_box(pred, target)
    pred_edge, target_edge = _boundary_voxels(pred[box]), _boundary_voxels(target[box])
    return max(
        float(np.percentile(_distances(pred_edge, target_edge, spacing), 95)),
        float(np.percentile(_distances(target_edge, pred_edge, spacing), 95)),
    )


def _boundary_voxels(mask: BoolArray) -> BoolArray:
    """Voxels of the mask with a face neighbour outside it, the volume's rim counting as outside."""
    boundary: BoolArray = mask & ~binary_erosion(mask)
    return boundary
