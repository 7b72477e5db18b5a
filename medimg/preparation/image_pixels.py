"""One case's pixels as they are kept between epochs: windowed, of one size, 8 or 16 bits."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from medimg.errors import ConfigError, DataError
from medimg.io.dicom import is_dicom, read_image
from medimg.io.raster import read_raster
from medimg.preparation.image_source import read_member
from medimg.records import Record

# Red, green and blue in brightness: ITU-R BT.601, as every tool that turns colours into grey has it.
_GREY = np.array([0.299, 0.587, 0.114], np.float32)

Window = Literal["file", "range"] | tuple[float, float]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class ImageOptions:
    """What the network sees of an image.

    Attributes:
        size: Height and width. A random crop of the augmentation must give this size.
        stored_size: Height and width that are kept and augmented, where a crop needs more than ``size``.
        channels: Channels: 1 turns colours into brightness, 3 repeats brightness. A case of several files has one
            channel a file.
        window: What becomes 0 and 1: ``file`` takes a DICOM file's window, or all values that a picture's bits can
            hold; ``range`` the lowest and the highest value of each image; or two values in the units of the
            file, Hounsfield units for CT. Values beyond them are cut off.
        keep_aspect: Keep height and width in proportion and fill up with black; otherwise stretch.
        bits: Bits a value that are kept between epochs; 16 where fine contrast matters.
        mean: Subtracted after scaling to [0, 1], one for all channels or one each.
        std: Divides what is left, in the same way.
    """

    size: tuple[int, int] = (224, 224)
    stored_size: tuple[int, int] | None = None
    channels: int = 3
    window: Window = "file"
    keep_aspect: bool = True
    bits: Literal[8, 16] = 8
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, self.channels):
                raise ConfigError(
                    f"image.{name}: expected one value, or one for each of {self.channels} channels, found "
                    f"{list(values)}"
                )
        if not isinstance(self.window, str) and self.window[0] >= self.window[1]:
            raise ConfigError(f"image.window: expected a lower and a higher value, found {list(self.window)}")

    @property
    def kept_size(self) -> tuple[int, int]:
        """Height and width that are kept between epochs."""
        return self.stored_size or self.size

    @property
    def dtype(self) -> type[np.uint8] | type[np.uint16]:
        """Type of the kept values."""
        return np.uint8 if self.bits == 8 else np.uint16


def read_pixels(record: Record, options: ImageOptions) -> NDArray[Any]:
    """Decode a case, window it, bring it to its size and round it to 8 or 16 bits.

    Args:
        record: The case.
        options: What the network sees.

    Returns:
        Pixels (C, H, W), uint8 or uint16.

    Raises:
        DataError: If a file cannot be read, is no single 2D image, or has other channels.
    """
    parts = [_scaled(record, path, options.window) for path in record.images]
    if len(parts) > 1 and any(part.shape != parts[0].shape for part in parts):
        shapes = ", ".join(
            f"{path.name} {part.shape}" for path, part in zip(record.images, parts, strict=True)
        )
        raise DataError(
            f"{record.case_id}: the files of a case must have one shape (C, H, W), found {shapes}"
        )
    image = _with_channels(np.concatenate(parts), options.channels, record)
    image = resize(image, options.kept_size, keep_aspect=options.keep_aspect)
    top = 2**options.bits - 1
    kept: NDArray[Any] = np.rint(np.clip(image, 0, 1) * top).astype(options.dtype)
    return kept


def _scaled(record: Record, path: Path, window: Window) -> Floats:
    """Values of one file, (C, H, W), with the window's ends at 0 and 1."""
    pixels: NDArray[Any]
    if record.member is not None:
        pixels = read_member(record)
    elif is_dicom(path):
        found = read_image(path, window="first" if window == "file" else "none")
        pixels = found.pixels
        if pixels.ndim == 3 and window == "file":
            return pixels
    else:
        pixels = read_raster(path)
    if pixels.ndim != 3:
        raise DataError(
            f"{path}: expected one 2D image, found the shape {pixels.shape}; volumes and films need a 3D data module"
        )
    low, high = _ends(pixels, window, path)
    scaled: Floats = ((pixels.astype(np.float32) - low) / max(high - low, 1e-12)).astype(np.float32)
    if not np.isfinite(scaled).all():
        raise DataError(f"{path}: holds {int((~np.isfinite(scaled)).sum())} values that are not finite")
    return scaled


def _ends(pixels: NDArray[Any], window: Window, path: Path) -> tuple[float, float]:
    if window == "range":
        return float(pixels.min()), float(pixels.max())
    if window == "file":
        if pixels.dtype.kind == "f":
            raise DataError(
                f"{path}: values with fractions have no natural range, found {pixels.min():g} to {pixels.max():g}: set "
                "data.init_args.image.window to range, or to a lower and a higher value"
            )
        return 0.0, float(np.iinfo(pixels.dtype).max) if pixels.dtype != np.bool_ else 1.0
    return window


def _with_channels(image: Floats, channels: int, record: Record) -> Floats:
    found = len(image)
    if found == channels:
        return image
    if found == 1:
        return np.repeat(image, channels, axis=0)
    if found in (3, 4) and channels in (1, 3):
        if channels == 3:
            return image[:3]  # without transparency
        return np.tensordot(_GREY, image[:3], axes=1)[None].astype(np.float32)
    raise DataError(
        f"{record.images[0]}: has {found} channels, and data.init_args.image.channels asks for {channels}"
    )


def resize(image: Floats, size: tuple[int, int], *, keep_aspect: bool) -> Floats:
    """Bring an image to a size.

    Args:
        image: Pixels (C, H, W).
        size: Height and width.
        keep_aspect: Fill up with zeros on two sides instead of stretching.

    Returns:
        Pixels (C, *size).

    Example:
        >>> resize(np.ones((1, 2, 4), np.float32), (4, 4), keep_aspect=True)[0, :, 0].tolist()
        [0.0, 1.0, 1.0, 0.0]
    """
    height, width = image.shape[1:]
    if (height, width) == tuple(size):
        return image
    factor = min(size[0] / height, size[1] / width)
    inner = (max(1, round(height * factor)), max(1, round(width * factor))) if keep_aspect else tuple(size)
    # Averaging keeps fine bright dots, such as calcifications, that picking points would lose.
    method = cv2.INTER_AREA if inner[0] * inner[1] < height * width else cv2.INTER_CUBIC
    # One channel at a time, since more than four at once are refused.
    planes = [cv2.resize(plane, inner[::-1], interpolation=method) for plane in image]
    if inner == tuple(size):
        return np.stack(planes)
    canvas = np.zeros((len(image), *size), np.float32)
    top, left = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    canvas[:, top : top + inner[0], left : left + inner[1]] = planes
    return canvas
