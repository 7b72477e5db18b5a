"""RSNA Intracranial Hemorrhage Detection (2019): slices of head CT with five kinds of bleeding."""

import csv
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medimg.datasets.image_cases import ImageCases
from medimg.datasets.image_set import ListedImages
from medimg.datasets.image_table import find_table
from medimg.datasets.long_table import stream_table
from medimg.errors import DataError
from medimg.io.files import atomic_write
from medimg.parallel import map_cases, raise_failures
from medimg.records import ImageIndex

logger = logging.getLogger(__name__)

HEMORRHAGE_LABELS = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural", "any")
_COLUMNS = ("id", "patient", "study")
_TRAIN = ("stage_2_train", "stage_2_train_images", "stage_1_train", "stage_1_train_images")
_TEST = ("stage_2_test", "stage_2_test_images", "stage_1_test", "stage_1_test_images")
_NAME = "RSNA-hemorrhage"
_CHUNK = 500  # files a job: a header takes a millisecond, as long as the handing over of a job
_SHOWN = 5
# The state of a label is a digit to base 3, so that an image takes one small number for its six rows.
_DIGITS = {"0": 1, "1": 2}
Patients = dict[str, tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class RSNAHemorrhage(ListedImages):
    """RSNA intracranial haemorrhage: ``stage_2_train.csv`` with ``stage_2_train/<image>.dcm``, and the test set.

    The table has a row for each image and label, ``ID_<image>_<label>``; rows that stand twice count once. The group
    of a slice is its study. Whose scan it is stands in the DICOM headers alone, and a split that ignores it puts
    neighbouring slices on both sides; so a table of patients is needed. ``read_headers`` makes it once.

    Attributes:
        patients: Table with the columns ``id,patient,study``, below the root unless it is absolute.
        read_headers: Make that table from the headers of all images where it is not there yet.
        workers: Processes that read headers.
        suffix: End of the images' names, for sets that were converted.

    Reference:
        Flanders et al., "Construction of a Machine Learning Dataset through Collaboration: The RSNA 2019 Brain CT
        Hemorrhage Challenge", Radiology: Artificial Intelligence 2, 2020.
    """

    patients: Path = Path("patients.csv")
    read_headers: bool = False
    workers: int = 1
    suffix: str = ".dcm"

    def index(self, root: Path) -> ImageIndex:
        """List the images of ``stage_2_train.csv``: a multi-label index.

        Raises:
            DataError: If a table is missing, a row cannot be used, two rows contradict each other, or an image lacks
                a label or a patient.
        """
        table = self._table(root, ["stage_2_train.csv", "stage_1_train.csv"])
        codes = _read_codes(table)
        cases = ImageCases(root, table, self.missing)
        folder = cases.files.folder_of(_TRAIN)
        paths = {image: f"{folder}/{image}{self.suffix}" for image in codes}
        here = paths if self.missing == "keep" else {i: p for i, p in paths.items() if cases.files.find(p)}
        # Where images must be there and are not, that is told of first, and no half of a table of patients is made.
        if len(here) == len(paths) or self.missing != "error":
            known = self._patients(cases, list(here.values()))
            if without := [image for image in here if image not in known]:
                raise DataError(
                    f"{root / self.patients}: {len(without)} of {len(codes)} images have no patient, the first "
                    f"{without[0]}. Complete the table; or delete it and set read_headers, which makes it from the "
                    "DICOM headers."
                )
        else:
            known = {}
        labels = {code: _labels(code) for code in set(codes.values())}
        _warn_of_any(table, codes, labels)
        for image, code in codes.items():
            # An image that is not there has no header, and the cases say what becomes of it.
            patient, study = known.get(image, (image, None))
            cases.add(image, patient, [paths[image]], where=image, labels=labels[code], group=study)
        return ImageIndex(_NAME, Path(root), "multilabel", HEMORRHAGE_LABELS, cases.records())

    def unlabelled(self, root: Path) -> ImageIndex:
        """List the images of ``stage_2_sample_submission.csv``, or without it every image below the root.

        Studies are known where the table of patients names the images.
        """
        sample = find_table(root, ["stage_2_sample_submission.csv", "stage_1_sample_submission.csv"])
        if sample is None:
            return super().unlabelled(root)
        images = dict.fromkeys(name.rpartition("_")[0] for _, (name,) in stream_table(sample, ["ID"]))
        table = root / self.patients
        known = _read_patients(table) if table.is_file() else {}
        cases = ImageCases(root, sample, self.missing)
        folder = cases.files.folder_of(_TEST)
        for image in images:
            patient, study = known.get(image, (image, None))
            cases.add(image, patient, [f"{folder}/{image}{self.suffix}"], where=image, group=study)
        return ImageIndex(_NAME, Path(root), "multilabel", (), cases.records())

    def _patients(self, cases: ImageCases, names: Sequence[str]) -> Patients:
        table = cases.files.root / self.patients
        if table.is_file():
            return _read_patients(table)
        if not self.read_headers:
            raise DataError(
                f"{table}: there is no table of patients (columns {', '.join(_COLUMNS)}), and without it slices of one "
                "head would stand in training and validation. Name it with dataset.init_args.patients; or set "
                "dataset.init_args.read_headers to true, which makes it once from the DICOM headers."
            )
        paths = [path for name in names if (path := cases.files.find(name)) is not None]
        if not paths:
            return {}
        chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
        names = [f"{chunk[0].name} to {chunk[-1].name}" for chunk in chunks]
        outcomes = map_cases(_read_headers, chunks, names=names, workers=self.workers, label="headers")
        rows = [row for found in raise_failures(outcomes) for row in found]
        with atomic_write(table) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([_COLUMNS, *rows])
        return _read_patients(table)


def _read_headers(paths: Sequence[Path]) -> list[tuple[str, str, str]]:
    """Image, patient and study of each file."""
    # pydicom is loaded by those who read headers.
    from medimg.io.dicom.slices import read_slices

    rows = []
    for path in paths:
        header = read_slices(path)
        if not header.patient_id or not header.study_uid:
            raise DataError(
                f"{path}: its header lacks the {'study' if header.patient_id else 'patient'}. Name a table of patients "
                "with dataset.init_args.patients instead."
            )
        rows.append((path.stem, header.patient_id, header.study_uid))
    return rows


def _read_patients(table: Path) -> Patients:
    """Patient and study of each image; strings that come again are kept once."""
    known: Patients = {}
    studies: dict[tuple[str, ...], tuple[str, str]] = {}
    patient_of: dict[str, str] = {}
    for line, (image, patient, study) in stream_table(table, _COLUMNS):
        if not (image and patient and study):
            raise DataError(
                f"{table}, line {line}: expected {', '.join(_COLUMNS)}, found a blank. Mend the line."
            )
        if patient_of.setdefault(study, patient) != patient:
            raise DataError(
                f"{table}, line {line}: study {study} belongs to {patient_of[study]} in one row and to {patient} in "
                "another. Mend the table."
            )
        found = studies.setdefault((patient, study), (patient, study))
        if known.setdefault(image, found) is not found:
            raise DataError(f"{table}, line {line}: {image} stands twice with two studies. Keep one of them.")
    return known


def _read_codes(table: Path) -> dict[str, int]:
    """The labels of each image as a number to base 3."""
    place = {name: 3**position for position, name in enumerate(HEMORRHAGE_LABELS)}
    codes: dict[str, int] = {}
    repeated, faults = 0, list[str]()
    for line, (name, text) in stream_table(table, ["ID", "Label"]):
        image, _, label = name.rpartition("_")
        if not image or label not in place or text not in _DIGITS:
            faults.append(f"line {line}: expected <image>_<label> and 0 or 1, found {name!r} and {text!r}")
            continue
        before = codes.get(image, 0)
        digit = before // place[label] % 3
        if digit == _DIGITS[text]:
            repeated += 1
        elif digit:
            faults.append(f"line {line}: {name} is {text} here and {digit - 1} in an earlier row")
        else:
            codes[image] = before + _DIGITS[text] * place[label]
    for image, code in codes.items():
        if lacking := [label for label in HEMORRHAGE_LABELS if not code // place[label] % 3]:
            faults.append(f"{image}: has no row for {', '.join(lacking)}")
    if faults:
        lines = "\n".join(f"  {fault}" for fault in faults[:_SHOWN])
        raise DataError(f"{table}: {len(faults)} faults:\n{lines}\nMend them, or get the table again.")
    if repeated:
        logger.warning("%s: %d rows stand twice and count once", table, repeated)
    return codes


def _labels(code: int) -> dict[str, float]:
    return {name: float(code // 3**position % 3 - 1) for position, name in enumerate(HEMORRHAGE_LABELS)}


def _warn_of_any(table: Path, codes: Mapping[str, int], labels: Mapping[int, Mapping[str, float]]) -> None:
    *kinds, either = HEMORRHAGE_LABELS
    odd = {code for code, own in labels.items() if own[either] != max(own[kind] for kind in kinds)}
    if found := [image for image, code in codes.items() if code in odd]:
        logger.warning(
            "%s: %d images, the first %s, have a label `any` that is not that of the five kinds together",
            table,
            len(found),
            found[0],
        )
