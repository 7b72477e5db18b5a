"""RSNA Cervical Spine Fracture Detection (2022): CT of the neck, judged by patient and vertebra."""

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medimg.datasets.image_cases import ImageCases, label_value
from medimg.datasets.image_set import ListedImages
from medimg.datasets.image_table import find_table, read_table
from medimg.errors import DataError
from medimg.records import ImageIndex
from medimg.scoring.spine import SPINE_LABELS

logger = logging.getLogger(__name__)

FRACTURE_LABEL = "fracture_on_image"
"""Label of the single slice, from the bounding boxes."""

_BOXES = "train_bounding_boxes.csv"
_NAME = "RSNA-spine"


@dataclass(frozen=True, kw_only=True)
class RSNASpine(ListedImages):
    """RSNA cervical spine fractures: ``train.csv`` with ``train_images/<study>/<slice>.dcm``, and the test set.

    Labels are ``patient_overall`` and ``C1`` to ``C7``. Each study is of another patient. With ``unit: slice`` a case
    is a slice, ``<study>_<number>``, and its group the study: set ``batch.grouped`` of the data module to judge
    studies. With ``unit: study`` a case is the whole series, for networks of volumes, with the outlines of its
    vertebrae (``segmentations/<study>.nii``: 1 to 7 are C1 to C7, 8 to 19 are T1 to T12) as mask where there are any.

    Attributes:
        unit: What a case is, ``slice`` or ``study``.
        boxes: Add the label ``fracture_on_image`` to slices, from ``train_bounding_boxes.csv``. It is unknown in
            studies with a fracture and without a box: only some were outlined.

    Reference:
        Lin et al., "The RSNA Cervical Spine Fracture CT Dataset", Radiology: Artificial Intelligence 5, 2023.
    """

    unit: Literal["slice", "study"] = "slice"
    boxes: bool = False

    def index(self, root: Path) -> ImageIndex:
        """List the studies of ``train.csv``, or their slices: a multi-label index.

        Raises:
            DataError: If a table is missing, a row cannot be used, or a study has no images.
        """
        if self.boxes and self.unit == "study":
            raise DataError(f"{root}: boxes label slices. Set unit to slice, or leave boxes away.")
        table = self._table(root, ["train.csv"])
        cases = ImageCases(root, table, self.missing)
        fractured = _read_boxes(root) if self.boxes else {}
        studies, odd = set(), []
        for line, (study, *texts) in read_table(table).select(["StudyInstanceUID", *SPINE_LABELS]):
            try:
                labels = dict(zip(SPINE_LABELS, map(_label, texts), strict=True))
            except ValueError as error:
                cases.fault(line, f"a label is {error.args[0]!r}; expected 1, 0 or blank")
                continue
            overall, *vertebrae = labels.values()
            if not math.isnan(sum(vertebrae) + overall) and overall != max(vertebrae):
                odd.append(study)
            studies.add(study)
            self._add(cases, "train", study, line, labels, fractured)
        if unknown := sorted(set(fractured) - studies):
            raise DataError(f"{root / _BOXES}: {unknown[0]} is no study of {table}. Get the tables again.")
        if odd:
            logger.warning(
                "%s: in %d studies, the first %s, patient_overall is not that of the vertebrae",
                table,
                len(odd),
                odd[0],
            )
        classes = (*SPINE_LABELS, *((FRACTURE_LABEL,) if self.boxes else ()))
        return ImageIndex(_NAME, Path(root), "multilabel", classes, cases.records())

    def unlabelled(self, root: Path) -> ImageIndex:
        """List the studies of ``test.csv``, or of ``train.csv`` without their labels."""
        test = find_table(root, ["test.csv"])
        part, table = ("train", self._table(root, ["train.csv"])) if test is None else ("test", test)
        cases = ImageCases(root, table, self.missing)
        # The test table has a row for each study and label.
        lines = {study: line for line, (study,) in read_table(table).select(["StudyInstanceUID"])}
        for study, line in lines.items():
            self._add(cases, part, study, line, None, {})
        return ImageIndex(_NAME, Path(root), "multilabel", (), cases.records())

    def _add(
        self,
        cases: ImageCases,
        part: str,
        study: str,
        line: int,
        labels: dict[str, float] | None,
        fractured: dict[str, set[int]],
    ) -> None:
        """Take in a study, or each of its slices."""
        folder = f"{part}_images/{study}"
        numbers = _slices(cases, folder) if study else []
        if not numbers:
            numbers = [1]  # is not there, which is told of as in every data set
        if self.unit == "study":
            mask = f"segmentations/{study}.nii"
            cases.add(
                study,
                study,
                [f"{folder}/{number}.dcm" for number in numbers],
                where=line,
                labels=labels,
                mask=mask if study and cases.files.find(mask) else None,
            )
            return
        for number in numbers:
            own = labels
            if labels is not None and self.boxes:
                own = {
                    **labels,
                    FRACTURE_LABEL: _fracture(number, labels["patient_overall"], fractured.get(study)),
                }
            name = f"{study}_{number}" if study else ""
            cases.add(name, study, [f"{folder}/{number}.dcm"], where=line, labels=own, group=study)


def _slices(cases: ImageCases, folder: str) -> list[int]:
    """Numbers of the slices in a folder, in order."""
    stems = [name[:-4] for name in cases.files.entries(folder) if name.lower().endswith(".dcm")]
    return sorted(int(stem) for stem in stems if stem.isdecimal())


def _label(text: str) -> float:
    try:
        return label_value(text)
    except ValueError:
        raise ValueError(text) from None


def _fracture(number: int, overall: float, boxes: set[int] | None) -> float:
    if boxes is not None:
        return float(number in boxes)
    return 0.0 if overall == 0 else math.nan


def _read_boxes(root: Path) -> dict[str, set[int]]:
    """Slices of each outlined study in which a fracture is seen."""
    table = find_table(root, [_BOXES])
    if table is None:
        raise DataError(f"{root}: expected {_BOXES}, found none. Get it, or leave boxes away.")
    found: dict[str, set[int]] = {}
    for line, (study, number) in read_table(table).select(["StudyInstanceUID", "slice_number"]):
        if not number.isdecimal():
            raise DataError(
                f"{table}, line {line}: the slice is {number!r}; expected a number. Mend the line."
            )
        found.setdefault(study, set()).add(int(number))
    return found
