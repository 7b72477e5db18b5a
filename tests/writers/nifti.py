"""NIfTI files written by nibabel, so that medimg's own writer is no part of what it is tested against."""

from pathlib import Path

import nibabel as nib
import numpy as np

# Spacing W 0.8, H 1.0, D 2.5 mm, turned by 20 degrees about the third axis, off the origin.
_TURN = np.deg2rad(20)
OBLIQUE = np.array(
    [
        [-0.8 * np.cos(_TURN), 1.0 * np.sin(_TURN), 0.0, 30.0],
        [0.8 * np.sin(_TURN), 1.0 * np.cos(_TURN), 0.0, -12.0],
        [0.0, 0.0, 2.5, 7.0],
        [0.0, 0.0, 0.0, 1.0],
    ]
)


def write_volume(
    path: Path,
    array: np.ndarray,
    affine: np.ndarray = OBLIQUE,
    *,
    sform_code: int = 1,
    qform_code: int = 1,
    qform: np.ndarray | None = None,
    slope: float = 1.0,
    intercept: float = 0.0,
    big_endian: bool = False,
    version: int = 1,
) -> Path:
    """Write an array (D, H, W) or (C, D, H, W) as it stands; slope and intercept only go into the header."""
    kinds = {1: (nib.Nifti1Image, nib.Nifti1Header), 2: (nib.Nifti2Image, nib.Nifti2Header)}
    image_class, header_class = kinds[version]
    header = header_class(endianness=">" if big_endian else "<")
    header.set_data_dtype(array.dtype)
    stored = np.ascontiguousarray(np.moveaxis(array, 0, -1)) if array.ndim == 4 else array
    order = (2, 1, 0, 3) if array.ndim == 4 else (2, 1, 0)
    image = image_class(stored.transpose(order), affine, header)
    image.set_sform(affine, code=sform_code)
    image.set_qform(affine if qform is None else qform, code=qform_code)
    image.header.set_slope_inter(slope, intercept)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    return path


def make_case(
    shape: tuple[int, int, int] = (16, 16, 16),
    channels: int = 1,
    labels: tuple[int, ...] = (1, 2),
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return an int16 image (C, D, H, W) and a uint8 mask (D, H, W) of nested boxes, the inner brighter."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(shape, np.uint8)
    image = rng.normal(100, 10, (channels, *shape))
    for depth, value in enumerate(labels):
        low = [size // 4 + depth + int(rng.integers(0, 2)) for size in shape]
        box = tuple(slice(a, max(a + 2, 3 * s // 4 - depth)) for a, s in zip(low, shape, strict=True))
        mask[box] = value
        image[(slice(None), *box)] = rng.normal(200 + 100 * depth, 10, image[(slice(None), *box)].shape)
    return image.astype(np.int16), mask
