"""A volume written as a DICOM series, one file a slice: phantoms, and what the reader is tested against."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)
from pydicom.valuerep import DSfloat

from medimg.errors import DataError
from medimg.io.files import atomic_write
from medimg.io.grid import Grid

_CLASSES = {"CT": CTImageStorage, "MR": MRImageStorage}
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""DICOM's axes point to the left, back and head, those of a `Grid` to the right, front and head."""


def write_series(
    folder: Path,
    voxels: NDArray[np.number],
    grid: Grid,
    *,
    patient_id: str = "P1",
    study_uid: str | None = None,
    series_uid: str | None = None,
    series_number: int = 1,
    description: str = "",
    modality: str = "CT",
    slope: float | Sequence[float] = 1.0,
    intercept: float | Sequence[float] = -1024.0,
    depths_mm: Sequence[float] | None = None,
    thickness_mm: float | None = None,
    elements: Mapping[str, object] | None = None,
) -> list[Path]:
    """Write a volume as ``folder/0001.dcm`` and so on, a slice a file; the same input gives the same bytes.

    A sheared affine makes a gantry tilt: each slice stands where the affine puts it, turned as its first two
    axes say.

    Args:
        folder: Folder to write to; files of the same names are replaced.
        voxels: Modality units, Hounsfield units for CT, shape (D, H, W); rounded to the nearest that slope and
            intercept can express.
        grid: Where the voxels lie, RAS+. Readers sort slices along the normal, so a left-handed affine comes
            back with D reversed.
        patient_id: Patient ID.
        study_uid: Study Instance UID; made from the patient by default.
        series_uid: Series Instance UID; made from the patient and the number by default.
        series_number: Series Number.
        description: Series Description.
        modality: ``CT``, ``MR``, or another, which becomes a secondary capture.
        slope: Modality units of one stored step, of all slices or of each.
        intercept: Modality units of a stored 0, of all slices or of each.
        depths_mm: Distance of each slice from the first along D, where the slices are not evenly spaced.
        thickness_mm: Slice Thickness; the distance of the slices by default.
        elements: More elements by keyword, the same for every file.

    Returns:
        The files in the order of D.

    Raises:
        DataError: If the shape is not that of the grid, or a stored value does not fit 16 bits.
    """
    if tuple(voxels.shape) != grid.shape:
        raise DataError(
            f"{folder}: the voxels have shape {voxels.shape}, and their grid {grid.shape} (D, H, W). Give both alike."
        )
    count = grid.shape[0]
    slopes, intercepts = (np.broadcast_to(np.asarray(one, np.float64), count) for one in (slope, intercept))
    common = _common(grid, patient_id, study_uid, series_uid, series_number, modality)
    common.SeriesDescription = description
    common.SliceThickness = _ds(grid.spacing_mm[0] if thickness_mm is None else thickness_mm)
    positions = _positions(grid, depths_mm)
    paths = []
    for number, plane in enumerate(voxels):
        stored = np.rint((plane - intercepts[number]) / slopes[number])
        if stored.min() < -(2**15) or stored.max() >= 2**15:
            raise DataError(
                f"{folder}: slice {number} holds {plane.min():g} to {plane.max():g}, which do not fit 16 bits with "
                f"slope {slopes[number]:g} and intercept {intercepts[number]:g}. Give others."
            )
        dataset = _slice(common, stored.astype("<i2"), number, positions[number])
        dataset.RescaleSlope, dataset.RescaleIntercept = _ds(slopes[number]), _ds(intercepts[number])
        for keyword, value in (elements or {}).items():
            setattr(dataset, keyword, value)
        paths.append(_save(folder / f"{number + 1:04d}.dcm", dataset))
    return paths


def _common(
    grid: Grid, patient_id: str, study_uid: str | None, series_uid: str | None, number: int, modality: str
) -> Dataset:
    """What is the same in all files."""
    dataset = Dataset()
    dataset.SOPClassUID = _CLASSES.get(modality, SecondaryCaptureImageStorage)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.Modality = modality
    dataset.PatientID = dataset.PatientName = patient_id
    dataset.PatientBirthDate = dataset.PatientSex = dataset.StudyDate = dataset.StudyTime = ""
    dataset.AccessionNumber = dataset.ReferringPhysicianName = ""
    dataset.StudyID = "1"
    dataset.StudyInstanceUID = study_uid or generate_uid(entropy_srcs=["study", patient_id])
    dataset.SeriesInstanceUID = series_uid or generate_uid(entropy_srcs=["series", patient_id, str(number)])
    # One frame of reference a study, so that its series can be laid over each other.
    dataset.FrameOfReferenceUID = generate_uid(entropy_srcs=["frame", dataset.StudyInstanceUID])
    dataset.SeriesNumber = number
    dataset.Rows, dataset.Columns = grid.shape[1:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 1
    axes = (RAS_TO_LPS @ grid.affine)[:3, :2]
    lengths = np.linalg.norm(axes, axis=0)
    dataset.ImageOrientationPatient = [_ds(value) for value in (axes / lengths).T.ravel()]
    dataset.PixelSpacing = [_ds(lengths[1]), _ds(lengths[0])]  # distance of rows, then of columns
    return dataset


def _positions(grid: Grid, depths_mm: Sequence[float] | None) -> NDArray[np.float64]:
    """Centre of each slice's first pixel, LPS, shape (D, 3)."""
    affine = RAS_TO_LPS @ grid.affine
    steps = np.arange(grid.shape[0], dtype=np.float64)
    if depths_mm is not None:
        steps = np.asarray(depths_mm, np.float64) / np.linalg.norm(affine[:3, 2])
    return np.asarray(affine[:3, 3] + steps[:, None] * affine[:3, 2], np.float64)


def _slice(common: Dataset, stored: NDArray[np.int16], number: int, position: NDArray[np.float64]) -> Dataset:
    dataset = Dataset(common)
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=["sop", common.SeriesInstanceUID, str(number)])
    dataset.InstanceNumber = number + 1
    dataset.ImagePositionPatient = [_ds(value) for value in position]
    dataset.add_new("PixelData", "OW", stored.tobytes())
    return dataset


def _save(path: Path, dataset: Dataset) -> Path:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(dataset.SOPClassUID)
    meta.MediaStorageSOPInstanceUID = UID(dataset.SOPInstanceUID)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset(str(path), dataset, file_meta=meta, preamble=b"\0" * 128)
    with atomic_write(path, durable=False) as temporary:
        file.save_as(temporary, enforce_file_format=True)
    return path


def _ds(value: float) -> DSfloat:
    """A decimal string holds 16 characters at most."""
    return DSfloat(float(value), auto_format=True)
