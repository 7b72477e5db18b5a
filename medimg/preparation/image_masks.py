"""One image's mask: on the pixels of its file, and on those that a network sees."""

import numpy as np
from numpy.typing import NDArray

from medimg.datasets.image_masks import ImageMask, nearest
from medimg.errors import DataError
from medimg.io.dicom import is_dicom
from medimg.io.dicom.parse import header_warnings, open_dataset
from medimg.io.raster import raster_shape
from medimg.preparation.image_grid import inner_box
from medimg.preparation.image_pixels import ImageOptions
from medimg.preparation.image_source import read_member
from medimg.records import Record


def read_reference(record: Record, mask: ImageMask) -> NDArray[np.uint8]:
    """Label map (H, W) on the pixels of a case's file.

    Raises:
        DataError: If the mask cannot be read, or does not fit the image.
    """
    try:
        return mask.read(file_shape(record))
    except DataError as error:
        raise DataError(f"the mask of {record.case_id}: {error}") from error


def read_mask_pixels(record: Record, mask: ImageMask, options: ImageOptions) -> NDArray[np.uint8]:
    """Label map (H, W) on the pixels that are kept of the case's image.

    Raises:
        DataError: As for :func:`read_reference`.
    """
    return resize_mask(read_reference(record, mask), options.kept_size, keep_aspect=options.keep_aspect)


def resize_mask(mask: NDArray[np.uint8], size: tuple[int, int], *, keep_aspect: bool) -> NDArray[np.uint8]:
    """Bring a label map to the size and place of its image, without new values.

    The image goes by :func:`medimg.preparation.image_pixels.resize`.

    Args:
        mask: Label map (H, W).
        size: Height and width.
        keep_aspect: Fill up with 0 on two sides instead of stretching.

    Example:
        >>> resize_mask(np.full((2, 4), 7, np.uint8), (4, 4), keep_aspect=True)[:, 0].tolist()
        [0, 7, 7, 0]
    """
    if mask.shape == tuple(size):
        return mask
    rows, columns = inner_box((mask.shape[0], mask.shape[1]), size, keep_aspect=keep_aspect)
    canvas = np.zeros(size, np.uint8)
    canvas[rows, columns] = nearest(mask, (rows.stop - rows.start, columns.stop - columns.start))
    return canvas


def file_shape(record: Record) -> tuple[int, int]:
    """Height and width of a case's first file, without decoding it.

    Raises:
        DataError: If the file cannot be read, or says no size.
    """
    path = record.images[0]
    if record.member is not None:
        height, width = read_member(record).shape[-2:]
        return height, width
    if not is_dicom(path):
        return raster_shape(path)
    with header_warnings():
        dataset = open_dataset(path, pixels=False).dataset
        rows, columns = dataset.get("Rows"), dataset.get("Columns")
    if not rows or not columns:
        raise DataError(
            f"{path}: an image without rows and columns; the file may be truncated. Copy it again."
        )
    return int(rows), int(columns)
