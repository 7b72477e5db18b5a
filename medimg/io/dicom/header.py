"""What a DICOM header says of an image beside its pixels: spacing, side, view and identifiers."""

from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from medimg.io.dicom.values import frame_group

# Codes of mammographic views (PS3.16, context group 4014), SNOMED RT and CT.
_VIEWS = {
    "R-10242": "CC",
    "399162004": "CC",
    "R-10226": "MLO",
    "399368009": "MLO",
    "R-10224": "ML",
    "399260004": "ML",
    "R-10228": "LM",
    "399352003": "LM",
    "R-10230": "LMO",
    "399099002": "LMO",
}
# Most exact first: at the patient, then at the detector, which is larger by the magnification.
_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")


@dataclass(frozen=True, slots=True)
class Header:
    """What stands beside the pixels; see :class:`medimg.io.dicom.image.DicomImage`."""

    spacing_mm: tuple[float, float] | None
    laterality: str
    view: str
    patient_id: str
    study_uid: str
    series_uid: str
    sop_uid: str
    photometric: str
    flags: tuple[str, ...]


def read_header(dataset: Dataset, frame: int = 0) -> Header:
    """Collect a file's spacing, side, view and identifiers.

    Args:
        dataset: The file.
        frame: Frame of an enhanced file whose spacing and side are wanted.
    """
    spacing, flags = _spacing(dataset, frame)
    return Header(
        spacing_mm=spacing,
        laterality=_laterality(dataset, frame),
        view=_view(dataset),
        patient_id=_text(dataset, "PatientID"),
        study_uid=_text(dataset, "StudyInstanceUID"),
        series_uid=_text(dataset, "SeriesInstanceUID"),
        sop_uid=_text(dataset, "SOPInstanceUID"),
        photometric=_text(dataset, "PhotometricInterpretation"),
        flags=flags,
    )


def _text(dataset: Dataset, name: str) -> str:
    value = dataset.get(name)
    return "" if value is None else str(value).strip("\0 ")


def _spacing(dataset: Dataset, frame: int) -> tuple[tuple[float, float] | None, tuple[str, ...]]:
    measures = frame_group(dataset, frame, "PixelMeasuresSequence")
    for holder, name in [(measures, "PixelSpacing"), *((dataset, name) for name in _SPACINGS)]:
        value = holder.get(name) if holder is not None else None
        if value is None or value == "":
            continue
        try:
            row, column = (float(step) for step in value)
        except (TypeError, ValueError):
            return None, (f"{name} {value} is no pair of lengths",)
        if not (np.isfinite([row, column]).all() and row > 0 and column > 0):
            return None, (f"{name} {row:g} x {column:g} is no size",)
        flags = () if name == "PixelSpacing" else (f"spacing from {name}",)
        return (row, column), flags
    return None, ()


def _laterality(dataset: Dataset, frame: int) -> str:
    anatomy = frame_group(dataset, frame, "FrameAnatomySequence")
    holders = ((dataset, "ImageLaterality"), (dataset, "Laterality"), (anatomy, "FrameLaterality"))
    return next((found for holder, name in holders if holder and (found := _text(holder, name))), "").upper()


def _view(dataset: Dataset) -> str:
    if view := _text(dataset, "ViewPosition"):
        return view.upper()
    codes = dataset.get("ViewCodeSequence")
    if not codes:
        return ""
    code = _text(codes[0], "CodeValue")
    return _VIEWS.get(code, _text(codes[0], "CodeMeaning"))
