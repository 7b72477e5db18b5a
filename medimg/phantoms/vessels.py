"""Bright things in a contrast-enhanced scan that are no tumour: sinuses, arteries, cortical veins."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medimg.phantoms.fields import LATTICE_AXES, STEP_MM, Field, Frame

Path3 = NDArray[np.float64]  # points (N, 3) as rows (z, y, x) in millimetres of the standard head

_FAR_MM = 1e3
_RAY_MM = np.arange(0.0, 110.0, 1.0)


def draw_vessels(rng: np.random.Generator, hull: Field, frame: Frame) -> Field:
    """Signed distance to the vessels, close to them; far away it is only known to be large.

    Args:
        rng: Source of the courses.
        hull: Surface of the brain on the lattice, along which most vessels run.
        frame: The volume.

    Returns:
        Distances in millimetres of the standard head at the voxels of the frame's box.
    """
    distance = np.full([axis.size for axis in frame.axes], np.float32(_FAR_MM), np.float32)
    for path, radius in _courses(rng, hull):
        _paint(distance, _resample(path, max(1.0, 0.6 * frame.voxel_mm)), radius, frame)
    return distance


def _courses(rng: np.random.Generator, hull: Field) -> Iterator[tuple[Path3, float]]:
    """The middle line and the radius in millimetres of every vessel."""
    t = np.linspace(0, 1, 40)
    yield _on_surface(hull, _arc(np.linspace(15, 195, 60), 0.0), 2.0), 3.4  # superior sagittal sinus
    yield (
        np.array([[6, 8, 0.5], [10, -28, 0.5], [6, -38, 0], [0, -76, 0]], dtype=float),
        2.0,
    )  # to the straight sinus
    yield (
        np.array([[-18, 8, 0], [8, 44, 0], [26, 40, 0], [37, 8, 0], [34, -24, 0]], dtype=float),
        1.6,
    )  # callosal
    for side in (-1.0, 1.0):
        around = np.stack([np.full_like(t, -0.22), -1 + 1.05 * t, side * t], axis=1)
        yield _on_surface(hull, around, 2.5), 3.0  # transverse sinus
        yield (
            np.array([[-20, 8, 6 * side], [-8, 8, 26 * side], [-2, 4, 46 * side]]),
            2.0,
        )  # middle cerebral artery
        for _ in range(5):  # its branches over the side of the brain
            aim = np.array([rng.uniform(0.1, 0.9), rng.uniform(-1.0, 0.9), side])
            start = np.array([-0.05, 0.1, side])
            yield _on_surface(hull, _jitter(rng, start + t[:, None] * (aim - start)), rng.uniform(3, 9)), 1.6
        for angle in np.linspace(40, 165, 9) + rng.uniform(-6, 6, 9):  # veins into the sagittal sinus
            down = np.linspace(2, rng.uniform(50, 85), 40) * side
            yield _on_surface(hull, _jitter(rng, _arc(np.full(40, angle), down)), rng.uniform(2, 4)), 1.8


def _arc(pitch: NDArray[np.float64], roll: NDArray[np.float64] | float) -> Path3:
    """Directions by pitch (0 forward, 90 up, 180 back) and roll (90 right), in degrees."""
    pitch, side = np.deg2rad(pitch), np.deg2rad(np.broadcast_to(roll, pitch.shape))
    return np.stack([np.sin(pitch) * np.cos(side), np.cos(pitch) * np.cos(side) ** 0.3, np.sin(side)], axis=1)


def _jitter(rng: np.random.Generator, directions: Path3) -> Path3:
    noise = ndimage.gaussian_filter1d(rng.standard_normal(directions.shape), 5.0, axis=0, mode="nearest")
    return directions + 0.22 * noise


def _on_surface(hull: Field, directions: Path3, depth_mm: float) -> Path3:
    """Where rays from the middle of the brain have ``depth_mm`` left to its surface."""
    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    points = unit[:, None, :] * _RAY_MM[None, :, None]  # (N, R, 3)
    origin = np.array([axis[0] for axis in LATTICE_AXES])
    index = np.moveaxis((points - origin) / STEP_MM, -1, 0)
    outside = ndimage.map_coordinates(hull, index, order=1, mode="nearest") > -depth_mm  # (N, R)
    # Seen from outside, so that a fold of the surface on the way does not count.
    last_inside = outside.shape[1] - 1 - np.argmax(~outside[:, ::-1], axis=1)
    return np.asarray(unit * _RAY_MM[last_inside][:, None])


def _resample(path: Path3, step_mm: float) -> Path3:
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    at = np.arange(0.0, along[-1], step_mm)
    return np.stack([np.interp(at, along, path[:, dim]) for dim in range(3)], axis=1)


def _paint(distance: Field, path: Path3, radius: float, frame: Frame) -> None:
    """Lower the distances around every point of a vessel; each point touches a few voxels only."""
    reach = radius + 1.5 * frame.voxel_mm
    starts = [axis[0] for axis in frame.axes]
    steps = [
        (axis[-1] - axis[0]) / max(axis.size - 1, 1) for axis in frame.axes
    ]  # negative where voxels run down
    for point in path:
        window, squares = [], []
        for dim, axis in enumerate(frame.axes):
            middle, half = (point[dim] - starts[dim]) / steps[dim], reach / abs(steps[dim])
            window.append(slice(max(int(middle - half) + 1, 0), max(int(middle + half) + 1, 0)))
            squares.append((axis[window[-1]] - np.float32(point[dim])) ** 2)
        gap = np.sqrt(squares[0][:, None, None] + squares[1][None, :, None] + squares[2][None, None, :])
        view = distance[tuple(window)]
        np.minimum(view, gap - np.float32(radius), out=view)
