"""The files of one case, read together and checked against each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medimg.errors import DataError
from medimg.io.nifti import Form, Grid, is_nifti, read_grid, read_image, read_mask
from medimg.keys import IGNORE_INDEX
from medimg.preparation.audit import compare_grids, unknown_labels
from medimg.records import DatasetIndex, Record

# Class index of voxels that take no part in training.


@dataclass(frozen=True, slots=True)
class SourceCase:
    """One case as its files hold it, channels and mask known to lie on one grid.

    Attributes:
        image: Image (C, D, H, W), channels in the data set's order.
        mask: Class indices (D, H, W): 0 background, then the labels in the data set's order,
            255 ignored; ``None`` without a mask.
        grid: Where the voxels lie.
        warnings: What was found and can be lived with.
    """

    image: NDArray[np.float32]
    mask: NDArray[np.uint8] | None
    grid: Grid
    warnings: tuple[str, ...] = ()


def read_case(record: Record, index: DatasetIndex, *, form: Form = "agree") -> SourceCase:
    """Read one case and check its files against each other and against what the data set declares.

    Args:
        record: The case.
        index: Its data set, for channels and labels.
        form: Which affine to trust in files whose sform and qform differ.

    Raises:
        DataError: If a file cannot be read, channels are missing, the grids of channels and mask differ
            by more than half a voxel, or the mask holds values that the data set does not declare.
    """
    if record.images and not is_nifti(record.images[0]):
        return _read_series(record, index)
    files = case_files(record)
    grids = [read_grid(path, form=form) for path in files]
    warnings = _compare_files(record.case_id, files, grids)
    image = _read_channels(record, index, form)
    mask = _read_classes(record.case_id, record.mask, index, form) if record.mask is not None else None
    return SourceCase(image, mask, grids[0], tuple(warnings))


def case_files(record: Record) -> list[Path]:
    """Images of a case, and its mask if there is one."""
    return [*record.images, *([record.mask] if record.mask else [])]


def _read_series(record: Record, index: DatasetIndex) -> SourceCase:
    """A case whose image is a DICOM series; uneven slices are interpolated by their true positions."""
    # pydicom is loaded for those who need it.
    from medimg.io.dicom.series import read_series

    if len(index.channels) != 1:
        raise DataError(
            f"{record.case_id}: expected {len(index.channels)} channels ({', '.join(index.channels)}), and a DICOM "
            "series is one. Convert them with medimg convert, and name them <case>_0000.nii.gz, <case>_0001.nii.gz."
        )
    volume = read_series(record.images, resample=True)
    return SourceCase(volume.voxels.astype(np.float32, copy=False)[None], None, volume.grid, volume.flags)


def _compare_files(case_id: str, files: Sequence[Path], grids: Sequence[Grid]) -> list[str]:
    """Warnings about the grids of a case's files; every one is compared with the first."""
    name, first = files[0].name, grids[0]
    findings = [
        finding
        for path, grid in zip(files[1:], grids[1:], strict=True)
        for finding in compare_grids(name, first, path.name, grid)
    ]
    refused = [finding.text for finding in findings if finding.verdict == "refuse"]
    if refused:
        raise DataError(f"{case_id}: {'; '.join(refused)}")
    unoriented = [path.name for path, grid in zip(files, grids, strict=True) if not grid.oriented]
    warnings = [finding.text for finding in findings]
    if unoriented:
        warnings.append(f"{', '.join(unoriented)}: no orientation is stated, left and right are a guess")
    return warnings


def _read_channels(record: Record, index: DatasetIndex, form: Form) -> NDArray[np.float32]:
    parts = [read_image(path, form=form) for path in record.images]
    found = sum(len(part) for part in parts)
    if found != len(index.channels):
        counts = ", ".join(
            f"{len(part)} in {path.name}" for path, part in zip(record.images, parts, strict=True)
        )
        raise DataError(
            f"{record.case_id}: expected {len(index.channels)} channels ({', '.join(index.channels)}), found {counts}"
        )
    image = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return image[list(index.channel_order)] if index.channel_order else image


def _read_classes(case_id: str, path: Path, index: DatasetIndex, form: Form) -> NDArray[np.uint8]:
    """Class indices (D, H, W): 0 background, then the labels in the data set's order, 255 ignored."""
    values = read_mask(path, form=form)
    table = {0: 0, **{value: number for number, value in enumerate(index.labels.values(), start=1)}}
    if index.ignore_label is not None:
        table[index.ignore_label] = IGNORE_INDEX
    # Counting is many times faster than sorting.
    small = values.dtype == np.uint8
    found = (np.flatnonzero(np.bincount(values.ravel())) if small else np.unique(values)).tolist()
    unknown = unknown_labels(found, index) or sorted(set(found) - table.keys())
    if unknown:
        raise DataError(
            f"{case_id}: the mask {path} holds the values {unknown}, which are none of "
            f"{dict(index.labels)}: correct the mask or the data set's labels"
        )
    if all(value == table[value] for value in found):
        return values.astype(np.uint8, copy=False)
    classes = np.zeros(values.shape, dtype=np.uint8)
    for value in found:
        if value:
            classes[values == value] = table[value]
    return classes
