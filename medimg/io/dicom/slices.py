"""Where the frames of one DICOM file lie in the patient, single frames and enhanced ones alike, by its header."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID, SegmentationStorage

from medimg.errors import DataError
from medimg.io.dicom.parse import header_warnings, open_dataset, refuse_header
from medimg.io.dicom.values import frame_group

# Words of Image Type whose pixels lie in no one plane, or are no measurement.
_NO_PLANES = {"MIP", "MINIP", "PROJECTION IMAGE", "VRT", "VOLREN", "SCREEN SAVE", "DOSE_INFO"}
# What tells images of one place apart; first the functional group of enhanced files that holds it.
_PHASES = (
    ("FrameContentSequence", "FrameAcquisitionNumber"),
    ("FrameContentSequence", "TemporalPositionIndex"),
    ("MRDiffusionSequence", "DiffusionBValue"),
    ("MREchoSequence", "EffectiveEchoTime"),
    ("", "AcquisitionNumber"),
    ("", "TemporalPositionIdentifier"),
    ("", "EchoTime"),
    ("", "DiffusionBValue"),
)


@dataclass(frozen=True, slots=True)
class Slice:
    """One frame and its place.

    Attributes:
        path: File.
        frame: Number of the frame in the file, from 0.
        frames: How many the file has.
        sop_uid: SOP Instance UID of the file.
        series_uid: Series Instance UID of the file.
        position: Centre of the first pixel in millimetres, LPS.
        orientation: Direction of growing column index, then of growing row index, LPS.
        spacing_mm: Distance of rows and of columns.
        size: Rows and columns.
        thickness_mm: Slice Thickness, ``None`` where the file does not say.
        phase: What may tell the frame from others of the same place, such as ``EchoTime 30``.
    """

    path: Path
    frame: int
    frames: int
    sop_uid: str
    series_uid: str
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing_mm: tuple[float, ...]
    size: tuple[int, int]
    thickness_mm: float | None
    phase: tuple[str, ...]

    @property
    def name(self) -> str:
        """File, and frame where there are several."""
        return str(self.path) if self.frames == 1 else f"{self.path} frame {self.frame}"


@dataclass(frozen=True, slots=True)
class FileHeader:
    """What a file's header says for the making of a volume.

    Attributes:
        path: File.
        series_uid: Series Instance UID, empty where there is none.
        study_uid: Study Instance UID.
        patient_id: Patient ID as written.
        modality: Such as ``CT``.
        description: Series Description.
        number: Series Number, ``None`` where the file does not say.
        derived: Whether the pixels were computed from other images.
        slices: Its frames; none where it is set aside.
        reason: Why it can be no part of a volume; empty where it can.
    """

    path: Path
    series_uid: str
    study_uid: str
    patient_id: str
    modality: str
    description: str
    number: int | None
    derived: bool
    slices: tuple[Slice, ...]
    reason: str


def read_slices(path: Path) -> FileHeader:
    """Read the place of a file's frames; its pixels are not touched.

    Raises:
        DataError: If the file cannot be parsed as DICOM.
    """
    with header_warnings():
        dataset = open_dataset(path, pixels=False).dataset
        try:
            reason = _why_not(path, dataset)
            slices = [] if reason else [_slice(path, dataset, frame) for frame in range(_frames(dataset))]
            lacking = next((lack for lack in slices if isinstance(lack, str)), "")
            number = dataset.get("SeriesNumber")
            return FileHeader(
                path=path,
                series_uid=_text(dataset, "SeriesInstanceUID"),
                study_uid=_text(dataset, "StudyInstanceUID"),
                patient_id=_text(dataset, "PatientID"),
                modality=_text(dataset, "Modality"),
                description=_text(dataset, "SeriesDescription"),
                number=int(number) if isinstance(number, int) else None,
                derived="DERIVED" in _image_type(dataset),
                slices=() if lacking else tuple(one for one in slices if isinstance(one, Slice)),
                reason=reason or lacking,
            )
        except DataError:
            raise
        except Exception as error:
            # Elements are converted when they are first looked at; pydicom then raises what its code meets.
            refuse_header(path, error)


def read_position(path: Path) -> float | None:
    """Place of a file's image along its normal; see :func:`stack_position`. The pixels are not touched.

    Raises:
        DataError: If the file cannot be parsed as DICOM.
    """
    with header_warnings():
        return stack_position(open_dataset(path, pixels=False).dataset)


def stack_position(dataset: Dataset, frame: int = 0) -> float | None:
    """Place of an image along the normal of its plane, which sorts the slices of a series.

    Args:
        dataset: The file.
        frame: Number of the frame, from 0.

    Returns:
        Millimetres, growing along the cross product of the directions of rows and columns; ``None`` where the file does
        not say, or what it says is damaged.

    Example:
        >>> dataset = Dataset()
        >>> dataset.ImagePositionPatient = [-100, -100, 35.5]
        >>> dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        >>> stack_position(dataset)
        35.5
    """
    try:
        position = _numbers(_holder(dataset, frame, "PlanePositionSequence"), "ImagePositionPatient", 3)
        directions = _numbers(
            _holder(dataset, frame, "PlaneOrientationSequence"), "ImageOrientationPatient", 6
        )
    except Exception:
        # Elements are converted when they are first looked at; the pixels may be whole all the same.
        return None
    if position is None or directions is None or not _is_frame(directions):
        return None
    return float(np.cross(*np.reshape(directions, (2, 3))) @ np.array(position))


def _why_not(path: Path, dataset: Dataset) -> str:
    """Why a file as a whole is no part of a volume."""
    uid = UID(str(dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID", "")))
    if not dataset.get("Rows") or not dataset.get("Columns"):
        if not uid or "Image Storage" in uid.name:
            raise DataError(
                f"{path}: an image without rows and columns ({uid.name or 'unknown kind'}); the file may be truncated. "
                "Copy or download it again."
            )
        return f"holds no image ({uid.name})"
    if uid == SegmentationStorage:
        return "a segmentation, no image"
    words = _image_type(dataset)
    if "LOCALIZER" in words:
        return "a localizer"
    if found := sorted(words & _NO_PLANES):
        return f"a derived image ({found[0].lower()}), no slice"
    if int(dataset.get("SamplesPerPixel") or 1) != 1:
        return "an image in colour"
    return ""


def _image_type(dataset: Dataset) -> set[str]:
    value = dataset.get("ImageType") or ()
    words = {value} if isinstance(value, str) else set(value)
    group = frame_group(dataset, 0, "CTImageFrameTypeSequence") or frame_group(
        dataset, 0, "MRImageFrameTypeSequence"
    )
    return {str(word).strip().upper() for word in (*words, *((group and group.get("FrameType")) or ()))}


def _frames(dataset: Dataset) -> int:
    return max(int(dataset.get("NumberOfFrames") or 1), 1)


def _slice(path: Path, dataset: Dataset, frame: int) -> Slice | str:
    """The place of a frame, or what it lacks."""
    frames = _frames(dataset)
    groups = dataset.get("PerFrameFunctionalGroupsSequence")
    if frames > 1 and (groups is None or len(groups) < frames):
        return f"{frames} frames without a position each"
    position = _numbers(_holder(dataset, frame, "PlanePositionSequence"), "ImagePositionPatient", 3)
    orientation = _numbers(_holder(dataset, frame, "PlaneOrientationSequence"), "ImageOrientationPatient", 6)
    measures = _holder(dataset, frame, "PixelMeasuresSequence")
    spacing = _numbers(measures, "PixelSpacing", 2)
    if position is None or orientation is None:
        return "no position or orientation in the patient"
    if spacing is None or min(spacing) <= 0:
        return "no pixel spacing"
    if not _is_frame(orientation):
        return "an orientation whose two directions are not at right angles"
    thickness = _numbers(measures, "SliceThickness", 1)
    return Slice(
        path=path,
        frame=frame,
        frames=frames,
        sop_uid=_text(dataset, "SOPInstanceUID"),
        series_uid=_text(dataset, "SeriesInstanceUID"),
        position=position,
        orientation=orientation,
        spacing_mm=spacing,
        size=(int(dataset.Rows), int(dataset.Columns)),
        thickness_mm=thickness[0] if thickness and thickness[0] > 0 else None,
        phase=_phase(dataset, frame),
    )


def _is_frame(orientation: Sequence[float]) -> bool:
    axes = np.reshape(orientation, (2, 3))
    return bool(np.allclose(axes @ axes.T, np.eye(2), atol=5e-3))


def _holder(dataset: Dataset, frame: int, sequence: str) -> Dataset:
    return frame_group(dataset, frame, sequence) or dataset


def _phase(dataset: Dataset, frame: int) -> tuple[str, ...]:
    found = []
    for sequence, name in _PHASES:
        holder = frame_group(dataset, frame, sequence) if sequence else dataset
        if holder is not None and (value := _text(holder, name)):
            found.append(f"{name} {value}")
    return tuple(found)


def _numbers(holder: Dataset, name: str, count: int) -> tuple[float, ...] | None:
    """The values of an element, ``None`` where they are not so many finite numbers."""
    value = holder.get(name)
    if value is None or value == "":
        return None
    try:
        numbers = (float(value),) if count == 1 else tuple(float(one) for one in value)
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and np.isfinite(numbers).all() else None


def _text(dataset: Dataset, name: str) -> str:
    value = dataset.get(name)
    return "" if value is None else str(value).strip("\0 ")
