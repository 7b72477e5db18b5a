"""One DICOM file without identity: new meta, new header, pixels as they were."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID

from medimg.curation.deidentify_dataset import clean_header, elements, method_code
from medimg.curation.deidentify_keep import is_standard_uid
from medimg.curation.deidentify_key import Secret
from medimg.curation.deidentify_pixels import Box, boxes_for, clean_pixels, may_show_text
from medimg.curation.deidentify_streams import LeftOut, Refused
from medimg.curation.deidentify_table import Option
from medimg.io.dicom.parse import Opened, header_warnings, open_dataset

Faces = Literal["defaced", "kept"]
# A number under the root of UUIDs: it names the software that wrote the file, as PS3.7 D.3.3.2 asks.
IMPLEMENTATION = "2.25.248217394873254391785416285304716629017"
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_HEAD = re.compile(
    r"head|brain|skull|face|facial|orbit|sinus|neuro|crani|cereb|temporal bone|jaw|dental", re.I
)
_SAYS_PART = ("BodyPartExamined", "StudyDescription", "SeriesDescription", "ProtocolName")
_VOLUMES = {"CT", "MR", "PT", "NM"}
_DIRECTORY = "1.2.840.10008.1.3.10"


@dataclass(frozen=True, slots=True)
class Policy:
    """What was asked for.

    Attributes:
        retain: Options of the profile.
        faces: Statement on heads in CT, MR and PET: their faces were removed, or are accepted.
        boxes: Rectangles to blank.
    """

    retain: frozenset[Option] = frozenset()
    faces: Faces | None = None
    boxes: tuple[Box, ...] = ()


def clean_dicom(
    path: Path, name: str, secret: Secret, policy: Policy
) -> tuple[Dataset, UID, Counter[str], Dataset]:
    """Make the new data set of a file.

    Args:
        path: DICOM file.
        name: Its path below the source folder, with ``/``; boxes are matched by it.
        secret: The project's key.
        policy: What was asked for.

    Returns:
        The new data set with pixels, its transfer syntax, how often what was done, and the data set that was read.

    Raises:
        LeftOut: If the file holds no image.
        Refused: If it may show burned-in text or a face, or its pixels cannot be cleaned.
        DataError: If it cannot be read.
    """
    opened = open_dataset(path)
    dataset = opened.dataset
    with header_warnings():
        kind = UID(str(dataset.get("SOPClassUID", "")).strip("\0 "))
        _refuse_other_kinds(dataset, kind)
        done_before = secret.is_own_name("P", str(dataset.get("PatientID", "")))
        looked_at = done_before and _looked_at(dataset)
        boxes = _checked_boxes(opened, name, policy, looked_at)
        if (
            policy.faces is None
            and is_head(dataset)
            and not (done_before and "RecognizableVisualFeatures" in dataset)
        ):
            raise Refused(
                "a head in CT, MR or PET, on which a face can be rendered. Deface it first and say --faces defaced, "
                "or --faces kept if that is accepted."
            )
        cleaned, counts = clean_header(dataset, secret, policy.retain)
        if not cleaned.get("SOPInstanceUID"):
            cleaned.SOPInstanceUID = secret.uid(f"file {name}")
        cleaned.SOPClassUID = kind or UID("1.2.840.10008.5.1.4.1.1.7")
        syntax = clean_pixels(opened, cleaned, boxes)
        _state_pixels(dataset, cleaned, policy, looked_at=looked_at or bool(boxes))
    return cleaned, syntax, counts, dataset


def write_dicom(path: Path, cleaned: Dataset, syntax: UID) -> None:
    """Write a data set with new file meta information and a preamble of zeros."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = cleaned.SOPClassUID
    meta.MediaStorageSOPInstanceUID = cleaned.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = UID(IMPLEMENTATION)
    meta.ImplementationVersionName = "MEDIMG"  # else pydicom writes its own, which the source may hold too
    cleaned.file_meta = meta
    cleaned.preamble = b"\0" * 128
    with header_warnings():
        dcmwrite(path, cleaned, enforce_file_format=True)


def _refuse_other_kinds(dataset: Dataset, kind: UID) -> None:
    if kind == _DIRECTORY or "DirectoryRecordSequence" in dataset:
        raise LeftOut("a directory of other files (DICOMDIR)")
    if "EncapsulatedDocument" in dataset:
        raise LeftOut("an encapsulated document")
    if not any(name in dataset for name in _PIXELS):
        raise LeftOut("a DICOM object without an image")
    if kind and not is_standard_uid(kind):
        raise LeftOut("a private kind of object")


def _checked_boxes(opened: Opened, name: str, policy: Policy, looked_at: bool) -> tuple[Box, ...]:
    series = str(opened.dataset.get("SeriesInstanceUID", "")).strip("\0 ")
    boxes = boxes_for(policy.boxes, name, series)
    why = may_show_text(opened.dataset)
    if why and not boxes and not looked_at:
        raise Refused(
            f"the picture may show a name: {why}. Look at it and give --boxes: what to blank, or a row with four "
            "empty fields if there is nothing."
        )
    return boxes


def _looked_at(dataset: Dataset) -> bool:
    """Whether this file says that its pixels were cleaned; believed only where the key shows who wrote it."""
    codes = dataset.get("DeidentificationMethodCodeSequence") or []
    return (
        any(code.get("CodeValue") == "113101" for code in codes) and dataset.get("BurnedInAnnotation") == "NO"
    )


def is_head(dataset: Dataset) -> bool:
    """Whether a volume's header speaks of a head.

    A header that names no part of the body tells nothing: this finds heads, it does not prove their absence.
    """
    if str(dataset.get("Modality", "")).strip() not in _VOLUMES:
        return False
    found = " ".join(str(dataset.get(name, "")) for name in _SAYS_PART)
    for element in elements(dataset):
        if element is not None and element.keyword == "AnatomicRegionSequence":
            found += " ".join(str(item.get("CodeMeaning", "")) for item in element.value)
    return bool(_HEAD.search(found))


def _state_pixels(dataset: Dataset, cleaned: Dataset, policy: Policy, *, looked_at: bool) -> None:
    if looked_at:
        cleaned.BurnedInAnnotation = "NO"
        cleaned.DeidentificationMethodCodeSequence.append(method_code("113101", "Clean Pixel Data Option"))
    if policy.faces is not None and is_head(dataset):
        cleaned.RecognizableVisualFeatures = "NO" if policy.faces == "defaced" else "YES"
