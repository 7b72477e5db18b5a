"""From slices with a place each to one straight grid: sorted, checked, and resampled where they do not fit it."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medimg.errors import DataError
from medimg.io.dicom.slices import Slice
from medimg.io.grid import Grid

# Scanners write positions with one to seven decimals; beyond this, slices are not where an even grid has them.
_ROUNDING_MM = 0.06
_UNEVEN = 0.02  # of a step
# A slice this far from the straight stack, in pixels, is shifted: a tilt, or a table that moved.
_SHEARED = 0.1
_SAME_PLACE = 0.05  # of a step
_TURNED = 1e-3
_LISTED = 4

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Slices in their order along the normal, and the grid of the volume that they make.

    Attributes:
        slices: N slices, sorted along the normal.
        grid: Grid of the volume, (D, H, W).
        depths: Place of each slice on the grid's first axis, shape (N,).
        shifts: Place of each slice's first pixel on the grid's rows and columns, shape (N, 2).
        resampled: Why the slices do not lie on the grid and are interpolated; empty where they do.
    """

    slices: tuple[Slice, ...]
    grid: Grid
    depths: Floats
    shifts: Floats
    resampled: tuple[str, ...]

    def assemble(self, planes: Iterable[NDArray[np.float32]], fill: float) -> NDArray[np.float32]:
        """Put the pixels of the slices on the grid, linearly interpolated by their true positions.

        Args:
            planes: Pixels (H, W) of each slice, in the order of ``slices``.
            fill: Value where no slice reaches.

        Returns:
            Voxels (D, H, W).
        """
        volume = np.full(self.grid.shape, fill, np.float32)
        below: NDArray[np.float32] | None = None
        done, last = 0, len(self.slices) - 1
        for number, plane in enumerate(planes):
            here = self._on_grid(plane, number, fill)
            # Every depth of the grid up to this slice lies between the slice before and this one.
            end = self.grid.shape[0] if number == last else int(np.floor(self.depths[number] + 1e-6)) + 1
            for depth in range(done, end):
                if below is None or depth >= self.depths[number] - 1e-6:
                    volume[depth] = here
                    continue
                gap = self.depths[number] - self.depths[number - 1]
                share = np.float32((depth - self.depths[number - 1]) / gap)
                volume[depth] = below + share * (here - below)
            done, below = max(done, end), here
        return volume

    def _on_grid(self, plane: NDArray[np.float32], number: int, fill: float) -> NDArray[np.float32]:
        shift = self.shifts[number]
        whole = np.floor(shift + 1e-6).astype(int)
        if plane.shape == self.grid.shape[1:] and not whole.any() and np.abs(shift).max() < 1e-6:
            return plane
        canvas = np.full(self.grid.shape[1:], fill, np.float32)
        canvas[whole[0] : whole[0] + plane.shape[0], whole[1] : whole[1] + plane.shape[1]] = plane
        rest = shift - whole
        if rest.max() <= 1e-6:
            return canvas
        shifted: NDArray[np.float32] = ndimage.shift(canvas, rest, order=1, mode="nearest")
        return shifted

    def checked(self, labels: NDArray[np.integer]) -> NDArray[np.integer]:
        """Return a label map (D, H, W) that has the shape of the grid.

        Raises:
            DataError: If it has another one.
        """
        if labels.shape != self.grid.shape:
            raise DataError(
                f"{self.slices[0].path.parent}: expected a mask of shape {self.grid.shape} (D, H, W), as the series "
                f"has, found {labels.shape}. Give the mask that was predicted for this series."
            )
        return labels

    def to_slices(self, labels: NDArray[np.integer]) -> NDArray[np.integer]:
        """Bring a label map back to the pixels of the slices, each from the nearest voxel.

        Args:
            labels: Label map (D, H, W) on the grid.

        Returns:
            Label values (N, rows, columns).

        Raises:
            DataError: If the shape is not that of the grid.
        """
        labels = self.checked(labels)
        if not self.resampled:
            return labels
        depth = np.clip(np.rint(self.depths).astype(int), 0, self.grid.shape[0] - 1)
        rows, columns = self.slices[0].size
        lows = np.rint(self.shifts).astype(int)
        return np.stack(
            [labels[d, y : y + rows, x : x + columns] for d, (y, x) in zip(depth, lows, strict=True)]
        )


