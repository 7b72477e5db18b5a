"""How far readers agree, as pictures: figures with their intervals, and a table of readers by readers."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from medimg.figures.canvas import FAINT, INK, RULE, add_axes_px, dark_figure, pixels, shortened, text_px
from medimg.figures.overlay import COLOURS

Figure = tuple[float, float, float]

_WIDTH_PX = 900
_ROW_PX = 30
_TOP_PX, _BOTTOM_PX = 80, 50
_LONGEST = 30
_SHADES = LinearSegmentedColormap.from_list("shades", ["#0d1117", "#12466b", "#56b4e9", "#e4f4fd"])
_UNKNOWN = "#2a2422"


def agreement_panel(figures: Mapping[str, Mapping[str, Figure]], *, title: str = "") -> NDArray[np.uint8]:
    """Draw a row a label: a dot a measure, with a line over its interval and its number beside.

    Args:
        figures: Value, low and high end by measure, by label; NaN is not drawn. Values are at most 1.
        title: Line above.

    Returns:
        Picture of shape (rows, 900, 3).

    Raises:
        ValueError: If there is no label or no measure.

    Example:
        >>> agreement_panel({"mass": {"alpha": (0.6, 0.5, 0.7)}}).shape[1:]
        (900, 3)
    """
    measures = list(dict.fromkeys(name for row in figures.values() for name in row))
    if not measures:
        raise ValueError("figures of one label and one measure or more expected, found none")
    names = [shortened(name, _LONGEST) for name in figures]
    left = 30 + 7.5 * max(len(name) for name in names)
    step = max(_ROW_PX, 18 * len(measures))
    tall = step * len(figures)
    figure = dark_figure(_WIDTH_PX, _TOP_PX + tall + _BOTTOM_PX)
    width = _WIDTH_PX - left - 70
    axes = add_axes_px(figure, left, _TOP_PX, width, tall)
    lows = [value for row in figures.values() for one in row.values() for value in one if np.isfinite(value)]
    axes.set_xlim(min(0.0, np.floor(10 * min(lows, default=0.0)) / 10), 1.02)
    axes.set_ylim(len(figures), 0)
    axes.set_yticks([])
    axes.tick_params(colors=FAINT, labelsize=9, length=0)
    axes.grid(axis="x", color=RULE, linewidth=1)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)
    text_px(figure, _WIDTH_PX / 2, 20, title, size=12, align="center")
    for place, measure in enumerate(measures):
        colour = COLOURS[place % len(COLOURS)]
        at = left + place * width / len(measures)
        text_px(figure, at, 52, "●", size=11, color=colour)
        text_px(figure, at + 16, 52, measure, size=10)
    for row, (name, values) in enumerate(zip(names, figures.values(), strict=True)):
        text_px(figure, left - 14, _TOP_PX + step * (row + 0.5), name, align="right")
        if row:
            axes.axhline(row, color=RULE, linewidth=0.6)
        for place, measure in enumerate(measures):
            value, low, high = values.get(measure, (np.nan,) * 3)
            y = row + (place + 1) / (len(measures) + 1)
            if np.isnan(value):
                continue
            colour = COLOURS[place % len(COLOURS)]
            if not np.isnan(low):
                axes.plot((low, high), (y, y), color=colour, linewidth=2, alpha=0.6)
            axes.plot([value], [y], "o", color=colour, markersize=6)
            text_px(figure, _WIDTH_PX - 60, _TOP_PX + step * y, f"{value:.3f}", size=9, color=colour)
    return pixels(figure)


def pairs_panel(
    values: NDArray[np.float64], readers: Sequence[str], *, measure: str, title: str = ""
) -> NDArray[np.uint8]:
    """Draw how far each two readers agree; lighter is more, and brown is a pair without a figure.

    Args:
        values: Figure of each pair, shape (R, R), NaN where there is none and on the diagonal.
        readers: Names of the R readers.
        measure: What the numbers are.
        title: Line above.

    Returns:
        Picture of shape (rows, columns, 3).

    Raises:
        ValueError: If the values are not (R, R) for R names.

    Example:
        >>> pairs_panel(np.array([[np.nan, 0.7], [0.7, np.nan]]), ["anna", "ben"], measure="kappa").ndim
        3
    """
    r = len(readers)
    if r < 2 or values.shape != (r, r):
        raise ValueError(f"values of shape ({r}, {r}) for two readers or more expected, found {values.shape}")
    names = [shortened(name, 18) for name in readers]
    cell = min(90.0, max(760 / r, 26.0))
    letters = max(len(name) for name in names)
    left = 34 + 7.5 * letters
    turned = letters * 7.5 > cell - 8
    top = 62 + (14 + 7.2 * letters if turned else 26)
    width = max(left + cell * r + 30, 560)
    figure = dark_figure(round(width), round(top + cell * r + 24))
    axes = add_axes_px(figure, left, top, cell * r, cell * r)
    shown = np.ma.masked_invalid(np.clip(values, 0, 1))
    axes.imshow(shown, cmap=_SHADES, vmin=0, vmax=1, extent=(0, r, r, 0), aspect="auto")
    axes.set_axis_off()
    axes.add_patch(Rectangle((0, 0), r, r, color=_UNKNOWN, zorder=-1))  # an axis that is off has no ground
    for edge in range(1, r):
        axes.axhline(edge, color="black", linewidth=1.5)
        axes.axvline(edge, color="black", linewidth=1.5)
    text_px(figure, width / 2, 20, title, size=12, align="center")
    text_px(
        figure,
        width / 2,
        44,
        f"{measure}; empty: no common cases, or all with one value",
        size=9.5,
        color=FAINT,
        align="center",
    )
    for place, name in enumerate(names):
        text_px(figure, left - 12, top + (place + 0.5) * cell, name, align="right")
        axes.annotate(
            name, (place + 0.5, 0), xytext=(0, 7), textcoords="offset points", color=INK, fontsize=10,
            ha="center", va="bottom", rotation=90 if turned else 0, parse_math=False, annotation_clip=False,
        )  # fmt: skip
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            ink = "black" if value > 0.55 else INK
            text = f"{value:.2f}"
            axes.text(
                column + 0.5,
                row + 0.5,
                text,
                color=ink,
                fontsize=min(12.0, cell / 4.2),
                ha="center",
                va="center",
            )
    return pixels(figure)
