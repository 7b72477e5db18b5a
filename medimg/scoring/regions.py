"""Regions of label values: what the BraTS challenges score, and how regions become labels again."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

Regions = Mapping[str, tuple[int, ...]]
WriteOrder = tuple[tuple[str, int], ...]

# WT whole tumour, TC tumour core, ET enhancing tumour, RC resection cavity.
_TO_2022: Regions = MappingProxyType({"WT": (1, 2, 4), "TC": (1, 4), "ET": (4,)})
_FROM_2023: Regions = MappingProxyType({"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)})
_YEARS_TO_2022 = ("brats2018", "brats2019", "brats2020", "brats2021", "brats2022")

BRATS_REGIONS: Mapping[str, Regions] = MappingProxyType(
    {
        **dict.fromkeys(_YEARS_TO_2022, _TO_2022),
        "brats2023": _FROM_2023,
        # After surgery the cavity is a region of its own and no part of the whole tumour.
        "brats2024-gli": MappingProxyType({**_FROM_2023, "RC": (4,)}),
        "brats2024-ped": MappingProxyType({"WT": (1, 2, 3, 4), "TC": (1, 2, 3), "ET": (1,)}),
        "decathlon-brats": MappingProxyType({"WT": (1, 2, 3), "TC": (2, 3), "ET": (3,)}),
    }
)
"""Label values of each region, by the name of the rule."""

# The outermost region is written first and each inner one over it. What is left of WT is edema, what is
# left of TC is the part that does not enhance.
BRATS_WRITE_ORDER: Mapping[str, WriteOrder] = MappingProxyType(
    {
        **dict.fromkeys(_YEARS_TO_2022, (("WT", 2), ("TC", 1), ("ET", 4))),
        "brats2023": (("WT", 2), ("TC", 1), ("ET", 3)),
        "brats2024-gli": (("WT", 2), ("TC", 1), ("ET", 3), ("RC", 4)),
        # The three regions cannot tell cystic (3) from non-enhancing (2) tumour: both come back as 2.
        "brats2024-ped": (("WT", 4), ("TC", 2), ("ET", 1)),
        "decathlon-brats": (("WT", 1), ("TC", 2), ("ET", 3)),
    }
)
"""Order in which regions are written into a label map, with the label value of each."""


def region_mask(mask: npt.NDArray[Any], values: Iterable[int]) -> npt.NDArray[np.bool_]:
    """Voxels that carry one of the label values.

    Args:
        mask: Label map of any shape.
        values: Label values of the region.

    Returns:
        Mask of the same shape.

    Example:
        >>> region_mask(np.array([0, 1, 2, 4]), (1, 4))
        array([False,  True, False,  True])
    """
    inside = np.zeros(mask.shape, dtype=np.bool_)
    for value in values:
        inside |= mask == value
    return inside


def regions_to_labels(
    region_masks: Mapping[str, npt.NDArray[np.bool_]], order: Sequence[tuple[str, int]]
) -> npt.NDArray[np.uint8]:
    """Build a label map from masks that overlap.

    Args:
        region_masks: One mask a region, all of one shape.
        order: Regions in the order in which they are written, each with its label value: an entry of
            ``BRATS_WRITE_ORDER``, or your own.

    Returns:
        Label map of the same shape; voxels of no region are 0.

    Raises:
        ValueError: If a region of the order has no mask, a mask no place in the order, or shapes differ.

    Example:
        >>> masks = {"WT": [1, 1, 1, 0], "TC": [0, 1, 1, 0], "ET": [0, 0, 1, 0]}
        >>> arrays = {name: np.array(mask, bool) for name, mask in masks.items()}
        >>> regions_to_labels(arrays, BRATS_WRITE_ORDER["brats2023"])
        array([2, 1, 3, 0], dtype=uint8)
    """
    names = [name for name, _ in order]
    if sorted(names) != sorted(region_masks):
        raise ValueError(f"one mask for each of {names} expected, found {sorted(region_masks)}")
    if any(not 0 < value < 256 for _, value in order):
        raise ValueError(f"label values from 1 to 255 expected, found {list(order)}")
    shapes = {mask.shape for mask in region_masks.values()}
    if len(shapes) != 1:
        raise ValueError(f"masks of one shape expected, found {sorted(shapes)}")
    labels = np.zeros(shapes.pop(), dtype=np.uint8)
    for name, value in order:
        labels[region_masks[name]] = value
    return labels
