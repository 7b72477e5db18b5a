"""Label maps written beside or for their source: NIfTI, ``.seg.nrrd`` or DICOM SEG."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from medimg.errors import ConfigError, DataError
from medimg.io.dicom.segmentation import require_highdicom, write_dicom_seg
from medimg.io.dicom.series import read_stack
from medimg.io.nifti import is_nifti, read_grid, write_image, write_mask
from medimg.io.nrrd import SUFFIX as NRRD_SUFFIX
from medimg.io.nrrd import write_seg_nrrd
from medimg.io.segments import make_segments

SaveAs = Literal["nifti", "seg.nrrd", "dicom-seg"]
"""Formats of a label map."""

_SUFFIXES: Mapping[SaveAs, str] = {"nifti": ".nii.gz", "seg.nrrd": NRRD_SUFFIX, "dicom-seg": ".dcm"}


def mask_format(path: Path) -> SaveAs:
    """Tell the format of a label map to be written from its name.

    Raises:
        ConfigError: If the name ends in none of the known suffixes.

    Example:
        >>> mask_format(Path("a.seg.nrrd")), mask_format(Path("a.nii")), mask_format(Path("seg.dcm"))
        ('seg.nrrd', 'nifti', 'dicom-seg')
    """
    if is_nifti(path):
        return "nifti"
    for name, suffix in _SUFFIXES.items():
        if path.name.lower().endswith(suffix):
            return name
    raise ConfigError(
        f"{path}: expected a name that ends in .nii.gz, .nii, .seg.nrrd or .dcm, to know the format."
    )


def mask_path(folder: Path, name: str, save_as: SaveAs) -> Path:
    """Return where the label map of a case is written.

    Example:
        >>> mask_path(Path("predict"), "case_1", "seg.nrrd").as_posix()
        'predict/case_1.seg.nrrd'
    """
    return folder / f"{name}{_SUFFIXES[save_as]}"


def check_save_as(save_as: SaveAs) -> None:
    """Refuse a format that cannot be written here, before anything is computed.

    Raises:
        ConfigError: If the format is unknown, or needs a package that is not installed.
    """
    if save_as not in get_args(SaveAs):
        raise ConfigError(
            f"expected one of {', '.join(get_args(SaveAs))} to save masks as, found {save_as!r}."
        )
    if save_as == "dicom-seg":
        require_highdicom()


def export_mask(
    path: Path, mask: NDArray[np.integer], source: Sequence[Path], labels: Mapping[str, int]
) -> None:
    """Write a label map in the format that its name tells.

    On the grid of a NIfTI source, with its header; for a DICOM series, NIfTI and ``.seg.nrrd`` lie on the grid of
    its volume, and a DICOM SEG on the pixels of its slices.

    Args:
        path: File to write, whole or not at all.
        mask: Label values, shape (D, H, W), on the grid of the source's volume.
        source: The NIfTI file whose header a mask takes over, or the files of a DICOM series.
        labels: Value of each label.

    Raises:
        ConfigError: If the format is not known or needs a package that is not installed.
        DataError: If the mask does not fit its source, or a DICOM SEG is to refer to a NIfTI file.
        ResourceError: If the file cannot be written.
    """
    save_as = mask_format(path)
    segments = make_segments(labels)
    if is_nifti(source[0]):
        match save_as:
            case "nifti":
                write_mask(path, mask, like=source[0])
            case "seg.nrrd":
                write_seg_nrrd(path, mask, read_grid(source[0], form="sform"), segments)
            case "dicom-seg":
                raise DataError(
                    f"{path}: a DICOM SEG refers to the slices of a DICOM series, and {source[0]} is NIfTI. Predict "
                    "from the DICOM folder, or save as nifti or seg.nrrd."
                )
        return
    # What was predicted is a volume, so the slices were resampled wherever they had to be.
    stack = read_stack(source, resample=True)
    match save_as:
        case "nifti":
            write_image(path, stack.checked(mask), stack.grid.affine)
        case "seg.nrrd":
            write_seg_nrrd(path, stack.checked(mask), stack.grid, segments, source=stack.slices[0].series_uid)
        case "dicom-seg":
            write_dicom_seg(path, mask, stack, segments)
