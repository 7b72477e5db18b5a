"""A make-believe chest in CT: lungs, heart, ribs, spine, vessels, airways and nodules, drawn slice by slice."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medimg.io.grid import Grid
from medimg.phantoms.chest_nodules import CALCIUM_HU, Nodule, place_nodules
from medimg.phantoms.chest_vessels import Tube, lung_vessels, paint_tubes, window_of
from medimg.phantoms.fields import Field, Points, ellipsoid, fraction

SHAPE = (120, 512, 512)
FIELD_MM = (300.0, 340.0, 340.0)
"""Depth, height and width of what every volume shows, whatever its number of voxels."""
SMALLEST_MM = 4.0
"""Smallest diameter of a nodule, where no other is asked for."""

_AIR, _LUNG, _FAT, _MUSCLE, _BLOOD, _SPONGY, _CORTICAL = -1000, -870, -95, 55, 42, 190, 620
_RIB_PITCH_MM, _RIB_SLOPE = 25.0, 0.4
_VERTEBRA_MM = 27.0
_NOISE_HU = 22.0
_MARGIN = np.array([[-85.0, -70.0, -110.0], [105.0, 70.0, 110.0]])  # where nodules may lie


@dataclass(frozen=True)
class Chest:
    """One patient.

    Attributes:
        scale: Size along z, y, x against the standard chest.
        heart_mm: How far the heart lies from its usual place along y and x.
        tubes: Airways and vessels.
        nodules: Nodules in the lungs.
    """

    scale: tuple[float, float, float]
    heart_mm: tuple[float, float]
    tubes: tuple[Tube, ...] = ()
    nodules: tuple[Nodule, ...] = ()

    def lung(self, points: Points) -> Field:
        """Signed distance to the lungs' surface in millimetres, negative inside.

        Args:
            points: Coordinates z, y, x in millimetres, of one shape.
        """
        z, y, x = (axis / np.float32(scale) for axis, scale in zip(points, self.scale, strict=True))
        at: Points = (z, y, np.abs(x))
        sides = ellipsoid(at, (0, -4, 72), (122, 84, 60))
        dome = ellipsoid(at, (-178, 6, 66), (105, 120, 95))
        middle = ellipsoid(at, (10, 0, 0), (190, 78, 30))
        dy, dx = self.heart_mm
        heart = ellipsoid((z, y, x), (-42, 28 + dy, -26 + dx), (58, 46, 56))
        ripple = np.float32(1.5) * np.sin(y / np.float32(13)) * np.cos(z / np.float32(17))
        cut = np.maximum(np.maximum(-dome, -middle), -heart)
        lung: Field = np.maximum(sides + ripple, cut).astype(np.float32)
        return lung


def build_chest(
    rng: np.random.Generator,
    nodules: int,
    voxel_mm: float = 0.0,
    *,
    smallest_mm: float = SMALLEST_MM,
    vessels: bool = True,
) -> Chest:
    """Draw one patient.

    Args:
        rng: Source of the individual shape.
        nodules: How many nodules the lungs hold.
        voxel_mm: Longest side of a voxel; nodules are larger than that, so that none is lost between slices.
        smallest_mm: Smallest diameter of a nodule, where voxels are small enough.
        vessels: Leave them out where only the nodules are of interest, which are the same without.

    Raises:
        ConfigError: If there is no room for so many.
    """
    scale = rng.uniform(0.94, 1.04, 3)
    heart = rng.uniform(-5, 5, 2)
    bare = Chest((scale[0], scale[1], scale[2]), (heart[0], heart[1]))
    found = place_nodules(rng, nodules, bare.lung, _MARGIN, max(smallest_mm, 1.4 * voxel_mm))
    tubes = (*_airways(), *lung_vessels(rng, bare.lung)) if vessels else ()
    return Chest(bare.scale, bare.heart_mm, tubes, found)


def chest_grid(shape: tuple[int, int, int]) -> Grid:
    """Grid of a volume over the whole field: columns run to the patient's left, rows to the back, slices up.

    Args:
        shape: Volume (D, H, W).

    Example:
        >>> chest_grid((120, 512, 512)).spacing_mm
        (2.5, 0.6640625, 0.6640625)
    """
    depth, height, width = (length / size for length, size in zip(FIELD_MM, shape, strict=True))
    affine = np.diag([-width, -height, depth, 1.0])
    middle = (np.array(shape[::-1]) - 1) / 2
    affine[:3, 3] = -affine[:3, :3] @ middle
    return Grid(shape, affine)


def grid_axes(grid: Grid) -> Points:
    """Coordinates z of the slices, y of the rows and x of the columns in millimetres, one dimension each."""
    steps, origin = np.diag(grid.affine)[:3], grid.affine[:3, 3]
    x, y, z = (
        (origin[dim] + steps[dim] * np.arange(grid.shape[2 - dim])).astype(np.float32) for dim in range(3)
    )
    return z, y, x


def draw_slices(
    chest: Chest, grid: Grid, seed: tuple[int, ...]
) -> Iterator[tuple[NDArray[np.int16], NDArray[np.uint8]]]:
    """Draw slice after slice, so that memory holds no field of the whole volume.

    Args:
        chest: The patient.
        grid: As `chest_grid` makes it, or a part of it.
        seed: Of the noise.

    Yields:
        Hounsfield units (H, W), and the number of the nodule from 1 on at each pixel, 0 elsewhere.
    """
    z_axis, y, x = grid_axes(grid)
    shape = (y.size, x.size)
    rows, columns = np.broadcast_to(y[:, None], shape), np.broadcast_to(x[None, :], shape)
    voxel = float(abs(y[1] - y[0]))
    for number, z in enumerate(z_axis):
        points: Points = (np.full(shape, z, np.float32), rows, columns)
        image = _tissues(chest, points, voxel)
        paint_tubes(image, chest.tubes, float(z), (y, x))
        labels = _paint_nodules(image, chest.nodules, z, (y, x))
        noise = np.random.default_rng([*seed, number]).standard_normal(shape, dtype=np.float32)
        image += np.float32(_NOISE_HU) * ndimage.gaussian_filter(noise, 0.5, mode="nearest")
        yield np.clip(np.rint(image), -1024, 3071).astype(np.int16), labels


def _paint_nodules(
    image: Field, nodules: tuple[Nodule, ...], z: np.float32, axes: tuple[Field, Field]
) -> NDArray[np.uint8]:
    labels = np.zeros(image.shape, np.uint8)
    voxel = abs(float(axes[0][1] - axes[0][0]))
    for number, nodule in enumerate(nodules, start=1):
        reach = nodule.reach_mm + voxel
        if abs(float(z) - nodule.centre[0]) > reach:
            continue
        window = tuple(window_of(axis, c, c, reach) for axis, c in zip(axes, nodule.centre[1:], strict=True))
        at: Points = (np.full((1, 1), z, np.float32), axes[0][window[0]][:, None], axes[1][window[1]][None])
        distance = nodule.distance(at)
        _blend(image[window], distance, nodule.hu, voxel)
        if nodule.calcified:
            _blend(image[window], distance + np.float32(0.45 * nodule.radius_mm), CALCIUM_HU, voxel)
        labels[window][distance < 0] = number
    return labels


def _tissues(chest: Chest, points: Points, voxel: float) -> Field:
    """Hounsfield units without vessels, nodules and noise, shape (H, W)."""
    z, y, x = (axis / np.float32(scale) for axis, scale in zip(points, chest.scale, strict=True))
    level = float(z[0, 0])
    image = np.full(z.shape, _AIR, np.float32)
    skin = _oval(y, x, 112, 158)
    # A curved table below the back; the air of the room is around it.
    _blend(image, np.abs(y + np.float32(120) - x * x / np.float32(900)) - np.float32(2), -250, voxel)
    _blend(image, skin, _FAT, voxel)
    waist = max(0.55, float(np.sqrt(max(1 - (level / 205) ** 2, 0))))
    wall = _oval(y, x, 97 * waist, 143 * waist)
    _blend(image, wall - np.float32(6), _MUSCLE, voxel)
    _blend(image, chest.lung(points), _LUNG, voxel)
    lung = image < np.float32(-700)
    image[lung & (skin < 0)] += np.float32(-0.35) * y[lung & (skin < 0)]  # the back of a lung is denser
    dy, dx = chest.heart_mm
    _blend(image, ellipsoid((z, y, x), (-42, 28 + dy, -26 + dx), (54, 42, 52)), _BLOOD, voxel)
    _blend(image, ellipsoid((z, y, x), (50, -62, -20), (400, 12, 12)), _BLOOD + 5, voxel)  # aorta
    _bones(image, (z, y, x), wall, voxel)
    return image


def _bones(image: Field, at: Points, wall: Field, voxel: float) -> None:
    z, y, x = at
    phase = (z + np.float32(_RIB_SLOPE) * y) / np.float32(_RIB_PITCH_MM)
    across = (phase - np.rint(phase)) * np.float32(_RIB_PITCH_MM / np.sqrt(1 + _RIB_SLOPE**2))
    rib = np.sqrt((wall * np.float32(1.5)) ** 2 + across**2) - np.float32(6)
    rib = np.maximum(rib, np.float32(24) - np.abs(x))  # ribs end at the sternum and at the spine
    _blend(image, rib, _CORTICAL, voxel)
    _blend(image, rib + np.float32(2.5), _SPONGY, voxel)
    sternum = ellipsoid(at, (15, 96, 0), (110, 7, 18))
    _blend(image, sternum, _CORTICAL - 250, voxel)
    body = _oval(y + np.float32(76), x, 15, 19)
    disc = np.abs(z / np.float32(_VERTEBRA_MM) - np.rint(z / np.float32(_VERTEBRA_MM)))
    body = np.maximum(body, np.float32(3) - disc * np.float32(_VERTEBRA_MM))
    _blend(image, body, _CORTICAL, voxel)
    _blend(image, body + np.float32(2), _SPONGY, voxel)
    arch = np.maximum(_oval(y + np.float32(98), x, 12, 14), np.float32(9) - np.sqrt((y + 98) ** 2 + x**2))
    _blend(image, arch, _CORTICAL - 150, voxel)


def _oval(y: Field, x: Field, height: float, width: float) -> Field:
    """Signed distance to an upright elliptic cylinder."""
    return ellipsoid((np.zeros_like(y), y, x), (0, 0, 0), (1e4, height, width))


def _blend(image: Field, distance: Field, hu: float, voxel: float) -> None:
    """Lay a tissue over what is there, by the part of each voxel that it fills."""
    image += fraction(distance.astype(np.float32, copy=False), voxel) * (np.float32(hu) - image)


def _airways() -> tuple[Tube, ...]:
    carina = (35.0, -18.0, 0.0)
    tubes = [Tube((170.0, -10.0, 0.0), carina, (8.0, 8.0), -985.0)]
    for side in (1.0, -1.0):
        hilum = (10.0, -16.0, 36.0 * side)
        tubes.append(Tube(carina, hilum, (6.5, 5.0), -975.0))
        for end in ((55.0, -10.0, 62.0), (-35.0, -22.0, 60.0), (5.0, 22.0, 58.0)):
            tubes.append(Tube(hilum, (end[0], end[1], end[2] * side), (4.0, 2.0), -960.0))
    return tuple(tubes)
