"""Masks and images of run-length formats on disk, by the id that the competition gives them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medimg.datasets.image_cases import IMAGE_SUFFIXES
from medimg.errors import DataError
from medimg.io.nifti import is_nifti, read_grid, read_mask
from medimg.io.raster import read_raster
from medimg.scoring.pairs import case_id_of

# <case>/<case_day>/scans/slice_0001_266_266_1.50_1.50.png of UW-Madison
_SLICE = re.compile(r"slice_(\d+)_")


@dataclass(frozen=True, slots=True)
class Plane:
    """A 2D picture, or a slice of a volume.

    Attributes:
        path: The file.
        slice: Number of the slice of a volume, counted from 0; ``None`` for a picture.
    """

    path: Path
    slice: int | None = None


def find_planes(folder: Path) -> Iterator[tuple[str, Plane]]:
    """Pictures and slices of volumes in a folder, at any depth, with their ids.

    A picture is called as its file, or ``<case_day>_slice_<number>`` in the folders of UW-Madison. Slices
    of ``<case>.nii.gz`` are called ``<case>_slice_0001`` and so on, along the last axis of the file.

    Args:
        folder: Folder of masks or images.

    Raises:
        DataError: If there is no such folder, or a volume's header cannot be used.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder. Expected masks or images.")
    for path in sorted(folder.rglob("*")):
        if path.name.startswith((".", "_")) or not path.is_file():
            continue
        if is_nifti(path):
            depth = read_grid(path, form="sform").shape[0]
            yield from ((f"{case_id_of(path)}_slice_{n + 1:04d}", Plane(path, n)) for n in range(depth))
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            match = _SLICE.match(path.name)
            yield (
                f"{path.parents[1].name}_slice_{match[1]}" if match and len(path.parents) > 1 else path.stem,
                Plane(path),
            )


def read_plane(plane: Plane) -> NDArray[np.generic]:
    """Read label values, shape (H, W); slices of one volume are read one after the other at no extra cost.

    Raises:
        DataError: If the file cannot be read, or is a picture in colours.
    """
    if plane.slice is not None:
        labels: NDArray[np.generic] = _volume(plane.path)[plane.slice]
        return labels
    picture = read_raster(plane.path)
    if len(picture) != 1:
        raise DataError(
            f"{plane.path}: expected a mask of one channel, found {len(picture)}. Save it in grey."
        )
    pixels: NDArray[np.generic] = picture[0]
    return pixels


def plane_shape(plane: Plane) -> tuple[int, int]:
    """(H, W) of an image.

    Raises:
        DataError: If the file cannot be read.
    """
    if plane.slice is not None:
        return read_grid(plane.path, form="sform").shape[1:]
    _, height, width = read_raster(plane.path).shape
    return height, width


@lru_cache(maxsize=1)
def _volume(path: Path) -> NDArray[np.uint8] | NDArray[np.int16]:
    return read_mask(path, form="sform")
