"""Data sets in the layout of the Medical Segmentation Decathlon.

Reference:
    Antonelli et al., "The Medical Segmentation Decathlon", Nature Communications 13, 2022.
"""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medimg.datasets.problems import Problems, read_object
from medimg.errors import DataError
from medimg.io.nifti import is_nifti
from medimg.records import DatasetIndex, Record

logger = logging.getLogger(__name__)

# The brain tumours are judged by nested regions, written from the outermost inwards.
BRAIN_TUMOUR_REGIONS = {"WT": (1, 2, 3), "TC": (2, 3), "ET": (3,)}
_BRAIN_TUMOUR_WORDS = {1: "edema", 2: "non-enhancing", 3: "enhancing"}
_PATIENT_AND_PART = re.compile(r"([A-Za-z]+_\d+)_\d+")


def index_decathlon(root: Path) -> DatasetIndex:
    """Index ``TaskXX_Name/{dataset.json, imagesTr, labelsTr, imagesTs}``.

    Several modalities stand in one 4D file. Names that begin with ``.`` or ``_`` are skipped. A case is
    its own patient, except that parts of one (``BRATS_009_01``) belong to the patient ``BRATS_009``.

    Args:
        root: Folder that holds ``dataset.json``.

    Returns:
        Training cases as records and test cases as unlabelled; the regions WT, TC and ET if the labels are
        those of the brain tumour task.

    Raises:
        DataError: If ``dataset.json`` cannot be used, or for all faults of the cases together.
    """
    root = Path(root)
    path = root / "dataset.json"
    content = read_object(path)
    channels = tuple(channel_names(path, content, "modality"))
    labels = class_values(path, content.get("labels"))
    problems = Problems(root, "Decathlon")
    records = _training(path, content.get("training"), problems)
    unlabelled = _tests(path, content.get("test", []), problems)
    problems.raise_if_any()
    if not records and not unlabelled:
        raise DataError(f"{path}: lists no case under 'training' or 'test'. Get the file again.")
    _warn_of_unlisted(root, (*records, *unlabelled))
    regions = dict(BRAIN_TUMOUR_REGIONS) if _is_brain_tumour(labels) else {}
    return DatasetIndex(
        name=root.resolve().name,
        root=root,
        channels=channels,
        labels=labels,
        records=records,
        unlabelled=unlabelled,
        regions=regions,
        region_labels={"WT": 1, "TC": 2, "ET": 3} if regions else {},
    )


def channel_names(path: Path, content: Mapping[str, Any], key: str) -> list[str]:
    """Return the channels' names in order of their numbers, ``"CT"`` always in capitals.

    Args:
        path: The JSON file, for messages.
        content: What it holds.
        key: ``"modality"`` or ``"channel_names"``.

    Raises:
        DataError: If the key is missing or its numbers do not run from 0.
    """
    names = content.get(key)
    if not isinstance(names, dict) or not names:
        raise DataError(f'{path}: expected {key} such as {{"0": "MRI"}}, found {names!r}. Mend the file.')
    if {str(number) for number in names} != {str(number) for number in range(len(names))}:
        raise DataError(f"{path}: {key} must be numbered 0 to {len(names) - 1}, found {list(names)}.")
    ordered = [str(names[str(number)]) for number in range(len(names))]
    return ["CT" if name.upper() == "CT" else name for name in ordered]


def class_values(path: Path, labels: object) -> dict[str, int]:
    """Return the value of each class from ``{"0": "background", "1": "liver"}``, the background left out.

    Raises:
        DataError: If the labels are missing, are no numbers, or two have one name.
    """
    if not isinstance(labels, dict) or not labels:
        raise DataError(
            f'{path}: expected labels such as {{"0": "background"}}, found {labels!r}. Mend the file.'
        )
    values: dict[str, int] = {}
    for value, name in labels.items():
        if not str(value).isdecimal():
            raise DataError(f"{path}: labels must be numbers, found {value!r}. Mend the file.")
        if int(value) == 0:
            continue
        if str(name) in values:
            raise DataError(
                f"{path}: the label {name!r} stands for {values[str(name)]} and {value}; rename one."
            )
        values[str(name)] = int(value)
    return dict(sorted(values.items(), key=lambda item: item[1]))


def case_id_of(path: Path | str) -> str:
    """Return a file's name without ``.nii`` or ``.nii.gz``.

    Example:
        >>> case_id_of("./imagesTr/la_003.nii.gz")
        'la_003'
    """
    return re.sub(r"\.nii(\.gz)?$", "", Path(path).name, flags=re.IGNORECASE)


def patient_id_of(case_id: str) -> str:
    """Return the patient a Decathlon case belongs to.

    Example:
        >>> patient_id_of("BRATS_009_01"), patient_id_of("liver_12")
        ('BRATS_009', 'liver_12')
    """
    match = _PATIENT_AND_PART.fullmatch(case_id)
    return match[1] if match else case_id


def _training(path: Path, listed: object, problems: Problems) -> tuple[Record, ...]:
    if not isinstance(listed, list):
        raise DataError(f"{path}: expected a list 'training', found {type(listed).__name__}. Mend the file.")
    records = []
    for entry in listed:
        if not isinstance(entry, dict) or not {"image", "label"} <= set(entry):
            problems.add(str(entry), "expected an object with 'image' and 'label' in 'training'")
            continue
        image, label = str(entry["image"]), str(entry["label"])
        case_id = case_id_of(image)
        if case_id.startswith((".", "_")) or not problems.claim(case_id, image):
            continue
        images = (problems.file(case_id, image, "image"),)
        mask = problems.file(case_id, label, "mask")
        records.append(Record(case_id, patient_id_of(case_id), images, mask))
    return tuple(sorted(records, key=lambda record: record.case_id))


def _tests(path: Path, listed: object, problems: Problems) -> tuple[Record, ...]:
    if not isinstance(listed, list):
        raise DataError(f"{path}: expected a list 'test', found {type(listed).__name__}. Mend the file.")
    names = [
        str(entry["image"] if isinstance(entry, dict) and "image" in entry else entry) for entry in listed
    ]
    if names and not any((path.parent / name).parent.is_dir() for name in names):
        logger.warning(
            "%s: the folder of the %d test images is not there; going on without.", path, len(names)
        )
        return ()
    records = []
    for name in names:
        case_id = case_id_of(name)
        if case_id.startswith((".", "_")) or not problems.claim(case_id, name):
            continue
        images = (problems.file(case_id, name, "test image"),)
        records.append(Record(case_id, patient_id_of(case_id), images))
    return tuple(sorted(records, key=lambda record: record.case_id))


def _is_brain_tumour(labels: Mapping[str, int]) -> bool:
    by_value = {value: name.lower() for name, value in labels.items()}
    return set(by_value) == set(_BRAIN_TUMOUR_WORDS) and all(
        by_value[value].startswith(word) for value, word in _BRAIN_TUMOUR_WORDS.items()
    )


def _warn_of_unlisted(root: Path, records: tuple[Record, ...]) -> None:
    listed = {record.images[0].name for record in records}
    for folder in ("imagesTr", "imagesTs"):
        names = [file.name for file in (root / folder).glob("*") if is_nifti(file)]
        unlisted = sorted(name for name in names if name not in listed and not name.startswith((".", "_")))
        if unlisted:
            logger.warning(
                "%s: %d images are not listed in dataset.json and are left out: %s",
                root / folder,
                len(unlisted),
                ", ".join(unlisted[:5]),
            )
