"""The dark ground that plots share with the pictures of cases, drawn without a display."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

DPI = 100
INK = "#e6e6e6"  # words
FAINT = "#9a9a9a"  # ticks and side remarks
RULE = "#2e2e2e"  # grid


def dark_figure(width_px: int, height_px: int) -> Figure:
    """An empty black figure of this size in pixels."""
    figure = Figure(figsize=(width_px / DPI, height_px / DPI), dpi=DPI, facecolor="black")
    FigureCanvasAgg(figure)
    return figure


def add_axes_px(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a place counted in pixels from the upper left corner of the figure."""
    full_width, full_height = figure.get_size_inches() * DPI
    bottom = full_height - top - height
    return figure.add_axes(
        (left / full_width, bottom / full_height, width / full_width, height / full_height), facecolor="black"
    )


def text_px(
    figure: Figure,
    x: float,
    y: float,
    text: str,
    *,
    size: float = 10,
    color: str = INK,
    align: str = "left",
    bold: bool = False,
) -> None:
    """Words at a place counted in pixels from the upper left corner, centred on its height."""
    full_width, full_height = figure.get_size_inches() * DPI
    figure.text(
        x / full_width, 1 - y / full_height, text, fontsize=size, color=color, ha=align, va="center",
        weight="bold" if bold else "normal", parse_math=False,
    )  # fmt: skip


def pixels(figure: Figure) -> NDArray[np.uint8]:
    """Draw a figure of ``dark_figure``, shape (rows, columns, 3)."""
    canvas: Any = figure.canvas  # matplotlib leaves these methods without types
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def shortened(text: str, length: int) -> str:
    """At most this many characters, the middle of longer words left out: names differ at their ends.

    Example:
        >>> shortened("1.2.840.113619.2.5", 9)
        '1.2.….2.5'
    """
    if len(text) <= length:
        return text
    head = length // 2
    return f"{text[:head]}…{text[len(text) - (length - head - 1) :]}"
