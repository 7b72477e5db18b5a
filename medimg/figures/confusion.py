"""A confusion matrix as a picture."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import NDArray

from medimg.figures.canvas import FAINT, INK, add_axes_px, dark_figure, pixels, shortened, text_px

# From black to the sky blue of the contours and on to white: darker is fewer, also in a grey print.
_SHADES = LinearSegmentedColormap.from_list("shades", ["#0d1117", "#12466b", "#56b4e9", "#e4f4fd"])
_LARGEST_PX = 640  # of the matrix
_CELL_PX = 130  # of a cell at most
_SMALLEST_CELL_PX = 15  # so that the names beside the rows do not run into each other
_TITLE_PX = 44
_GAP_PX = 3
_LONGEST = 22  # letters of a class name


def confusion_panel(
    matrix: NDArray[np.floating] | NDArray[np.integer], classes: Sequence[str], *, title: str = ""
) -> NDArray[np.uint8]:
    """Draw a confusion matrix: a row a true class, a column a called one.

    A cell shows the number of cases and its share of the row, which also gives its shade, so that a rare class
    is seen as well as a common one. Small cells show the number alone, very small ones nothing.

    Args:
        matrix: Number of cases, shape (K, K), rows true and columns called.
        classes: Names of the K classes.
        title: Line above the matrix.

    Returns:
        Picture of shape (rows, columns, 3).

    Raises:
        ValueError: If the matrix is not (K, K) for K names.

    Example:
        >>> panel = confusion_panel(np.array([[8, 2], [1, 9]]), ["benign", "malignant"])
        >>> panel.ndim, panel.dtype
        (3, dtype('uint8'))
    """
    k = len(classes)
    if k == 0 or matrix.shape != (k, k):
        raise ValueError(f"a matrix of shape ({k}, {k}) for {k} classes expected, found {matrix.shape}")
    names = [shortened(name, _LONGEST) for name in classes]
    counts = np.asarray(matrix, np.float64)
    size = counts.sum(axis=1)
    shares = np.divide(counts, size[:, None], out=np.zeros_like(counts), where=size[:, None] > 0)
    cell = min(_CELL_PX, max(_LARGEST_PX / k, _SMALLEST_CELL_PX))
    letters = max(len(name) for name in names)
    turned = letters * 7.5 > cell - 8  # called classes are written upwards where they do not fit
    left = 62 + 7.5 * letters
    top = _TITLE_PX + (40 + 7.0 * letters if turned else 64)
    right = 64  # number of cases of each row
    width = round(max(left + cell * k + right, 420))
    figure = dark_figure(width, round(top + cell * k + 22))
    axes = add_axes_px(figure, left, top, cell * k, cell * k)
    # The root makes a tenth of a class gone wrong stand out from none.
    axes.imshow(np.sqrt(shares), cmap=_SHADES, vmin=0, vmax=1, extent=(0, k, k, 0), aspect="auto")
    axes.set_axis_off()
    for edge in range(1, k):
        axes.axhline(edge, color="black", linewidth=_GAP_PX * 0.72)
        axes.axvline(edge, color="black", linewidth=_GAP_PX * 0.72)
    middle = left + cell * k / 2
    text_px(figure, middle, 22, title, size=12, align="center")
    text_px(figure, middle, _TITLE_PX + 12, "called", size=9.5, color=FAINT, align="center")
    figure.text(
        20 / width, 1 - (top + cell * k / 2) / (top + cell * k + 22), "true",
        fontsize=9.5, color=FAINT, rotation=90, ha="center", va="center",
    )  # fmt: skip
    text_px(figure, left + cell * k + 12, top - 14, "cases", size=9, color=FAINT)
    for number, name in enumerate(names):
        centre = (number + 0.5) * cell
        text_px(figure, left - 12, top + centre, name, align="right")
        text_px(figure, left + cell * k + 12, top + centre, f"{size[number]:,.0f}", size=9, color=FAINT)
        axes.annotate(
            name, (number + 0.5, 0), xytext=(0, 7), textcoords="offset points", color=INK, fontsize=10,
            ha="center", va="bottom", rotation=90 if turned else 0, parse_math=False, annotation_clip=False,
        )  # fmt: skip
    if cell >= 24:
        _numbers(axes, counts, shares, cell)
    return pixels(figure)


def _numbers(axes: Axes, counts: NDArray[np.float64], shares: NDArray[np.float64], cell: float) -> None:
    for (row, column), count in np.ndenumerate(counts):
        ink = "black" if shares[row, column] > 0.3 else INK
        if not count:
            ink = "#5a5f66"  # nothing to read
        both = cell >= 56 and count > 0
        large = min(15.0, cell / 5)
        axes.text(
            column + 0.5, row + (0.42 if both else 0.5), f"{count:,.0f}",
            color=ink, fontsize=large, ha="center", va="center",
        )  # fmt: skip
        if both:
            axes.text(
                column + 0.5, row + 0.66, _percent(float(shares[row, column])),
                color=ink, fontsize=0.65 * large, ha="center", va="center",
            )  # fmt: skip


def _percent(share: float) -> str:
    return "< 1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"
