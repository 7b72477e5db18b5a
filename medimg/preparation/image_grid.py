"""Where the pixels that a network sees lie in the image's own file, and back."""

from dataclasses import dataclass

from medimg.errors import ConfigError, DataError
from medimg.io.dicom import is_dicom, read_image
from medimg.io.raster import raster_shape
from medimg.preparation.geometry import Geometry
from medimg.preparation.image_pixels import ImageOptions
from medimg.preparation.image_source import read_member
from medimg.records import Record

Box = tuple[slice, slice]


@dataclass(frozen=True, slots=True)
class FileGrid:
    """The grid of an image's file.

    Attributes:
        shape: Height and width in pixels.
        spacing_mm: Distance of rows and of columns; ``None`` where the file does not say.
    """

    shape: tuple[int, int]
    spacing_mm: tuple[float, float] | None


def file_grid(record: Record) -> FileGrid:
    """Size and spacing of a case's first file.

    Args:
        record: A case of one 2D image.

    Raises:
        DataError: If the file cannot be read, or is no 2D image.
    """
    path = record.images[0]
    shape: tuple[int, ...]
    if record.member is not None:
        shape = read_member(record).shape[-2:]
    elif is_dicom(path):
        found = read_image(path, window="none")
        if found.pixels.ndim != 3:
            raise DataError(f"{path}: expected one 2D image, found the shape {found.pixels.shape}")
        return FileGrid((found.pixels.shape[1], found.pixels.shape[2]), found.spacing_mm)
    else:
        shape = raster_shape(path)
    return FileGrid((shape[0], shape[1]), None)


def inner_box(shape: tuple[int, int], size: tuple[int, int], *, keep_aspect: bool) -> Box:
    """Rows and columns of the prepared image that show the file, without the black beside it.

    Args:
        shape: Height and width in the file.
        size: Height and width of the prepared image.
        keep_aspect: Whether the proportions were kept.

    Example:
        >>> inner_box((100, 200), (64, 64), keep_aspect=True)
        (slice(16, 48, None), slice(0, 64, None))
    """
    height, width = shape
    inner = tuple(size)
    if keep_aspect and tuple(shape) != inner:
        factor = min(size[0] / height, size[1] / width)
        inner = (max(1, round(height * factor)), max(1, round(width * factor)))
    top, left = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    return slice(top, top + inner[0]), slice(left, left + inner[1])


def image_geometry(grid: FileGrid, box: Box) -> Geometry:
    """The way back from the shown part of a prepared image to the file, as a volume of one slice.

    Args:
        grid: The file's grid; pixels of unknown spacing count as 1.
        box: What :func:`inner_box` gave.
    """
    height, width = grid.shape
    rows, columns = (part.stop - part.start for part in box)
    down, across = grid.spacing_mm or (1.0, 1.0)
    return Geometry(
        source_shape=(1, height, width),
        source_spacing_mm=(1.0, down, across),
        axes=(0, 1, 2),
        flips=(),
        box=((0, 0, 0), (1, height, width)),
        shape=(1, rows, columns),
        spacing_mm=(1.0, down * height / rows, across * width / columns),
    )


def expect_whole_images(options: ImageOptions) -> None:
    """Refuse settings under which the network sees only the middle of an image.

    Raises:
        ConfigError: If images are kept larger than the network sees them.
    """
    if tuple(options.kept_size) != tuple(options.size):
        raise ConfigError(
            f"data.init_args.image.stored_size: {list(options.kept_size)} would leave the rim of an image without a "
            f"mask, since the network sees {list(options.size)}: leave stored_size out, and crop in training alone"
        )
