"""Data sets in nnU-Net's raw layout, versions 1 and 2.

Reference:
    Isensee et al., "nnU-Net: a self-configuring method for deep learning-based biomedical image
    segmentation", Nature Methods 18, 2021.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from medimg.datasets.decathlon import case_id_of, channel_names, class_values
from medimg.datasets.nnunet_labels import LabelPlan, plan_labels
from medimg.datasets.problems import Problems, read_json, read_object
from medimg.errors import DataError
from medimg.records import DatasetIndex, Record

logger = logging.getLogger(__name__)

Folds = tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]

_ENDINGS = (".nii.gz", ".nii")
_CHANNEL_SUFFIX = re.compile(r"(.+)_(\d{4})")


def index_nnunet(root: Path) -> DatasetIndex:
    """Index ``DatasetXXX_Name/{dataset.json, imagesTr/<case>_0000.nii.gz, labelsTr, imagesTs}``.

    Version 1 (``TaskXXX_Name`` with ``modality``) is read too. Published splits are those of
    ``splits_final.json`` beside ``dataset.json`` or in the ``nnUNet_preprocessed`` folder next to the raw
    one; without the file there are none, and five folds dealt by patient are then nnU-Net's own default.

    nnU-Net knows no patients, so each case is its own, unless ``patients.json`` beside ``dataset.json`` says
    ``{case id: patient id}``.

    Args:
        root: Folder that holds ``dataset.json``.

    Returns:
        Cases of ``imagesTr`` as records; cases of ``imagesTs`` as test cases if ``labelsTs`` has their masks,
        else as unlabelled. Label lists become regions;
        ``regions_class_order`` gives the value with which each is written.

    Raises:
        DataError: If ``dataset.json`` cannot be used, or for all faults of the cases together.
    """
    root = Path(root)
    path = root / "dataset.json"
    content = read_object(path)
    channels = channel_names(path, content, "channel_names" if "channel_names" in content else "modality")
    plan = _labels(path, content)
    ending = _ending(path, content)
    problems = Problems(root, "nnU-Net")
    records = _training(path, content, ending, channels, problems)
    known = {record.case_id for record in records}
    records += _scan(root, "imagesTs", "labelsTs", ending, channels, problems)
    patients = root / "patients.json"
    if patients.is_file():
        records = _with_patients(patients, records, problems)
    unlabelled = tuple(record for record in records if record.mask is None)
    masked = [record for record in records if record.mask is not None]
    labelled = tuple(record for record in masked if record.case_id in known)
    test = tuple(record for record in masked if record.case_id not in known)
    folds = _folds(root, [record.case_id for record in labelled], problems)
    problems.raise_if_any()
    if not labelled and not unlabelled:
        raise DataError(f"{root}: no image <case>_0000{ending} in imagesTr or imagesTs. Check the folder.")
    expected = content.get("numTraining")
    if expected is not None and expected != len(labelled):
        logger.warning("%s: numTraining is %s but %d cases are there.", path, expected, len(labelled))
    return DatasetIndex(
        name=root.resolve().name,
        root=root,
        channels=tuple(channels),
        labels=plan.labels,
        records=labelled,
        test=test,
        unlabelled=tuple(sorted(unlabelled, key=lambda record: record.case_id)),
        regions=plan.regions,
        region_labels=plan.region_labels,
        ignore_label=plan.ignore,
        folds=folds,
    )


def _labels(path: Path, content: Mapping[str, Any]) -> LabelPlan:
    labels = content.get("labels")
    # Version 1 writes {"1": "liver"}, version 2 {"liver": 1}.
    if isinstance(labels, dict) and labels and all(str(key).isdecimal() for key in labels):
        return LabelPlan(class_values(path, labels))
    return plan_labels(path, labels, content.get("regions_class_order"))


def _ending(path: Path, content: Mapping[str, Any]) -> str:
    ending = str(content.get("file_ending", ".nii.gz"))
    if ending not in _ENDINGS:
        raise DataError(
            f"{path}: file_ending is {ending!r}, expected .nii.gz or .nii. Convert the images and masks to "
            ".nii.gz, for example with SimpleITK, and set file_ending to '.nii.gz'."
        )
    return ending


def _training(
    path: Path, content: Mapping[str, Any], ending: str, channels: list[str], problems: Problems
) -> tuple[Record, ...]:
    listed = content.get("dataset")
    if listed is None:
        return _scan(path.parent, "imagesTr", "labelsTr", ending, channels, problems)
    if not isinstance(listed, dict):
        raise DataError(
            f"{path}: expected 'dataset' to be an object of cases, found {type(listed).__name__}."
        )
    records = []
    for case_id, entry in listed.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("images"), list) or "label" not in entry:
            problems.add(case_id, "expected {'images': [...], 'label': ...} in 'dataset' of dataset.json")
            continue
        if not problems.claim(case_id, "dataset.json"):
            continue
        if len(entry["images"]) != len(channels):
            problems.add(
                case_id, f"expected {len(channels)} images ({channels}), found {len(entry['images'])}"
            )
        images = tuple(problems.file(case_id, str(image), "image") for image in entry["images"])
        mask = problems.file(case_id, str(entry["label"]), "mask")
        records.append(Record(case_id, case_id, images, mask))
    return tuple(sorted(records, key=lambda record: record.case_id))


def _scan(
    root: Path, images: str, masks: str, ending: str, channels: list[str], problems: Problems
) -> tuple[Record, ...]:
    """List the cases of a folder by their channel suffixes ``_0000``, ``_0001``.

    Where masks are hidden from some cases of a test set, those are unlabelled; in training each needs one.
    """
    found: dict[str, dict[int, str]] = {}
    for file in sorted((root / images).glob("*")):
        if file.name.startswith((".", "_")) or file.is_dir():
            continue
        match = _CHANNEL_SUFFIX.fullmatch(file.name.removesuffix(ending))
        if not file.name.endswith(ending) or match is None:
            problems.add(file.name, f"({images}) expected a name such as <case>_0000{ending}")
            continue
        found.setdefault(match[1], {})[int(match[2])] = file.name
    masked, training = (root / masks).is_dir(), masks == "labelsTr"
    if training and not masked:
        logger.warning("%s: there is no folder %s, so no case has a mask.", root, masks)
    records = []
    for case_id, numbered in sorted(found.items()):
        if not problems.claim(case_id, images):
            continue
        _check_channels(case_id, numbered, channels, ending, problems)
        files = tuple(problems.file(case_id, f"{images}/{numbered[n]}", "image") for n in sorted(numbered))
        name = f"{masks}/{case_id}{ending}"
        wanted = masked and (training or (root / name).is_file())
        mask = problems.file(case_id, name, "mask") if wanted else None
        records.append(Record(case_id, case_id, files, mask))
    if masked:
        _check_masks(root / masks, found, problems)
    return tuple(records)


def _check_channels(
    case_id: str, numbered: Mapping[int, str], channels: list[str], ending: str, problems: Problems
) -> None:
    for number, name in enumerate(channels):
        if number not in numbered:
            problems.add(case_id, f"the modality {name} ({case_id}_{number:04d}{ending}) is missing")
    for number in sorted(set(numbered) - set(range(len(channels)))):
        problems.add(case_id, f"{numbered[number]} is a channel that dataset.json does not name")


def _check_masks(folder: Path, cases: Mapping[str, object], problems: Problems) -> None:
    for file in sorted(folder.glob("*")):
        if file.name.startswith((".", "_")) or not file.name.endswith(_ENDINGS):
            continue
        if case_id_of(file) not in cases:
            problems.add(case_id_of(file), f"{folder.name}/{file.name} is a mask without images")


def _with_patients(path: Path, records: tuple[Record, ...], problems: Problems) -> tuple[Record, ...]:
    """Name each case's patient; only cases without a mask, which no split deals, may be left out."""
    patient_of = read_object(path)
    known = {record.case_id for record in records}
    for case_id, patient in patient_of.items():
        if case_id not in known:
            problems.add(case_id, f"{path.name} names a case that is not there")
        elif not isinstance(patient, str | int) or isinstance(patient, bool) or patient == "":
            problems.add(case_id, f"{path.name}: expected the patient's id, found {patient!r}")
    for record in records:
        if record.mask is not None and record.case_id not in patient_of:
            problems.add(record.case_id, f"{path.name} does not name its patient")
    return tuple(
        replace(record, patient_id=str(patient_of.get(record.case_id, record.case_id))) for record in records
    )


def _folds(root: Path, case_ids: list[str], problems: Problems) -> Folds:
    raw = root.resolve()
    places = [root / "splits_final.json"]
    places += [up / "nnUNet_preprocessed" / raw.name / "splits_final.json" for up in list(raw.parents)[:2]]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        return ()
    content = read_json(path)
    if not isinstance(content, list) or not all(
        isinstance(fold, dict) and {"train", "val"} <= set(fold) for fold in content
    ):
        raise DataError(
            f'{path}: expected a list of {{"train": [...], "val": [...]}}. Mend or remove the file.'
        )
    known, folds = set(case_ids), []
    for number, fold in enumerate(content):
        training, validation = tuple(map(str, fold["train"])), tuple(map(str, fold["val"]))
        unknown = sorted((set(training) | set(validation)) - known)
        if unknown:
            problems.add(path.name, f"fold {number} names cases that are not there: {', '.join(unknown[:5])}")
        both = sorted(set(training) & set(validation))
        if both:
            problems.add(path.name, f"fold {number} has cases on both sides: {', '.join(both[:5])}")
        folds.append((training, validation))
    return tuple(folds)
