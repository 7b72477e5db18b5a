"""Pixels of a 2D case, wherever they lie: a raster file, a DICOM file, or a member of an ``.npz``."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.datasets.medmnist import read_array
from medimg.errors import DataError
from medimg.io.dicom import is_dicom, read_image
from medimg.io.raster import read_raster
from medimg.records import Record

_RASTERS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".pgm", ".ppm", ".gif")


@dataclass(frozen=True)
class SourceImage:
    """One image as its file gives it.

    Attributes:
        pixels: (C, H, W): integers as stored for raster files; float32 in [0, 1], or in modality units if those
            were asked for, for DICOM.
        laterality: ``L``, ``R`` or what else a DICOM file says; else empty.
        view: Such as ``CC``; else empty.
        flags: What a DICOM file's reader noted.
        position_mm: Place along the stack of its series, where a DICOM file says it.
    """

    pixels: NDArray[Any]
    laterality: str = ""
    view: str = ""
    flags: tuple[str, ...] = ()
    position_mm: float | None = None


def read_source(path: Path, *, units: bool = False) -> SourceImage:
    """Read a raster or DICOM file.

    Args:
        path: The file; DICOM is told by its content where the name does not say.
        units: Modality units such as Hounsfield units instead of the file's own window; DICOM only.

    Raises:
        DataError: If it cannot be read, holds several frames, or has no units.
    """
    path = Path(path)
    if path.suffix.lower() in _RASTERS or not is_dicom(path):
        if units:
            raise DataError(f"{path}: a window in Hounsfield units needs DICOM; a raster file has no units.")
        pixels = read_raster(path)
        if bad := int((~np.isfinite(pixels)).sum()):
            raise DataError(f"{path}: holds {bad} values that are no finite numbers. Mend the file.")
        return SourceImage(pixels)
    image = read_image(path, window="none" if units else "first")
    if image.pixels.ndim != 3:
        raise DataError(
            f"{path}: expected one frame, found {image.pixels.shape[0]}. Convert the frames you want to PNG."
        )
    return SourceImage(image.pixels, image.laterality, image.view, image.flags, image.position_mm)


def read_case_images(record: Record, *, units: bool = False) -> list[SourceImage]:
    """Read every image of a case.

    Args:
        record: The case.
        units: Modality units instead of the file's own window; DICOM only.

    Returns:
        One image a file; for a member of an ``.npz`` one, (1, H, W), (3, H, W) or (D, H, W).

    Raises:
        DataError: If a file cannot be read.
    """
    if record.member is None:
        return [read_source(path, units=units) for path in record.images]
    member = read_member(record)
    return [SourceImage(member if member.ndim == 3 else member[0])]


def read_member(record: Record) -> NDArray[Any]:
    """Read a case that is a member of an ``.npz``.

    Args:
        record: The case.

    Returns:
        (C, H, W) of an image, (1, D, H, W) of a volume.

    Raises:
        DataError: If the file cannot be read.
    """
    npz = record.images[0]
    member: NDArray[Any] = _members(npz, f"{record.split}_images", npz.stat().st_mtime_ns)[record.member]
    return np.moveaxis(member, -1, 0) if member.ndim == 3 and member.shape[-1] in (3, 4) else member[None]


@lru_cache(maxsize=1)
def _members(npz: Path, key: str, written_ns: int) -> NDArray[Any]:
    """The images of one split: every case of it is read from the array that the first one unpacked.

    The time of writing is part of the key, so that a file written anew is read anew.
    """
    return read_array(npz, key)


def grey(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Mean of the channels.

    Args:
        pixels: (C, H, W).

    Returns:
        (H, W), in the unit of the pixels.

    Example:
        >>> grey(np.array([[[0, 2]], [[2, 4]]]))
        array([[1., 3.]], dtype=float32)
    """
    mean: NDArray[np.float32] = pixels.mean(axis=0, dtype=np.float32)
    return mean


def box_means(image: NDArray[Any], shape: Sequence[int]) -> NDArray[np.float32]:
    """Shrink an image to the mean of the pixels that each new pixel covers.

    An axis that is shorter than wanted repeats pixels.

    Args:
        image: (H, W).
        shape: Wanted (H, W).

    Example:
        >>> box_means(np.arange(16).reshape(4, 4), (2, 2))
        array([[ 2.5,  4.5],
               [10.5, 12.5]], dtype=float32)
    """
    small = np.asarray(image, dtype=np.float32)
    for axis, wanted in enumerate(shape):
        length = small.shape[axis]
        starts = np.arange(wanted) * length // wanted
        widths = np.diff(np.append(starts, length)).clip(min=1)
        if length <= wanted:
            small = small.take(starts, axis=axis)
            continue
        sums = np.add.reduceat(small, starts, axis=axis)
        small = sums / widths.reshape((-1, 1) if axis == 0 else (1, -1))
    return small.astype(np.float32)
