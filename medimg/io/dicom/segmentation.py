"""Label maps as DICOM SEG: one file that an archive files beside the series that it belongs to."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from medimg import __version__
from medimg.errors import ConfigError, DataError
from medimg.io.dicom.geometry import Stack
from medimg.io.dicom.parse import header_warnings, open_dataset
from medimg.io.files import atomic_write
from medimg.io.segments import Segment

# Elements that the standard wants even where they are empty, and that files of archives often lack.
_MAY_BE_EMPTY = (
    "AccessionNumber",
    "PatientBirthDate",
    "PatientID",
    "PatientName",
    "PatientSex",
    "ReferringPhysicianName",
    "StudyDate",
    "StudyID",
    "StudyTime",
)


def write_dicom_seg(path: Path, mask: NDArray[np.integer], stack: Stack, segments: Sequence[Segment]) -> None:
    """Write a label map as DICOM SEG on the pixels of its source slices; the same input gives the same UIDs.

    Where the volume was resampled, each pixel takes the nearest voxel.

    Args:
        path: File to write, whole or not at all.
        mask: Label values on the grid of the volume, shape (D, H, W).
        stack: The source slices and how they lie on the grid.
        segments: Every label that may occur.

    Raises:
        ConfigError: If highdicom is not installed.
        DataError: If the mask does not fit the series, or the series lacks what a SEG refers to.
        ResourceError: If the file cannot be written.
    """
    hd = require_highdicom()
    values = [one.value for one in segments]
    planes = stack.to_slices(mask)
    found = sorted(set(np.unique(planes).tolist()) - {0})
    if set(found) - set(values):
        raise DataError(
            f"{path}: the mask holds {found}, and names are given for {values}. Name every label."
        )
    sources, order = _sources(stack)
    numbered = np.zeros((_count(sources), *planes.shape[1:]), np.uint8)
    for number, one in enumerate(segments, start=1):  # segments are numbered from 1 without gaps
        numbered[order] += np.uint8(number) * (planes == one.value).astype(np.uint8)
    key = hashlib.sha256(planes.astype(np.int16).tobytes()).hexdigest()
    try:
        with header_warnings():
            segmentation = hd.seg.Segmentation(
                source_images=sources,
                pixel_array=numbered,
                segmentation_type="BINARY",
                segment_descriptions=[
                    _describe(hd, number, one) for number, one in enumerate(segments, start=1)
                ],
                series_instance_uid=generate_uid(
                    entropy_srcs=["seg series", sources[0].SeriesInstanceUID, key]
                ),
                series_number=int(sources[0].get("SeriesNumber") or 0) + 1000,
                sop_instance_uid=generate_uid(entropy_srcs=["seg", sources[0].SeriesInstanceUID, key]),
                instance_number=1,
                manufacturer="medimg",
                manufacturer_model_name="medimg",
                software_versions=__version__,
                device_serial_number="1",
                content_label="SEGMENTATION",
                series_description="medimg segmentation",
            )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # highdicom checks the source as it goes, and raises one of these.
        raise DataError(
            f"{stack.slices[0].path.parent}: a DICOM SEG cannot refer to this series "
            f"({' '.join(str(error).split())[:200]}). Write the mask as NIfTI or .seg.nrrd."
        ) from error
    with atomic_write(path, durable=False) as temporary:
        segmentation.save_as(temporary)


def require_highdicom() -> Any:
    """Return the package highdicom.

    Raises:
        ConfigError: If it is not installed.
    """
    try:
        import highdicom
    except ImportError as error:
        raise ConfigError(
            "a DICOM SEG was asked for, and the package highdicom is not installed: pip install 'medimg[seg]', or "
            "write the mask as NIfTI or .seg.nrrd."
        ) from error
    return highdicom


def _sources(stack: Stack) -> tuple[list[Dataset], list[int]]:
    """The files' headers, and where each slice of the stack stands among their frames."""
    files = list(dict.fromkeys(one.path for one in stack.slices))
    sources = [_header(path) for path in files]
    if stack.slices[0].frames == 1:
        return sources, list(range(len(files)))
    if len(files) > 1:
        raise DataError(
            f"{files[0].parent}: a DICOM SEG can refer to one enhanced file, and this series has {len(files)}. Write "
            "the mask as NIfTI or .seg.nrrd."
        )
    return sources, [one.frame for one in stack.slices]


def _count(sources: Sequence[Dataset]) -> int:
    return int(sources[0].get("NumberOfFrames") or 1) if len(sources) == 1 else len(sources)


def _header(path: Path) -> Dataset:
    """A header with every element that a SEG takes over."""
    dataset = open_dataset(path, pixels=False).dataset
    if not dataset.get("FrameOfReferenceUID"):
        raise DataError(
            f"{path}: has no Frame of Reference UID (0020,0052), which a DICOM SEG refers to. Write the mask as NIfTI "
            "or .seg.nrrd."
        )
    for name in _MAY_BE_EMPTY:
        if name not in dataset:
            setattr(dataset, name, "")
    return dataset


def _describe(hd: Any, number: int, segment: Segment) -> Any:
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=segment.name[:64],
        segmented_property_category=segment.category,
        segmented_property_type=segment.kind,
        algorithm_type="AUTOMATIC",
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name="medimg", version=__version__, family=codes.cid7162.ArtificialIntelligence
        ),
        display_color=hd.color.CIELabColor.from_rgb(*segment.colour),
    )
