"""Masks of images as data sets keep them: pictures of outlines, label maps, or run-length codes."""

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medimg.errors import DataError
from medimg.io.raster import read_raster
from medimg.io.rle import decode

# Compression blurs the outline, so that values lie between; lossless pictures hold 0 and anything else.
_LOSSY = (".jpg", ".jpeg")
_HALF = 128


@dataclass(frozen=True, slots=True)
class MaskFiles:
    """Pictures of one image's mask.

    Attributes:
        paths: A pixel is inside if it is inside in any of them.
        classes: The one picture holds the value of a class in each pixel, 255 where it is unknown; otherwise
            everything but 0 is inside.
    """

    paths: tuple[Path, ...]
    classes: bool = False

    def read(self, shape: tuple[int, int]) -> NDArray[np.uint8]:
        """Label map (H, W) on the pixels of the image: 0 and 1, or the values of classes.

        Raises:
            DataError: If a picture cannot be read, has another size than the image, or is no label map where one is
                asked for.
        """
        united = np.zeros(shape, np.uint8)
        for path in self.paths:
            picture = read_raster(path)
            if picture.shape[1:] != tuple(shape):
                raise DataError(
                    f"{path}: a mask of {picture.shape[1:]} pixels (H, W) for an image of {tuple(shape)}. Give the "
                    "mask that was drawn on this image."
                )
            if self.classes:
                return _class_values(path, picture)
            least = _HALF if path.suffix.lower() in _LOSSY else 1
            united |= (picture.max(axis=0) >= least).astype(np.uint8)
        return united

    def stamp(self) -> list[Any]:
        """Tells whether the mask changed."""
        stats = [path.stat() for path in self.paths]
        return [self.classes, *([stat.st_size, stat.st_mtime_ns] for stat in stats)]


def _class_values(path: Path, picture: NDArray[Any]) -> NDArray[np.uint8]:
    if len(picture) != 1 or picture.dtype != np.uint8:
        raise DataError(
            f"{path}: a label map has one channel of 8 bits, found {len(picture)} of {picture.dtype}. Save the values "
            "of the classes as a grey PNG."
        )
    values: NDArray[np.uint8] = picture[0]
    return values


@dataclass(frozen=True, slots=True)
class RunLengths:
    """Run-length codes of one image's mask.

    Attributes:
        codes: One for each outline, by columns; none for an image in which nothing was found.
        relative: Starts count from the end of the run before.
        shape: Height and width that the codes were made for; ``None`` if those of the image's file. A conversion of the
            image to fewer pixels gets the mask so.
    """

    codes: tuple[str, ...]
    relative: bool = False
    shape: tuple[int, int] | None = None

    def read(self, shape: tuple[int, int]) -> NDArray[np.uint8]:
        """Mask (H, W) on the pixels of the image, 0 and 1.

        Raises:
            DataError: If a code is damaged, or made for an image of other proportions.
        """
        own = self.shape or shape
        if own[0] * shape[1] != own[1] * shape[0]:
            raise DataError(
                f"a mask of {own} pixels (H, W) for an image of {tuple(shape)}, which has other proportions"
            )
        united = np.zeros(own, np.uint8)
        for code in self.codes:
            united |= decode(code, own, relative=self.relative)
        return nearest(united, shape)

    def stamp(self) -> list[Any]:
        """Tells whether the mask changed."""
        return [self.relative, self.shape, [zlib.crc32(code.encode()) for code in self.codes]]


ImageMask = MaskFiles | RunLengths


def nearest(mask: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Bring a label map (H, W) to another number of pixels, each from the one that its centre falls into.

    Example:
        >>> nearest(np.array([[1, 2, 3, 4]], np.uint8), (2, 2)).tolist()
        [[2, 4], [2, 4]]
    """
    if mask.shape == tuple(shape):
        return mask
    # Centres in whole numbers, so that no rounding of a fraction decides.
    rows, columns = (
        (2 * np.arange(n) + 1) * old // (2 * n) for n, old in zip(shape, mask.shape, strict=True)
    )
    return mask[np.ix_(rows, columns)]
