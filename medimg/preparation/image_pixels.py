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
from medimg.preparation.image_windows import show_window, show_windows
from medimg.records import Record

# Red, green and blue in brightness: ITU-R BT.601, as every tool that turns colours into grey has it.
_GREY = np.array([0.299, 0.587, 0.114], np.float32)

Window = Literal["file", "range"] | tuple[float, float]
Windows = Window | tuple[tuple[float, float], ...]
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
            file, Hounsfield units for CT. Values beyond them are cut off. Or a list of such pairs, a channel each,
            for images of one channel.
        keep_aspect: Keep height and width in proportion and fill up with black; otherwise stretch.
        bits: Bits a value that are kept between epochs; 16 where fine contrast matters.
        mean: Subtracted after scaling to [0, 1], one for all channels or one each.
        std: Divides what is left, in the same way.
    """

    size: tuple[int, int] = (224, 224)
    stored_size: tuple[int, int] | None = None
    channels: int = 3
    window: Windows = "file"
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
        for window in self.windows:
            if len(window) != 2 or window[0] >= window[1]:
                raise ConfigError(f"image.window: expected a lower and a higher value, found {list(window)}")
        if not self.window:
            raise ConfigError("image.window: expected one or more windows, found none")
        if self.as_channels and len(self.windows) != self.channels:
            raise ConfigError(
                f"image.window: {len(self.windows)} windows are a channel each, and image.channels is "
                f"{self.channels}: set it to {len(self.windows)}"
            )

    @property
    def windows(self) -> tuple[tuple[float, float], ...]:
        """The windows in the units of the file; none where ``window`` names a rule."""
        if isinstance(self.window, str):
            return ()
        pairs = self.window if self.as_channels else (self.window,)
        return tuple(tuple(pair) for pair in pairs)  # type: ignore[arg-type, misc]

    @property
    def as_channels(self) -> bool:
        """Whether each window is a channel of its own."""
        return not isinstance(self.window, str) and not isinstance(next(iter(self.window), None), int | float)

    @property
    def kept_size(self) -> tuple[int, int]:
        """Height and width that are kept between epochs."""
        return self.stored_size or self.size

    @property
    def dtype(self) -> type[np.uint8] | type[np.uint16]:
        """Type of the kept values."""
        return np.uint8 if self.bits == 8 else np.uint16


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """A case as it is kept.

    Attributes:
        pixels: (C, H, W), uint8 or uint16.
        position_mm: Place of its first file along the stack of its group, NaN where the file does not say.
    """

    pixels: NDArray[Any]
    position_mm: float


def read_pixels(record: Record, options: ImageOptions) -> NDArray[Any]:
    """The pixels alone of what :func:`decode_image` gives."""
    return decode_image(record, options).pixels


def decode_image(record: Record, options: ImageOptions) -> DecodedImage:
    """Decode a case, window it, bring it to its size and round it to 8 or 16 bits.

    Args:
        record: The case.
        options: What the network sees.

    Raises:
        DataError: If a file cannot be read, is no single 2D image, or has other channels.
    """
    found = [_scaled(record, path, options) for path in record.images]
    parts = [part for part, _ in found]
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
    return DecodedImage(np.rint(np.clip(image, 0, 1) * top).astype(options.dtype), found[0][1])


def _scaled(record: Record, path: Path, options: ImageOptions) -> tuple[Floats, float]:
    """Values of one file, (C, H, W), with the window's ends at 0 and 1; and its place, NaN if it has none."""
    pixels: NDArray[Any]
    window, position = options.window, np.nan
    if record.member is not None:
        pixels = read_member(record)
    elif is_dicom(path):
        found = read_image(path, window="first" if window == "file" else "none")
        pixels = found.pixels
        position = np.nan if found.position_mm is None else found.position_mm
        if pixels.ndim == 3 and window == "file":
            return pixels, position
    else:
        pixels = read_raster(path)
    if pixels.ndim != 3:
        raise DataError(
            f"{path}: expected one 2D image, found the shape {pixels.shape}; volumes and films need a 3D data module"
        )
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise DataError(f"{path}: holds {int((~np.isfinite(pixels)).sum())} values that are not finite")
    if not options.as_channels:
        return show_window(
            pixels, options.windows[0] if options.windows else _ends(pixels, window, path)
        ), position
    try:
        return show_windows(pixels, options.windows), position
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _ends(pixels: NDArray[Any], window: Windows, path: Path) -> tuple[float, float]:
    if window == "range":
        return float(pixels.min()), float(pixels.max())
    if pixels.dtype.kind == "f":
        raise DataError(
            f"{path}: values with fractions have no natural range, found {pixels.min():g} to {pixels.max():g}: set "
            "data.init_args.image.window to range, or to a lower and a higher value"
        )
    return 0.0, float(np.iinfo(pixels.dtype).max) if pixels.dtype != np.bool_ else 1.0


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
