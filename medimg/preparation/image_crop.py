"""Finding the breast or the body in a picture, so that the black around it is not trained on.

Reference:
    Otsu, "A threshold selection method from gray-level histograms", IEEE Trans. SMC 9, 1979.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medimg.preparation.image_source import box_means

# The contour is found on a small picture: fast, and blind to noise and film scratches.
_LONGEST = 512
_BINS = 256
# Added on each side, as a share of the longer side of the found part: Otsu cuts soft skin lines.
_MARGIN = 0.02
# A part smaller than this share of the picture is a label or a scratch, and nothing is cropped.
_SMALLEST_SHARE = 0.02

Box = tuple[int, int, int, int]


def otsu(values: NDArray[Any]) -> float:
    """Threshold that parts values into two classes of least variance within.

    Args:
        values: Any shape.

    Returns:
        The threshold; values above it belong to the brighter class.

    Example:
        >>> 1 < otsu(np.array([0.0, 1.0, 0.0, 9.0, 10.0])) < 9
        True
    """
    counts, edges = np.histogram(values, bins=_BINS)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = counts.sum() - below
    sums = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = sums[:-1] / below - (sums[-1] - sums[:-1]) / above
        between = np.nan_to_num(below * above * apart**2)
    best = np.flatnonzero(between == between.max())
    # Between two separate peaks every threshold is as good: the middle one is kept.
    return float(edges[1:-1][best[len(best) // 2]])


def contour_box(image: NDArray[Any]) -> Box:
    """Box around the largest bright part of a picture, with a small margin.

    Args:
        image: (H, W), the background dark.

    Returns:
        Top, bottom, left, right, as for slices; the whole picture if no part stands out.

    Example:
        >>> image = np.zeros((100, 80))
        >>> image[20:60, 10:50] = 1
        >>> image[90:93, 70:73] = 2  # a view marker
        >>> contour_box(image)
        (19, 61, 9, 51)
    """
    height, width = image.shape
    step = max(1.0, max(height, width) / _LONGEST)
    small = box_means(image, (max(1, round(height / step)), max(1, round(width / step))))
    parts, count = ndimage.label(small > otsu(small))
    if count == 0:
        return 0, height, 0, width
    sizes = np.bincount(parts.ravel())[1:]
    if sizes.max() < _SMALLEST_SHARE * small.size:
        return 0, height, 0, width
    rows, columns = ndimage.find_objects(parts)[sizes.argmax()]
    scale_h, scale_w = height / small.shape[0], width / small.shape[1]
    margin = _MARGIN * max((rows.stop - rows.start) * scale_h, (columns.stop - columns.start) * scale_w)
    return (
        max(0, int(rows.start * scale_h - margin + 0.5)),
        min(height, int(np.ceil(rows.stop * scale_h + margin - 0.5))),
        max(0, int(columns.start * scale_w - margin + 0.5)),
        min(width, int(np.ceil(columns.stop * scale_w + margin - 0.5))),
    )
