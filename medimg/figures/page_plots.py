"""Plots for a page, as SVG that takes the page's own ink and letters, so that it is readable in light and dark."""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Okabe and Ito, "Color Universal Design", 2008, those that stand out on white; on black the page may set --c0 to --c5.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
# Stand in for what the page decides, since matplotlib knows no currentColor.
_INK, _FAINT = "#010203", "#040506"
_SIDE = 3.3  # inches of a square plot


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a plot.

    Attributes:
        name: For the legend.
        x: Shape (P,).
        y: Shape (P,).
        low: Lower end of a band, shape (Q,), at ``band_x``; ``None``: no band.
        high: Upper end.
        band_x: Where the band is given.
        dots: Sizes of points in [0, 1], shape (P,); ``None``: a line without points.
    """

    name: str
    x: Floats
    y: Floats
    low: Floats | None = None
    high: Floats | None = None
    band_x: Floats | None = None
    dots: Floats | None = None


def square_plot(
    lines: Sequence[Line], *, x_name: str, y_name: str, diagonal: bool = False, steps: bool = False
) -> str:
    """Draw curves of rates in [0, 1], with their bands.

    Args:
        lines: The curves; past six the colours repeat with dashes.
        x_name: Name of the horizontal axis.
        y_name: Name of the vertical one.
        diagonal: Draw the line of chance, or of perfect calibration.
        steps: The value of a point holds from the point before it.

    Returns:
        An ``<svg>`` element.

    Example:
        >>> line = Line("mass", np.array([0.0, 1.0]), np.array([0.0, 1.0]))
        >>> square_plot([line], x_name="recall", y_name="precision")[:4]
        '<svg'
    """
    figure = Figure(figsize=(_SIDE, _SIDE), layout="constrained")
    axes = figure.add_subplot()
    if diagonal:
        axes.plot((0, 1), (0, 1), color=_FAINT, linewidth=1, linestyle=(0, (1, 3)))
    for number, line in enumerate(lines):
        colour, dash = _style(number)
        if line.low is not None and line.high is not None and line.band_x is not None:
            axes.fill_between(line.band_x, line.low, line.high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(
            line.x, line.y, color=colour, linestyle=dash, linewidth=1.8, label=line.name,
            drawstyle="steps-pre" if steps else "default",
        )  # fmt: skip
        if line.dots is not None:
            axes.scatter(line.x, line.y, s=8 + 70 * line.dots, color=colour, linewidths=0, zorder=3)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_yticks(np.linspace(0, 1, 6))
    _frame(axes, x_name, y_name)
    if len(lines) > 1:
        axes.legend(frameon=False, fontsize=8, labelcolor=_INK, loc="best")
    return _markup(figure)


def history_plot(curves: Mapping[str, Sequence[tuple[Floats, Floats]]], *, y_name: str) -> str:
    """Draw what was measured epoch by epoch, a colour a name; several folds share it, drawn thin.

    Args:
        curves: Epochs and values of each fold, by name.
        y_name: Name of the vertical axis.

    Returns:
        An ``<svg>`` element.

    Example:
        >>> history_plot({"train": [(np.array([0.0, 1.0]), np.array([0.9, 0.4]))]}, y_name="loss")[:4]
        '<svg'
    """
    figure = Figure(figsize=(5.2, 2.9), layout="constrained")
    axes = figure.add_subplot()
    for number, (name, folds) in enumerate(curves.items()):
        colour, dash = _style(number)
        for place, (epoch, value) in enumerate(folds):
            marker = "o" if len(epoch) < 15 else ""
            axes.plot(
                epoch + 1, value, color=colour, linestyle=dash, linewidth=1.8 if len(folds) == 1 else 1.0,
                alpha=1.0 if len(folds) == 1 else 0.75, label=None if place else name, marker=marker, markersize=3.5,
            )  # fmt: skip
    _frame(axes, "epoch", y_name)
    if axes.dataLim.width < 1:
        only = axes.dataLim.x0
        axes.set_xlim(only - 1, only + 1)  # a single epoch, between whole ones
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
    axes.legend(frameon=False, fontsize=8, labelcolor=_INK, loc="best")
    return _markup(figure)


def _style(number: int) -> tuple[str, str]:
    return COLOURS[number % len(COLOURS)], "-" if number < len(COLOURS) else "--"


def _frame(axes: Axes, x_name: str, y_name: str) -> None:
    axes.set_xlabel(x_name, color=_INK, fontsize=9)
    axes.set_ylabel(y_name, color=_INK, fontsize=9)
    axes.tick_params(colors=_INK, labelsize=8, length=0, pad=4)
    axes.grid(color=_FAINT, linewidth=0.5, alpha=0.35)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_FAINT)


def _markup(figure: Figure) -> str:
    """The figure as one element: no background, no header, ink and letters of the page around it."""
    figure.patch.set_alpha(0)
    for axes in figure.axes:
        axes.patch.set_alpha(0)
    stream = io.StringIO()
    # Words stay words, for screen readers and in the letters of the page; one salt makes the file the same each time.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "medimg"}):
        FigureCanvasSVG(figure).print_figure(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    width, height = (float(number) for number in re.findall(r'(?:width|height)="([\d.]+)pt"', text)[:2])
    head = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="0 0 {width:g} {height:g}" width="{width * 4 / 3:.0f}" aria-hidden="true" focusable="false">'
    )
    text = head + text[text.index(">") + 1 :]
    text = re.sub(
        r"font(-family)?: ?([\d.]+px)?[^;\"]*", lambda m: f"font-size: {m[2]}" if m[2] else "", text
    )
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)  # it would hold for the whole page
    text = re.sub(r"\s*\n\s*", "\n", text).replace("; ;", ";")
    for number, colour in enumerate(COLOURS):
        text = text.replace(colour, f"var(--c{number}, {colour})")
    return text.replace(_INK, "currentColor").replace(_FAINT, "var(--faint, #888)")


def unique_ids(markup: str, prefix: str) -> str:
    """Give the parts of one drawing names that no other drawing of the page has.

    Args:
        markup: An ``<svg>`` element.
        prefix: What its names begin with.

    Example:
        >>> unique_ids('<g id="a"/><use xlink:href="#a"/>', "one-")
        '<g id="one-a"/><use href="#one-a"/>'
    """
    named = re.sub(r'\bid="', f'id="{prefix}', markup)
    named = re.sub(r'(?:xlink:)?href="#', f'href="#{prefix}', named)
    return named.replace("url(#", f"url(#{prefix}")
