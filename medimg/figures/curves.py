"""ROC, precision-recall and reliability curves of all labels side by side."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from medimg.figures.canvas import FAINT, INK, RULE, add_axes_px, dark_figure, pixels, shortened, text_px
from medimg.figures.overlay import COLOURS

FloatArray = NDArray[np.float64]
ReliabilityPoints = tuple[FloatArray, FloatArray, NDArray[np.integer]]
"""Mean probability, share of positives and number of cases of each bin."""

_WIDTH_PX = 1200
_SIDE_PX = 310  # of a square of axes
_LEFT_PX, _PITCH_PX = 66, 390
_TOP_PX = 62  # title and names of the plots
_AXIS_PX = 62  # numbers and words under them
_ROW_PX = 21
_FEW = 4  # labels that can have thick lines and a line of chance each
_LEAST = 5  # cases: the share of positives of fewer is noise
_DOTS = (0, (1, 3))
_NAME_PX, _NUMBERS_PX = (
    46,
    (240, 296, 350),
)  # in a column of the table: left of the name, right of the numbers
_LONGEST = 20  # letters of a name


@dataclass(frozen=True, slots=True)
class LabelCurves:
    """The curves of one label, as the scoring functions give them; empty arrays where it is undefined.

    Attributes:
        roc: False and true positive rate.
        precision_recall: Recall and precision.
        reliability: Mean probability, share of positives and number of cases of each bin.
        auroc: Area under the first curve; NaN for an undefined label, as the next two.
        average_precision: Sum under the second.
        ece: Expected calibration error.
    """

    roc: tuple[FloatArray, FloatArray]
    precision_recall: tuple[FloatArray, FloatArray]
    reliability: ReliabilityPoints
    auroc: float
    average_precision: float
    ece: float


def curve_panel(curves: Mapping[str, LabelCurves], *, title: str = "") -> NDArray[np.uint8]:
    """Draw the three plots, with a table of names and scores below.

    Past eight labels the colours repeat with dashed lines. A label that is undefined stands in the table
    without a curve. The size of a reliability point tells the number of its cases; bins of fewer than five cases
    are not drawn.

    Args:
        curves: One entry a label, in the order of the table.
        title: Line above the plots.

    Returns:
        Picture of shape (rows, 1200, 3).

    Raises:
        ValueError: If there is no label.

    Example:
        >>> rate, half = np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0])
        >>> perfect = LabelCurves((rate, half), (half, np.array([1.0, 1.0, 0.5])),
        ...                       (np.array([0.1, 0.9]), np.array([0.0, 1.0]), np.array([5, 5])), 1.0, 1.0, 0.1)
        >>> curve_panel({"mass": perfect}).shape[1:]
        (1200, 3)
    """
    if not curves:
        raise ValueError("curves of one label or more expected, found none")
    figure = _page(len(curves), title)
    roc, precision_recall, reliability = (
        add_axes_px(figure, _LEFT_PX + number * _PITCH_PX, _TOP_PX, _SIDE_PX, _SIDE_PX) for number in range(3)
    )
    _frame(roc, "ROC", "1 - specificity", "sensitivity")
    _frame(precision_recall, "Precision and recall", "recall", "precision")
    _frame(reliability, "Reliability", "mean probability", "share of positives")
    for axes in (roc, reliability):
        axes.plot((0, 1), (0, 1), color=FAINT, linewidth=1, linestyle=_DOTS)
    most = max(
        (int(one.reliability[2].max()) for one in curves.values() if one.reliability[2].size), default=1
    )
    for number, one in enumerate(curves.values()):
        if not math.isnan(one.auroc):
            _draw(roc, precision_recall, reliability, one, number=number, few=len(curves) <= _FEW, most=most)
    numbers = {name: (one.auroc, one.average_precision, one.ece) for name, one in curves.items()}
    _legend(figure, numbers, ("AUROC", "AP", "ECE"))
    return pixels(figure)


def reliability_panel(
    stages: Mapping[str, Mapping[str, ReliabilityPoints]],
    ece: Mapping[str, Sequence[float]],
    *,
    title: str = "",
) -> NDArray[np.uint8]:
    """Draw the reliability curves of two stages side by side, with a table of names and errors below.

    Args:
        stages: Mean probability, share of positives and number of cases of each bin, by stage and label.
        ece: Calibration error in each stage, by label; NaN for a label that is undefined and has no curve.
        title: Line above the plots.

    Returns:
        Picture of shape (rows, 1200, 3).

    Raises:
        ValueError: If there is no label, or another number of stages.

    Example:
        >>> bins = {"mass": (np.array([0.1, 0.9]), np.array([0.3, 0.7]), np.array([5, 5]))}
        >>> reliability_panel({"before": bins, "after": bins}, {"mass": [0.2, 0.2]}).shape[1:]
        (1200, 3)
    """
    if not ece or len(stages) != 2:
        raise ValueError(f"one label or more and two stages expected, found {len(ece)} and {len(stages)}")
    figure = _page(len(ece), title)
    counts = [points[2].max() for curves in stages.values() for points in curves.values() if points[2].size]
    most = int(max(counts, default=1))
    for place, (stage, curves) in enumerate(stages.items()):
        left = _LEFT_PX + _PITCH_PX / 2 + place * _PITCH_PX  # in the middle of the page
        axes = add_axes_px(figure, left, _TOP_PX, _SIDE_PX, _SIDE_PX)
        _frame(axes, stage, "mean probability", "share of positives")
        axes.plot((0, 1), (0, 1), color=FAINT, linewidth=1, linestyle=_DOTS)
        for number, name in enumerate(ece):
            if not math.isnan(ece[name][place]):
                _draw_reliability(axes, curves[name], number=number, few=len(ece) <= _FEW, most=most)
    _legend(figure, ece, ("ECE", "after"))
    return pixels(figure)


def _page(labels: int, title: str) -> Figure:
    """An empty figure with room for a row of plots and the legend."""
    rows = math.ceil(labels / _legend_columns(labels))
    figure = dark_figure(_WIDTH_PX, _TOP_PX + _SIDE_PX + _AXIS_PX + (rows + 1) * _ROW_PX + 16)
    if title:
        text_px(figure, _WIDTH_PX / 2, 18, title, size=12, align="center")
    return figure


def _legend_columns(labels: int) -> int:
    return min(3, math.ceil(labels / 4))


def _draw(
    roc: Axes,
    precision_recall: Axes,
    reliability: Axes,
    one: LabelCurves,
    *,
    number: int,
    few: bool,
    most: int,
) -> None:
    colour, dash = _style(number)
    width, alpha = _weight(few)
    recall, precision = one.precision_recall
    roc.plot(*one.roc, color=colour, linestyle=dash, linewidth=width, alpha=alpha)
    precision_recall.plot(
        recall, precision, drawstyle="steps-pre", color=colour, linestyle=dash, linewidth=width, alpha=alpha
    )
    if few:  # where calling every case positive ends up
        precision_recall.axhline(precision[-1], color=colour, linewidth=1, linestyle=_DOTS)
    _draw_reliability(reliability, one.reliability, number=number, few=few, most=most)


def _draw_reliability(axes: Axes, points: ReliabilityPoints, *, number: int, few: bool, most: int) -> None:
    colour, dash = _style(number)
    width, alpha = _weight(few)
    mean, share, count = (part[points[2] >= _LEAST] for part in points)
    axes.plot(mean, share, color=colour, linestyle=dash, linewidth=width, alpha=alpha)
    axes.scatter(mean, share, s=8 + 70 * count / most, color=colour, alpha=alpha, linewidths=0, zorder=3)


def _weight(few: bool) -> tuple[float, float]:
    """Width and opacity of lines."""
    return (2.0, 1.0) if few else (1.4, 0.85)


def _style(number: int) -> tuple[str, tuple[float, tuple[float, ...]]]:
    return COLOURS[number % len(COLOURS)], (0, () if number < len(COLOURS) else (3.5, 1.5))


def _frame(axes: Axes, name: str, x_name: str, y_name: str) -> None:
    axes.set_title(name, color=INK, fontsize=11, pad=8)
    axes.set_xlabel(x_name, color=FAINT, fontsize=9.5)
    axes.set_ylabel(y_name, color=FAINT, fontsize=9.5)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    ticks = np.linspace(0, 1, 6)
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    plain = FuncFormatter(lambda value, _: f"{value:g}".lstrip("0") if 0 < value < 1 else f"{value:g}")
    axes.xaxis.set_major_formatter(plain)
    axes.yaxis.set_major_formatter(plain)
    axes.tick_params(colors=FAINT, labelsize=9, length=0, pad=5)
    axes.grid(color=RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_color(RULE)


def _legend(figure: Figure, table: Mapping[str, Sequence[float]], heads: Sequence[str]) -> None:
    """A table: line, name, up to three numbers, the first NaN if the label has no line; filled column by column."""
    columns = _legend_columns(len(table))
    rows = math.ceil(len(table) / columns)
    places = _NUMBERS_PX[: len(heads)]
    full_height = float(figure.get_size_inches()[1]) * figure.dpi
    top = _TOP_PX + _SIDE_PX + _AXIS_PX + _ROW_PX / 2
    wide = _NUMBERS_PX[-1] + 4
    start = (_WIDTH_PX - wide * columns - 30 * (columns - 1)) / 2
    for column in range(columns):
        left = start + column * (wide + 30)
        for right, name in zip(places, heads, strict=True):
            text_px(figure, left + right, top, name, size=8.5, color=FAINT, align="right")
    for number, (name, values) in enumerate(table.items()):
        column, row = divmod(number, rows)
        left, y = start + column * (wide + 30), top + (row + 1) * _ROW_PX
        defined = not math.isnan(values[0])
        colour, dash = _style(number)
        if defined:
            ends = ((left / _WIDTH_PX, (left + 34) / _WIDTH_PX), (1 - y / full_height,) * 2)
            figure.add_artist(Line2D(*ends, color=colour, linestyle=dash, linewidth=2.4))
        text_px(figure, left + _NAME_PX, y, shortened(name, _LONGEST), color=INK if defined else FAINT)
        for right, value in zip(places, values, strict=True):
            shown = "-" if math.isnan(value) else f"{value:.3f}"
            text_px(figure, left + right, y, shown, color=INK if defined else FAINT, align="right")