def stack_slices(slices: Sequence[Slice], title: str, *, resample: bool = False) -> Stack:
    """Sort slices along their normal and find the grid that they make.

    A gantry tilt is undone by the slices' true positions. Slices that are unevenly spaced are refused or, when asked
    for, interpolated by their true positions at the finest distance that is common among them.

    Args:
        slices: Slices of one series, in any order.
        title: Names the series in messages.
        resample: Interpolate unevenly spaced slices instead of refusing them.

    Raises:
        DataError: If sizes, spacings or directions differ, two slices share a place, a slice is missing, or the
            slices are unevenly spaced and ``resample`` is not set.
    """
    _refuse_mixed(slices, title)
    row, column = np.reshape(slices[0].orientation, (2, 3))  # directions of growing column and row index
    row = row / np.linalg.norm(row)
    column = column - (column @ row) * row
    column /= np.linalg.norm(column)
    normal = np.cross(row, column)
    positions = np.array([one.position for one in slices])  # (N, 3)
    order = np.argsort(positions @ normal, kind="stable")
    ordered, positions = tuple(slices[at] for at in order), positions[order]
    depths_mm = (positions - positions[0]) @ normal
    _refuse_shared_places(ordered, depths_mm, title)
    _refuse_gaps(ordered, depths_mm, title)
    reasons = []
    step, depth = _step(ordered, depths_mm)
    if uneven := _uneven(depths_mm):
        if not resample:
            raise DataError(
                f"{title}: the slices are unevenly spaced, {uneven} apart, so no one spacing is right. Give --resample "
                "to interpolate them by their true positions, or convert each part on its own."
            )
        reasons.append(f"slices {uneven} apart, interpolated to {step:.3g} mm")
    # A stack is straight if the first pixels lie above each other along the normal.
    spacing = np.array(slices[0].spacing_mm)  # (rows, columns)
    offsets = (positions - positions[0]) @ np.stack([column, row], axis=1) / spacing  # (N, 2) pixels
    size = np.array(slices[0].size)
    if np.ptp(offsets, axis=0).max() <= _SHEARED:
        offsets = np.zeros_like(offsets)
    else:
        reasons.append(f"slices shifted against each other ({_tilt(offsets * spacing, depths_mm)})")
    low = offsets.min(axis=0)
    shifts, size = offsets - low, size + np.ceil(np.ptp(offsets, axis=0) - 1e-6).astype(int)
    affine = np.eye(4)  # of LPS
    affine[:3, :3] = np.stack([row * spacing[1], column * spacing[0], normal * step], axis=1)
    affine[:3, 3] = positions[0] + affine[:3, 0] * low[1] + affine[:3, 1] * low[0]
    return Stack(
        slices=ordered,
        grid=Grid((depth, int(size[0]), int(size[1])), np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine),
        depths=depths_mm / step,
        shifts=shifts,
        resampled=tuple(reasons),
    )


def _refuse_mixed(slices: Sequence[Slice], title: str) -> None:
    """Refuse a series whose slices differ in size, spacing or direction, such as the views of a scout."""
    first = slices[0]
    kinds: Counter[str] = Counter()
    examples: dict[str, Slice] = {}
    known: list[tuple[float, ...]] = []
    for one in slices:
        numbers = (*one.orientation, *one.spacing_mm)
        turned = next((at for at, other in enumerate(known) if _close(numbers, other)), len(known))
        if turned == len(known):
            known.append(numbers)
        spacing = " x ".join(f"{step:.4g}" for step in one.spacing_mm)
        kind = f"{one.size[0]} x {one.size[1]} pixels of {spacing} mm in direction {turned + 1}"
        kinds[kind] += 1
        examples.setdefault(kind, one)
    if len(kinds) > 1:
        parts = "; ".join(
            f"{count} of {kind}, such as {examples[kind].name}" for kind, count in kinds.items()
        )
        raise DataError(
            f"{title}: the slices of a volume have one size and one direction, found {parts}. Move those that do not "
            f"belong to the volume (scouts often) out of {first.path.parent}."
        )


def _close(one: Sequence[float], other: Sequence[float]) -> bool:
    return bool(np.allclose(one, other, rtol=0, atol=_TURNED))


