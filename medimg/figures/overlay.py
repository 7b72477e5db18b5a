"""A case in one picture: three planes, with the contours of reference and prediction."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke
from numpy.typing import NDArray
from scipy import ndimage

from medimg.io.files import atomic_write

# Okabe and Ito, "Color Universal Design", 2008: told apart by colour-blind readers. The bright ones come
# first, since the lines lie on grey.
COLOURS = ("#56b4e9", "#f0e442", "#d55e00", "#cc79a7", "#009e73", "#e69f00", "#0072b2", "#ffffff")

_DPI = 100
_WIDTH_PX = 1200
_HEIGHT_PX = 560  # most that the tiles take, for tall volumes
_GAP_PX = 14
_STRIP_PX = 34  # title above, legend below
_INK = "#d0d0d0"
_MARGIN = 0.03  # of a side, around what the image shows


@dataclass(frozen=True)
class _Plane:
    """A slice turned as it is shown: row 0 is up, column 0 is left."""

    name: str
    marks: tuple[str, str]  # what lies left and right
    image: NDArray[np.float32]  # (rows, columns), NaN outside the content
    masks: tuple[NDArray[np.integer] | None, NDArray[np.integer] | None]  # reference, prediction
    size_mm: tuple[float, float]  # rows, columns


def contour_panel(
    image: NDArray[np.generic],
    reference: NDArray[np.integer] | None,
    prediction: NDArray[np.integer] | None,
    *,
    classes: Mapping[str, int],
    spacing_mm: tuple[float, float, float],
    title: str = "",
) -> NDArray[np.uint8]:
    """Draw the axial, coronal and sagittal plane that show most of the classes.

    The reference is a solid line and the prediction a thin dashed one, in one colour a class. All planes have
    the same scale in millimetres. They are shown as radiologists do: the patient's right on the left, front
    or top up, and on the sagittal plane the front on the left.

    Args:
        image: One channel, shape (D, H, W), in RAS order: D runs up, H to the front, W to the patient's
            right.
        reference: Label values of the image's shape, or ``None``.
        prediction: Label values of the image's shape, or ``None``.
        classes: Label value of each class, in the order of the legend; other values are not drawn. Past eight
            classes the colours repeat.
        spacing_mm: Voxel size along (D, H, W) in millimetres.
        title: Line above the planes, such as the case's name.

    Returns:
        Picture of shape (rows, columns, 3).

    Raises:
        ValueError: If an array is not (D, H, W) or its shape differs from the image's.

    Example:
        >>> image = np.random.default_rng(0).normal(size=(8, 10, 12))
        >>> mask = np.zeros((8, 10, 12), np.uint8)
        >>> mask[2:5, 3:6, 4:8] = 1
        >>> panel = contour_panel(image, mask, None, classes={"organ": 1}, spacing_mm=(3.0, 1.0, 1.0))
        >>> panel.dtype, panel.shape[1:]
        (dtype('uint8'), (1200, 3))
    """
    _check(image, reference, prediction)
    values = np.asarray(image, np.float32)
    drawn = [
        None if mask is None else np.where(np.isin(mask, list(classes.values())), mask, 0)
        for mask in (reference, prediction)
    ]
    content = _content(values)
    centre = _centre(drawn, content)
    box = _box(content, drawn)
    shown = values[content & np.isfinite(values)][:: max(values.size // 1_000_000, 1)]
    low, high = (float(edge) for edge in np.percentile(shown, (0.5, 99.7))) if shown.size else (0.0, 1.0)
    window = (low if low < high else high - 1.0, high)  # tissue of one value is white, not black
    planes = [_cut(axis, values, content, (drawn[0], drawn[1]), centre, box, spacing_mm) for axis in range(3)]
    return _draw(planes, window, classes, title)


def write_panel(
    path: Path,
    image: NDArray[np.generic],
    reference: NDArray[np.integer] | None,
    prediction: NDArray[np.integer] | None,
    *,
    classes: Mapping[str, int],
    spacing_mm: tuple[float, float, float],
    title: str = "",
) -> None:
    """Write what ``contour_panel`` draws as a PNG file; the arguments are the same.

    Raises:
        ValueError: If an array is not (D, H, W) or its shape differs from the image's.
        ResourceError: If the file cannot be written.
    """
    panel = contour_panel(image, reference, prediction, classes=classes, spacing_mm=spacing_mm, title=title)
    with atomic_write(path, durable=False) as temporary:
        imsave(temporary, panel, format="png")


def _check(image: NDArray[np.generic], *masks: NDArray[np.integer] | None) -> None:
    if image.ndim != 3:
        raise ValueError(f"image: expected shape (D, H, W), found {image.shape}")
    for name, mask in zip(("reference", "prediction"), masks, strict=True):
        if mask is not None and mask.shape != image.shape:
            raise ValueError(f"{name}: expected the image's shape {image.shape}, found {mask.shape}")


def _content(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where the image shows something: not the constant that surrounds a body or a stripped brain."""
    faces = [np.take(values, (0, -1), axis=axis).ravel() for axis in range(3)]
    faces_values = np.concatenate(faces)
    finite = values[np.isfinite(values)][:: max(values.size // 1_000_000, 1)]
    if finite.size == 0:
        return np.ones(values.shape, bool)
    around = np.float32(np.nanmedian(faces_values))
    low, high = np.percentile(finite, (1, 99))
    tolerance = 0.03 * max(float(high - low), 1e-6)
    # Without a constant border there is nothing to take away.
    if np.mean(np.abs(faces_values - around) <= tolerance) < 0.5:
        return np.ones(values.shape, bool)
    content: NDArray[np.bool_] = np.abs(values - around) > tolerance
    return content


def _centre(masks: list[NDArray[np.integer] | None], content: NDArray[np.bool_]) -> tuple[int, ...]:
    """Index along D, H, W of the slice with the largest cross-section of the classes."""
    for mask in (*masks, content):
        if mask is not None and mask.any():
            present = mask != 0
            axes = ((1, 2), (0, 2), (0, 1))
            return tuple(int(np.argmax(present.sum(axis=others))) for others in axes)
    return tuple(side // 2 for side in content.shape)


def _box(content: NDArray[np.bool_], masks: list[NDArray[np.integer] | None]) -> tuple[slice, ...]:
    """The part worth showing, with a small margin; stray voxels of noise do not widen it."""
    slices = []
    for axis, side in enumerate(content.shape):
        others = tuple(other for other in range(3) if other != axis)
        filled = content.mean(axis=others)
        keep = filled > 0.02 * filled.max() if filled.any() else np.ones(side, bool)
        for mask in masks:
            if mask is not None:
                keep = keep | (mask != 0).any(axis=others)
        found = np.flatnonzero(keep)
        margin = round(_MARGIN * (found[-1] - found[0] + 1)) + 1
        slices.append(slice(max(int(found[0]) - margin, 0), min(int(found[-1]) + margin + 1, side)))
    return tuple(slices)


def _cut(
    axis: int,
    values: NDArray[np.float32],
    content: NDArray[np.bool_],
    masks: tuple[NDArray[np.integer] | None, NDArray[np.integer] | None],
    centre: tuple[int, ...],
    box: tuple[slice, ...],
    spacing_mm: tuple[float, float, float],
) -> _Plane:
    index = tuple(centre[dim] if dim == axis else box[dim] for dim in range(3))
    # Rows run up or to the front, columns to the right or the front: both are turned around for display.
    reference, prediction = (None if mask is None else mask[index][::-1, ::-1] for mask in masks)
    # Tissue as dark as the surroundings stays; only what joins the border is taken for outside.
    image = np.where(ndimage.binary_fill_holes(content[index]), values[index], np.nan)[::-1, ::-1]
    rows_mm, columns_mm = (step for dim, step in enumerate(spacing_mm) if dim != axis)
    size = (image.shape[0] * rows_mm, image.shape[1] * columns_mm)
    name = ("axial", "coronal", "sagittal")[axis]
    return _Plane(name, ("A", "P") if axis == 2 else ("R", "L"), image, (reference, prediction), size)


def _draw(
    planes: list[_Plane], window: tuple[float, float], classes: Mapping[str, int], title: str
) -> NDArray[np.uint8]:
    wide = sum(plane.size_mm[1] for plane in planes)
    tall = max(plane.size_mm[0] for plane in planes)
    free = _WIDTH_PX - _GAP_PX * (len(planes) + 1)
    scale = min(free / wide, _HEIGHT_PX / tall)  # pixels a millimetre
    height = round(scale * tall) + 2 * _STRIP_PX
    figure = Figure(figsize=(_WIDTH_PX / _DPI, height / _DPI), dpi=_DPI, facecolor="black")
    canvas = FigureCanvasAgg(figure)
    left = (_WIDTH_PX - scale * wide - _GAP_PX * (len(planes) - 1)) / 2
    for plane in planes:
        rows, columns = (scale * side for side in plane.size_mm)
        bottom = _STRIP_PX + (scale * tall - rows) / 2
        axes = figure.add_axes(
            (left / _WIDTH_PX, bottom / height, columns / _WIDTH_PX, rows / height), facecolor="black"
        )
        _draw_plane(axes, plane, window, classes)
        left += columns + _GAP_PX
    if title:
        figure.text(
            0.5, 1 - _STRIP_PX / 2 / height, title, color="white", fontsize=12, ha="center", va="center"
        )
    _draw_legend(figure, planes, classes)
    drawn: Any = canvas  # matplotlib leaves these methods without types
    drawn.draw()
    return np.asarray(drawn.buffer_rgba())[..., :3].copy()


def _draw_plane(axes: Axes, plane: _Plane, window: tuple[float, float], classes: Mapping[str, int]) -> None:
    rows, columns = plane.image.shape
    edges = (-0.5, columns - 0.5, rows - 0.5, -0.5)
    low, high = window
    grey = np.clip((plane.image - low) / (high - low), 0, 1)
    axes.imshow(
        np.nan_to_num(grey), cmap="gray", vmin=0, vmax=1, interpolation="bicubic", aspect="auto", extent=edges
    )
    axes.set_axis_off()
    for line, mask in enumerate(plane.masks):
        if mask is None:
            continue
        colours = {value: COLOURS[number % len(COLOURS)] for number, value in enumerate(classes.values())}
        # A class inside another shares its border with it; drawn last, it stays to be seen.
        for value in sorted(colours, key=lambda value: -_extent(mask == value)):
            if (mask == value).any():
                _draw_contour(axes, mask == value, colours[value], dashed=line == 1)
    axes.set_xlim(edges[:2])
    axes.set_ylim(edges[2:])
    for x, side, mark in zip((0.0, 1.0), ("left", "right"), plane.marks, strict=True):
        axes.text(x, 0.5, mark, transform=axes.transAxes, color=_INK, fontsize=9, ha=side, va="center")
    axes.text(0.0, 0.0, plane.name, transform=axes.transAxes, color=_INK, fontsize=9, ha="left", va="bottom")


def _extent(mask: NDArray[np.bool_]) -> int:
    return int(ndimage.binary_fill_holes(mask).sum())


def _draw_contour(axes: Axes, mask: NDArray[np.bool_], colour: str, *, dashed: bool) -> None:
    # A frame of zeros closes contours that reach the border.
    padded = np.pad(mask.astype(np.float32), 1)
    y, x = (np.arange(-1, side + 1) for side in mask.shape)
    lines = axes.contour(x, y, padded, levels=[0.5], colors=colour, linewidths=1.2 if dashed else 2.0)
    if dashed:
        lines.set_linestyle((0, (3.5, 2.0)))
        # A dark edge keeps the dashes apart from a reference that runs underneath.
        lines.set_path_effects([Stroke(linewidth=2.2, foreground="black"), Normal()])


def _draw_legend(figure: Figure, planes: list[_Plane], classes: Mapping[str, int]) -> None:
    shown = list(classes)
    if len(shown) > len(COLOURS):
        present = {int(v) for plane in planes for m in plane.masks if m is not None for v in np.unique(m)}
        shown = [name for name in shown if classes[name] in present]
    numbers = {name: number for number, name in enumerate(classes)}
    entries = [
        Line2D([], [], color=COLOURS[numbers[name] % len(COLOURS)], linewidth=3, label=name) for name in shown
    ]
    if planes[0].masks[0] is not None:
        entries.append(Line2D([], [], color=_INK, linewidth=1.8, label="reference"))
    if planes[0].masks[1] is not None:
        entries.append(
            Line2D([], [], color=_INK, linewidth=1.1, linestyle=(0, (3.5, 2.0)), label="prediction")
        )
    figure.legend(
        handles=entries, loc="lower center", ncols=max(len(entries), 1), frameon=False, labelcolor="white",
        fontsize=11, borderaxespad=0.3, handlelength=2.2, columnspacing=1.8,
    )  # fmt: skip
