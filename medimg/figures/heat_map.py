"""A heat map over its image: plain and coloured side by side, with contours and the probability."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke
from numpy.typing import NDArray

from medimg.figures.canvas import FAINT, INK, RULE, add_axes_px, dark_figure, pixels, shortened, text_px
from medimg.figures.overlay import COLOURS
from medimg.io.files import atomic_write

_WIDTH_PX = 1000
_GAP_PX = 12
_MOST_PX = 480  # of a tile's height
_HEAD_PX = 62
_CAPTION_PX = 26
_FOOT_PX = 44
_MAP = "inferno"
_ALPHA = 0.75  # of the hottest place; cold ones let the image through


@dataclass(frozen=True)
class HeatTile:
    """One picture of a case.

    Attributes:
        image: (H, W), or colours (H, W, 3).
        heat: (H, W), not negative.
        contours: Masks (H, W) by name, in the order of the legend; absent ones may be left out.
        caption: Line below.
        pixel_mm: Height and width of a pixel, in any unit: their ratio is that of the picture.
    """

    image: NDArray[np.generic]
    heat: NDArray[np.floating]
    contours: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    caption: str = ""
    pixel_mm: tuple[float, float] = (1.0, 1.0)


def heat_panel(
    tiles: Sequence[HeatTile], *, title: str, answer: str, prob: float, top: float | None = None
) -> NDArray[np.uint8]:
    """Draw the tiles without and with heat: side by side if there is one, else in two rows.

    More than six are set on several pairs of rows. The colours run from 0 to the hottest place of the case, so heat
    compares within a case and not between cases.

    Args:
        tiles: Image, or planes, or images of a group.
        title: First line, such as the case's name.
        answer: What is explained, such as ``malignant, gradcam``.
        prob: Its probability, in [0, 1].
        top: Heat that has the hottest colour; by default the largest that is shown.

    Returns:
        Picture of shape (rows, columns, 3).

    Raises:
        ValueError: If there is no tile, or heat and image differ in size.

    Example:
        >>> tile = HeatTile(np.eye(8), np.eye(8))
        >>> heat_panel([tile], title="a", answer="cyst", prob=0.5).shape[1:]
        (1000, 3)
    """
    _check(tiles)
    hottest = top or max((float(tile.heat.max()) for tile in tiles), default=0.0)
    columns = 2 if len(tiles) == 1 else min(len(tiles), 6)
    groups = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    side = (_WIDTH_PX - _GAP_PX * (columns + 1)) / columns
    tall = [min(_MOST_PX, max(side * _ratio(tile) for tile in group)) for group in groups]
    rows = 1 if len(tiles) == 1 else 2
    height = _HEAD_PX + sum(rows * (one + _GAP_PX) + _CAPTION_PX for one in tall) + _FOOT_PX
    figure = dark_figure(_WIDTH_PX, math.ceil(height))
    _head(figure, title, answer, prob)
    y = float(_HEAD_PX)
    for group, high in zip(groups, tall, strict=True):
        for number, tile in enumerate(group):
            left = _GAP_PX + number * (side + _GAP_PX)
            if len(groups) == 1 and len(tiles) > 1:
                left += (_WIDTH_PX - _GAP_PX - len(group) * (side + _GAP_PX)) / 2
            second = (left + side + _GAP_PX, y) if rows == 1 else (left, y + high + _GAP_PX)
            _draw(figure, tile, (left, y), (side, high), None)
            _draw(figure, tile, second, (side, high), hottest)
            middle = _WIDTH_PX / 2 if rows == 1 else left + side / 2
            below = y + rows * high + (rows - 1) * _GAP_PX + _CAPTION_PX / 2 + 2
            text_px(figure, middle, below, shortened(tile.caption, int(side * (3 - rows) / 7)),
                    size=9, color=FAINT, align="center")  # fmt: skip
        y += rows * (high + _GAP_PX) + _CAPTION_PX
    names = list(dict.fromkeys(name for tile in tiles for name in tile.contours))
    _foot(figure, names, height - _FOOT_PX / 2, nothing=not hottest > 0)
    return pixels(figure)


def write_heat_panel(path: Path, panel: NDArray[np.uint8]) -> None:
    """Write a picture as PNG, whole or not at all.

    Raises:
        ResourceError: If the file cannot be written.
    """
    with atomic_write(path, durable=False) as temporary:
        imsave(temporary, panel, format="png")


def _check(tiles: Sequence[HeatTile]) -> None:
    if not tiles:
        raise ValueError("tiles: expected one or more, found none")
    for tile in tiles:
        if tile.image.shape[:2] != tile.heat.shape or tile.image.ndim not in (2, 3):
            raise ValueError(f"heat: expected the image's size {tile.image.shape}, found {tile.heat.shape}")


def _ratio(tile: HeatTile) -> float:
    rows, columns = tile.heat.shape
    return float(rows * tile.pixel_mm[0] / (columns * tile.pixel_mm[1]))


def _head(figure: Figure, title: str, answer: str, prob: float) -> None:
    text_px(figure, _GAP_PX, 20, shortened(title, 80), size=12, bold=True)
    text_px(figure, _GAP_PX, 44, shortened(answer, 80), size=10.5)
    left, width = _WIDTH_PX - 272.0, 180.0
    text_px(figure, _WIDTH_PX - _GAP_PX, 44, f"p = {prob:.3f}", size=10.5, align="right")
    full = figure.get_size_inches()[1] * figure.dpi
    for length, colour in ((1.0, RULE), (min(max(prob, 0.0), 1.0), COLOURS[0])):
        ends = (left / _WIDTH_PX, (left + length * width) / _WIDTH_PX)
        figure.add_artist(
            Line2D(ends, (1 - 44 / full,) * 2, color=colour, linewidth=5, solid_capstyle="butt")
        )


def _draw(
    figure: Figure,
    tile: HeatTile,
    corner: tuple[float, float],
    room: tuple[float, float],
    hottest: float | None,
) -> None:
    wide = min(room[0], room[1] / _ratio(tile))
    high = wide * _ratio(tile)
    x, y = corner[0] + (room[0] - wide) / 2, corner[1] + (room[1] - high) / 2
    axes = add_axes_px(figure, x, y, wide, high)
    rows, columns = tile.heat.shape
    axes.imshow(_grey(tile.image), cmap="gray", vmin=0, vmax=1, interpolation="bicubic", aspect="auto")
    if hottest is not None and hottest > 0:
        share = np.clip(tile.heat / hottest, 0, 1)
        colours = colormaps[_MAP](0.25 + 0.75 * share)
        colours[..., 3] = _ALPHA * np.minimum(1.0, 1.6 * share)
        axes.imshow(colours, interpolation="bilinear", aspect="auto")
    for number, mask in enumerate(tile.contours.values()):
        if mask.any():
            _contour(axes, mask, COLOURS[number % len(COLOURS)], dashed=number > 0)
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_axis_off()


def _grey(image: NDArray[np.generic]) -> NDArray[np.float32]:
    values = np.nan_to_num(np.asarray(image, np.float32))
    low, high = (float(edge) for edge in np.percentile(values, (0.5, 99.5)))
    if not high > low:  # nearly all of one value
        low, high = float(values.min()), max(float(values.max()), float(values.min()) + 1e-6)
    shown: NDArray[np.float32] = np.clip((values - low) / (high - low), 0, 1).astype(np.float32)
    return shown


def _contour(axes: Axes, mask: NDArray[np.bool_], colour: str, *, dashed: bool) -> None:
    # A frame of zeros closes contours that reach the border.
    y, x = (np.arange(-1, side + 1) for side in mask.shape)
    lines = axes.contour(
        x, y, np.pad(mask.astype(np.float32), 1), levels=[0.5], colors=colour, linewidths=1.4
    )
    lines.set_path_effects([Stroke(linewidth=2.6, foreground="black"), Normal()])
    if dashed:
        lines.set_linestyle((0, (3.5, 2.0)))


def _foot(figure: Figure, names: Sequence[str], y: float, *, nothing: bool) -> None:
    if nothing:
        text_px(figure, _GAP_PX, y, "no heat: nothing speaks for this answer", size=9.5, color=FAINT)
    else:
        text_px(figure, _GAP_PX, y, "cold", size=9, color=FAINT)
        bar = add_axes_px(figure, 48, y - 6, 150, 12)
        bar.imshow(np.linspace(0.25, 1, 128)[None], cmap=_MAP, vmin=0, vmax=1, aspect="auto")
        bar.set_axis_off()
        text_px(figure, 206, y, "hottest place of the case", size=9, color=FAINT)
    full = figure.get_size_inches()[1] * figure.dpi
    x = float(_WIDTH_PX - _GAP_PX)
    for number, name in reversed(list(enumerate(names))):
        text_px(figure, x, y, shortened(name, 28), size=9.5, color=INK, align="right")
        x -= 7.6 * min(len(name), 28) + 34
        figure.add_artist(
            Line2D(
                (x / _WIDTH_PX, (x + 24) / _WIDTH_PX),
                (1 - y / full,) * 2,
                color=COLOURS[number % len(COLOURS)],
                linewidth=2,
                linestyle="--" if number else "-",
            )
        )
        x -= 16