def _refuse_shared_places(slices: Sequence[Slice], depths_mm: Floats, title: str) -> None:
    steps = np.diff(depths_mm)
    apart = steps[steps > 0.01]
    shared = np.flatnonzero(steps <= max(0.01, _SAME_PLACE * float(np.median(apart)) if apart.size else 0.0))
    if not shared.size:
        return
    one, other = slices[int(shared[0])], slices[int(shared[0]) + 1]
    if one.sop_uid and one.sop_uid == other.sop_uid and one.frame == other.frame:
        what = "are the same image; keep one"
    else:
        told = sorted(set(one.phase) ^ set(other.phase))
        differ = f", and differ in {', '.join(told[:_LISTED])}" if told else ""
        what = f"stand at one place{differ}; keep one of them, or convert each part from a folder of its own"
    more = f" ({shared.size} such pairs)" if shared.size > 1 else ""
    raise DataError(f"{title}: duplicate slices: {one.name} and {other.name} {what}{more}.")


def _refuse_gaps(slices: Sequence[Slice], depths_mm: Floats, title: str) -> None:
    """Refuse a series in which a step is a multiple of those around it: what stood there is missing."""
    steps = np.diff(depths_mm)
    if steps.size < 2:
        return
    median = float(np.median(steps))
    wide = [at for at in range(steps.size) if _multiple(steps[at], median) > 1]
    # Few wide steps among many even ones are gaps; many are a protocol with two distances.
    even = all(_multiple(step, median) == 1 for at, step in enumerate(steps) if at not in wide)
    gaps = set(wide) if even and len(wide) <= max(1, steps.size // 4) else set()
    for at, step in enumerate(steps):
        around = [steps[other] for other in (at - 1, at + 1) if 0 <= other < steps.size]
        units = [other for other in around if _multiple(step, other) > 1]
        # A single narrow step beside it is an extra slice, and no unit.
        known = any(
            sum(_multiple(one, unit) == 1 for one in steps) >= min(2, steps.size - 1) for unit in units
        )
        if known and all(_multiple(step, other) != 1 for other in around):
            gaps.add(at)
    if gaps:
        places = [
            f"{slices[at].name} and {slices[at + 1].name} ({steps[at]:.3g} mm apart)" for at in sorted(gaps)
        ]
        more = f" and in {len(places) - _LISTED} more places" if len(places) > _LISTED else ""
        raise DataError(
            f"{title}: missing slices between {'; '.join(places[:_LISTED])}{more}, where slices stand {median:.3g} mm "
            "apart otherwise. Get the missing files; a volume with a gap is not made up."
        )


def _multiple(step: float, unit: float) -> int:
    """How many units make a step, 0 where it is no whole number of them."""
    times = round(step / unit)
    return times if times and abs(step - times * unit) <= max(0.1 * unit, _ROUNDING_MM) else 0


def _uneven(depths_mm: Floats) -> str:
    """The steps between slices where they are not all alike, such as ``13 x 4.00 and 14 x 7.00 mm``."""
    if len(depths_mm) < 3:
        return ""
    even = np.linspace(0.0, depths_mm[-1], len(depths_mm))
    step = even[1]
    if np.abs(depths_mm - even).max() <= max(_ROUNDING_MM, _UNEVEN * step):
        return ""
    counts = Counter(f"{one:.2f}" for one in np.diff(depths_mm)).most_common()
    rest = sum(count for _, count in counts[_LISTED:])
    listed = ", ".join(f"{count} x {one}" for one, count in counts[:_LISTED])
    return f"{listed}{f' and {rest} others' if rest else ''} mm"


def _step(slices: Sequence[Slice], depths_mm: Floats) -> tuple[float, int]:
    """Spacing and number of the volume's slices."""
    count = len(depths_mm)
    if count == 1:
        return slices[0].thickness_mm or 1.0, 1
    extent = float(depths_mm[-1])
    if not _uneven(depths_mm):
        return extent / (count - 1), count
    # The finest step that is no exception, so that nothing is thinned out.
    counts = Counter(round(step, 2) for step in np.diff(depths_mm).tolist())
    common = [step for step, times in counts.items() if times >= max(2, 0.1 * count)]
    finest = min(common or counts)
    number = int(np.ceil(extent / finest - 0.05))
    return extent / number, number + 1


def _tilt(offsets_mm: Floats, depths_mm: Floats) -> str:
    """A tilt in degrees where the shifts grow evenly, else their size."""
    slopes = depths_mm @ offsets_mm / (depths_mm @ depths_mm)
    if np.abs(offsets_mm - depths_mm[:, None] * slopes).max() <= 0.2:
        return f"a tilt of {np.degrees(np.arctan(np.linalg.norm(slopes))):.1f} degrees"
    return f"by up to {np.abs(offsets_mm).max():.1f} mm"
