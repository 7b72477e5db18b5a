"""NIfTI files, read and written as (D, H, W) volumes with D the last axis of the file."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from numpy.typing import NDArray

from medimg.errors import DataError
from medimg.io.files import atomic_write
from medimg.io.grid import Grid
from medimg.io.gzip_guard import GuardedReader
from medimg.io.nifti_header import FORM_TOLERANCE_MM, Form, Header, parse_header

__all__ = [
    "FORM_TOLERANCE_MM",
    "MAX_BYTES",
    "Form",
    "Grid",
    "is_nifti",
    "read_form",
    "read_grid",
    "read_image",
    "read_mask",
    "scan_channels",
    "write_image",
    "write_mask",
]

# A volume of more than this, as float32, is refused before memory is taken for it.
MAX_BYTES = 1 << 32
# Float labels this close to an integer are that integer (resampling and slopes leave such dust).
_LABEL_TOLERANCE = 1e-3
# Half the time of level 6; a mask of 240 x 240 x 155 voxels takes 45 kB instead of 14 kB.
_GZIP_LEVEL = 3
_SUFFIXES = (".nii.gz", ".nii")
_OTHER_SUFFIXES = {
    ".hdr": "is half of a .hdr/.img pair; convert the pair to one .nii.gz, e.g. with nibabel.save",
    ".img": "is half of a .hdr/.img pair; convert the pair to one .nii.gz, e.g. with nibabel.save",
    ".nrrd": "is NRRD; convert it to .nii.gz, e.g. with SimpleITK",
    ".mha": "is MetaImage; convert it to .nii.gz, e.g. with SimpleITK",
    ".mgz": "is FreeSurfer; convert it to .nii.gz, e.g. with nibabel.save",
    ".dcm": "is DICOM; convert the series to .nii.gz first",
}


def is_nifti(path: Path) -> bool:
    """Return whether the name ends as a NIfTI file's does.

    Example:
        >>> is_nifti(Path("a.nii.gz")), is_nifti(Path("a.nrrd"))
        (True, False)
    """
    return path.name.lower().endswith(_SUFFIXES)


def read_grid(path: Path, *, form: Form = "agree") -> Grid:
    """Read where the voxels of a file lie, from its header only.

    Args:
        path: ``.nii`` or ``.nii.gz``.
        form: ``"agree"`` refuses a file whose sform and qform differ by more than 0.05 mm at a corner;
            ``"sform"`` or ``"qform"`` is the declared choice for a file that sets both.

    Raises:
        DataError: If the file or its header cannot be used.
    """
    return _read_header(path, form).grid


def read_form(path: Path) -> tuple[int, bool]:
    """Read how a file states its shape and place: the number of its axes, and whether it sets a qform.

    Raises:
        DataError: If the file or its header cannot be used.
    """
    fields = _read_header(path, "sform").fields
    return int(fields["dim"][0]), int(fields["qform_code"]) > 0


def scan_channels(path: Path) -> int:
    """Return the number of volumes along the fourth axis of a file, 1 for a 3D file.

    Raises:
        DataError: If the file or its header cannot be used.
    """
    # The count is right whichever form is right, so their disagreement is left to whoever needs the grid.
    return _read_header(path, "sform").channels


def read_image(
    path: Path, *, form: Form = "agree", channel: int | None = None, max_bytes: int = MAX_BYTES
) -> NDArray[np.float32]:
    """Read a volume with its scaling applied.

    Args:
        path: ``.nii`` or ``.nii.gz``; a 3D file, or a 4D file with channels on its last axis.
        form: Which affine to trust where two disagree, see `read_grid`.
        channel: The one channel to keep, ``None`` for all.
        max_bytes: Size as float32 above which a file is refused before memory is taken.

    Returns:
        Voxels, shape (C, D, H, W), writable.

    Raises:
        DataError: If the file is damaged, too large, or holds NaN or infinite voxels.
    """
    stored, header = _read_stored(path, form, max_bytes)
    if channel is not None:
        stored = stored[_checked_channel(path, channel, header.channels)][None]
    with np.errstate(over="ignore", invalid="ignore"):  # counted below
        image = stored.astype(np.float32, copy=False)
        if header.scaled:
            image *= np.float32(header.slope)
            image += np.float32(header.intercept)
    if header.dtype.kind == "f" or header.scaled:
        _refuse_non_finite(path, image)
    return image


def read_mask(
    path: Path, *, form: Form = "agree", channel: int | None = None, max_bytes: int = MAX_BYTES
) -> NDArray[np.uint8] | NDArray[np.int16]:
    """Read a label map.

    Float labels within 0.001 of an integer are rounded to it; others are refused, because a mask with
    values in between was resampled as an image and its borders are wrong.

    Args:
        path: ``.nii`` or ``.nii.gz``; 3D, or 4D with ``channel`` named.
        form: Which affine to trust where two disagree, see `read_grid`.
        channel: The channel of a 4D file that holds the labels.
        max_bytes: Size as float32 above which a file is refused before memory is taken.

    Returns:
        Label values, shape (D, H, W): uint8, or int16 where a value is negative or above 255.

    Raises:
        DataError: If the file is damaged, has several channels and none is named, or holds no integers.
    """
    stored, header = _read_stored(path, form, max_bytes)
    if channel is None and header.channels > 1:
        raise DataError(
            f"{path}: expected a 3D label map, found a 4D file of {header.channels} channels. "
            f"Name the one with the labels (channel: 0 to {header.channels - 1}), or save it as a 3D file."
        )
    labels = stored[_checked_channel(path, channel or 0, header.channels)]
    if header.scaled or header.dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):  # counted next
            values = labels.astype(np.float64) * header.slope + header.intercept
        _refuse_non_finite(path, values)
        labels = np.rint(values)
        _refuse_fractions(path, values, labels)
    low, high = labels.min(), labels.max()
    if low < -(2**15) or high > 2**15 - 1:
        raise DataError(
            f"{path}: expected label values from -32768 to 32767, found {low:g} to {high:g}. "
            "Renumber the labels, or check that this file is the mask and not the image."
        )
    small: NDArray[np.uint8] | NDArray[np.int16] = (
        labels.astype(np.uint8, copy=False)
        if low >= 0 and high <= 255
        else labels.astype(np.int16, copy=False)
    )
    return small


def write_mask(path: Path, mask: NDArray[np.integer] | NDArray[np.bool_], like: Path) -> None:
    """Write a label map on the grid of another file, with that file's affine and both its forms.

    Args:
        path: ``.nii`` or ``.nii.gz`` to write, whole or not at all.
        mask: Label values from -32768 to 32767, shape (D, H, W); stored as uint8 where they fit.
        like: File whose grid the mask has; its first three axes count, so it may be 4D.

    Raises:
        DataError: If the shape differs from that of ``like``, or a value does not fit.
        ResourceError: If the file cannot be written.
    """
    # Whatever the two forms say, both are copied as they are.
    source = _read_header(like, "sform")
    if mask.shape != source.grid.shape:
        raise DataError(
            f"{path}: the mask has shape {mask.shape} (D, H, W) but its source {like} has "
            f"{source.grid.shape}. Resample the mask to the source's grid first."
        )
    header = _new_header()
    for name in ("pixdim", "qform_code", "sform_code", "xyzt_units", "quatern_b", "quatern_c", "quatern_d"):
        header[name] = source.fields[name]
    for name in ("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"):
        header[name] = source.fields[name]
    header["pixdim"][4:] = 1.0
    _write(path, _smallest_labels(path, mask)[None], header)


def write_image(path: Path, array: NDArray[np.generic], affine: NDArray[np.floating]) -> None:
    """Write a volume; the same array gives the same bytes.

    Args:
        path: ``.nii`` or ``.nii.gz`` to write, whole or not at all.
        array: Shape (D, H, W) or (C, D, H, W); uint8, int16, uint16, int32 and float32 are kept, bool is
            stored as uint8 and other floats as float32.
        affine: Maps (i, j, k) = (w, h, d) to millimetres, RAS+, shape (4, 4).

    Raises:
        DataError: If the array is not a volume or its type cannot be stored.
        ResourceError: If the file cannot be written.
    """
    if array.ndim not in (3, 4):
        raise DataError(f"{path}: expected an array (D, H, W) or (C, D, H, W), found shape {array.shape}.")
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    elif array.dtype.kind == "f":
        array = array.astype(np.float32, copy=False)
    if array.dtype.name not in {"uint8", "int16", "uint16", "int32", "float32"}:
        raise DataError(f"{path}: cannot store {array.dtype} voxels; convert to int16, int32 or float32.")
    header = _new_header()
    # The sform is exact; the qform is left out where it would have to drop a shear.
    header.set_qform(affine, code=1)
    if not np.allclose(header.get_qform(), affine, atol=1e-4):
        header.set_qform(None, code=0)
        header["pixdim"][1:4] = np.linalg.norm(affine[:3, :3], axis=0)
    header.set_sform(affine, code=1)
    header.set_xyzt_units("mm")
    _write(path, array if array.ndim == 4 else array[None], header)


def _read_header(path: Path, form: Form) -> Header:
    _check_suffix(path)
    with GuardedReader(path) as reader:
        return parse_header(reader, form)[0]


def _read_stored(path: Path, form: Form, max_bytes: int) -> tuple[NDArray[np.generic], Header]:
    """Return the values as stored, native byte order, shape (C, D, H, W)."""
    _check_suffix(path)
    with GuardedReader(path) as reader:
        header, position = parse_header(reader, form)
        data_bytes = header.samples * header.dtype.itemsize
        needed = header.samples * max(header.dtype.itemsize, 4)
        if needed > max_bytes:
            raise DataError(
                f"{path}: the header declares {header.channels} x {header.grid.shape} voxels, "
                f"{needed:,} bytes in memory, over the limit of {max_bytes:,}. If the volume is truly that "
                "large, crop it or raise max_bytes; otherwise the header is wrong: get the file again."
            )
        reader.check_promise(header.offset + data_bytes)
        reader.read(header.offset - position)  # extensions
        raw = reader.read_array(data_bytes)
    # The file runs fastest along i = W, so C order over the reversed axes needs no copy.
    stored = raw.view(header.dtype).reshape(header.channels, *header.grid.shape)
    return stored.astype(header.dtype.newbyteorder("="), copy=False), header


def _check_suffix(path: Path) -> None:
    if is_nifti(path):
        return
    reason = _OTHER_SUFFIXES.get(path.suffix.lower(), "is not named as NIfTI")
    raise DataError(f"{path}: expected a file ending in .nii.gz or .nii; this one {reason}.")


def _checked_channel(path: Path, channel: int, channels: int) -> int:
    if not 0 <= channel < channels:
        raise DataError(f"{path}: there is no channel {channel}; the file has {channels}, counted from 0.")
    return channel


def _refuse_non_finite(path: Path, values: NDArray[np.floating]) -> None:
    finite = np.isfinite(values)
    if not finite.all():
        nan = int(np.isnan(values).sum())
        infinite = int(values.size - finite.sum()) - nan
        raise DataError(
            f"{path}: {nan + infinite} of {values.size} voxels are not numbers ({nan} NaN, {infinite} "
            "infinite). Mend them at the source (often the background of a registration), "
            "or leave the case out."
        )


def _refuse_fractions(path: Path, values: NDArray[np.floating], labels: NDArray[np.floating]) -> None:
    wrong = np.abs(values - labels) > _LABEL_TOLERANCE
    if wrong.any():
        example = float(values[wrong].flat[0])
        raise DataError(
            f"{path}: expected whole label values, found {int(wrong.sum())} voxels in between, such as "
            f"{example:g}. The mask was probably resampled as an image; "
            "resample it again with nearest neighbours."
        )


def _smallest_labels(path: Path, mask: NDArray[np.integer] | NDArray[np.bool_]) -> NDArray[np.integer]:
    if mask.dtype.kind not in "bui":
        raise DataError(f"{path}: expected integer labels, found {mask.dtype} values.")
    low, high = (int(mask.min()), int(mask.max())) if mask.size else (0, 0)
    if low >= 0 and high <= 255:
        return mask.astype(np.uint8, copy=False)
    if low >= -(2**15) and high < 2**15:
        return mask.astype(np.int16, copy=False)
    raise DataError(f"{path}: expected labels from -32768 to 32767, found {low} to {high}.")


def _new_header() -> Any:
    header: Any = Nifti1Header  # nibabel's constructor has no types
    return header()


def _write(path: Path, array: NDArray[np.generic], header: Any) -> None:
    """Write an array (C, D, H, W) below a header that has its geometry set."""
    _check_suffix(path)
    channels, depth, height, width = array.shape
    header.set_data_dtype(array.dtype)
    # Only the dimensions: nibabel's own setter would also touch the spacings.
    header["dim"] = [3 if channels == 1 else 4, width, height, depth, channels, 1, 1, 1]
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    header["scl_slope"], header["scl_inter"] = 1.0, 0.0
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    content = header.as_byteswapped("<").binaryblock + b"\0" * 4 + little.tobytes()
    if path.name.lower().endswith(".gz"):
        # A time stamp would make two equal predictions differ.
        content = gzip.compress(content, compresslevel=_GZIP_LEVEL, mtime=0)
    # A prediction lost in a power cut can be made again; waiting for the disk cannot be undone.
    with atomic_write(path, durable=False) as temporary:
        temporary.write_bytes(content)
