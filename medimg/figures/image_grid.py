"""Images with what is true and what was called under them, such as the worst mistakes of a test."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from medimg.figures.canvas import FAINT, INK, RULE, add_axes_px, dark_figure, pixels, shortened, text_px
from medimg.figures.overlay import COLOURS

_WIDTH_PX = 1200
_GAP_PX = 16
_TITLE_PX = 44
_CAPTION_PX = 66
_TRUE, _CALLED = COLOURS[0], COLOURS[2]  # sky blue and vermilion, apart for colour-blind readers


@dataclass(frozen=True, slots=True)
class ImageTile:
    """One image of the grid.

    Attributes:
        image: Shape (H, W) for grey values of any range, or (H, W, 3) for colours.
        case_id: Name of the case.
        truth: What is true, such as ``"mass"`` or ``"no mass"``.
        call: What was called.
        prob: Probability of the call, in [0, 1].
    """

    image: NDArray[np.generic]
    case_id: str
    truth: str
    call: str
    prob: float


def image_grid(tiles: Sequence[ImageTile], *, columns: int = 4, title: str = "") -> NDArray[np.uint8]:
    """Draw images in rows, each in its own aspect, with truth, call and probability under it.

    A bar beside the caption is as long as the probability of the call. Grey values are stretched between their
    0.5 and 99.5 percentiles; colours too where they are not uint8 or within [0, 1].

    Args:
        tiles: The images, in reading order.
        columns: Images a row.
        title: Line above the images.

    Returns:
        Picture of shape (rows, 1200, 3).

    Raises:
        ValueError: If there are no images or columns, or an image is neither (H, W) nor (H, W, 3).

    Example:
        >>> tile = ImageTile(np.eye(8), "case 1", "mass", "no mass", 0.97)
        >>> image_grid([tile], columns=4).shape[1:]
        (1200, 3)
    """
    if not tiles or columns < 1:
        raise ValueError(f"images and columns expected, found {len(tiles)} images and {columns} columns")
    shown = [_shown(tile) for tile in tiles]
    side = (_WIDTH_PX - _GAP_PX * (columns + 1)) / columns
    # Rows are no taller than their tallest image needs, so that wide images leave no black band.
    rows = [shown[start : start + columns] for start in range(0, len(tiles), columns)]
    heights = [side * min(1.0, max(image.shape[0] / image.shape[1] for image in row)) for row in rows]
    top = float(_TITLE_PX if title else _GAP_PX)
    figure = dark_figure(_WIDTH_PX, math.ceil(top + sum(heights) + _CAPTION_PX * len(rows)))
    if title:
        text_px(figure, _WIDTH_PX / 2, 22, title, size=12, align="center")
    # An incomplete first row is centred, like everything under a centred title.
    start = _GAP_PX + (side + _GAP_PX) * max(columns - len(tiles), 0) / 2
    for row, (images, tall) in enumerate(zip(rows, heights, strict=True)):
        for column, image in enumerate(images):
            left = start + column * (side + _GAP_PX)
            scale = min(side / image.shape[1], tall / image.shape[0])
            high, wide = scale * image.shape[0], scale * image.shape[1]
            axes = add_axes_px(figure, left + (side - wide) / 2, top + (tall - high) / 2, wide, high)
            smooth = "antialiased" if scale < 1 else "bicubic"
            axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation=smooth, aspect="auto")
            axes.set_axis_off()
            _caption(figure, tiles[row * columns + column], left, top + tall, side)
        top += tall + _CAPTION_PX
    return pixels(figure)


def _shown(tile: ImageTile) -> NDArray[np.float32]:
    """The image as values in [0, 1]; NaN and infinities are black."""
    values = np.asarray(tile.image)
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] != 3) or values.size == 0:
        raise ValueError(f"case {tile.case_id}: an image (H, W) or (H, W, 3) expected, found {values.shape}")
    colours = values.ndim == 3
    if colours and values.dtype == np.uint8:
        return np.divide(values, 255, dtype=np.float32)
    values = np.asarray(values, np.float32)
    finite = values[np.isfinite(values)]
    if not finite.size:
        return np.zeros(values.shape, np.float32)
    if colours and finite.min() >= 0 and finite.max() <= 1:
        return np.asarray(np.nan_to_num(values, posinf=0, neginf=0), np.float32)
    low, high = (float(edge) for edge in np.percentile(finite, (0.5, 99.5)))
    stretched = (values - low) / (high - low) if high > low else np.full(values.shape, 0.5, np.float32)
    return np.asarray(np.clip(np.nan_to_num(stretched, posinf=0, neginf=0), 0, 1), np.float32)


def _caption(figure: Figure, tile: ImageTile, left: float, top: float, side: float) -> None:
    letters = max(int((side - 150) / 7.5), 8)  # beside the case's name
    full_width, full_height = figure.get_size_inches() * figure.dpi
    for line, (word, text, colour) in enumerate(
        (("true", tile.truth, _TRUE), ("called", tile.call, _CALLED))
    ):
        y = top + 15 + 18 * line
        text_px(figure, left, y, word, size=8.5, color=FAINT)
        text_px(figure, left + 42, y, shortened(text, letters), size=10.5, color=colour)
    text_px(figure, left + side, top + 33, f"{tile.prob:.3f}", size=10.5, color=INK, align="right")
    text_px(figure, left + side, top + 15, shortened(tile.case_id, 16), size=8.5, color=FAINT, align="right")
    y = 1 - (top + 46) / full_height
    for length, colour in ((1.0, RULE), (tile.prob, _CALLED)):
        ends = (left / full_width, (left + length * side) / full_width)
        figure.add_artist(Line2D(ends, (y, y), color=colour, linewidth=2, solid_capstyle="butt"))
