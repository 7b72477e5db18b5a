"""RSNA-STR Pulmonary Embolism Detection (2020): CT angiographies, labelled as exams and slice by slice."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from medimg.datasets.image_cases import ImageCases, label_value
from medimg.datasets.image_set import ListedImages
from medimg.datasets.image_table import find_table
from medimg.datasets.long_table import stream_table
from medimg.errors import DataError
from medimg.records import ImageIndex
from medimg.scoring.embolism import EXAM_LABELS, IMAGE_LABEL
from medimg.scoring.embolism_rules import broken_rules

logger = logging.getLogger(__name__)

"""Label of the single slice; all others are said of the exam and repeated with every slice."""

QUALITY_LABELS = ("qa_motion", "qa_contrast", "flow_artifact", "true_filling_defect_not_pe")
"""Labels of the exam that the competition does not score."""

_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_NAME = "RSNA-PE"
_SHOWN = 5
Labels = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class RSNAPulmonaryEmbolism(ListedImages):
    """RSNA-STR pulmonary embolism: ``train.csv`` with ``train/<study>/<series>/<image>.dcm``, and the test set.

    A case is a slice, called by its SOPInstanceUID; its group is the study. The published table names no patients,
    so that each study stands for one: where a patient was scanned twice, no split can know. Classes are
    ``EXAM_LABELS`` in the order of the competition's weights, then ``pe_present_on_image``. Set ``batch.grouped`` of
    the data module to judge studies; of a study, ``pe_present_on_image`` says whether any slice shows an embolism.

    Exams that break the competition's own rules are kept and counted in a warning.

    Attributes:
        quality: Add the labels of ``QUALITY_LABELS``, which the competition does not score.

    Reference:
        Colak et al., "The RSNA Pulmonary Embolism CT Dataset", Radiology: Artificial Intelligence 3, 2021.
    """

    has_laterality: ClassVar[bool] = True

    quality: bool = False

    def index(self, root: Path) -> ImageIndex:
        """List the slices of ``train.csv``: a multi-label index.

        Raises:
            DataError: If the table is missing, a row cannot be used, or rows of one study differ in its labels.
        """
        exam_labels = (*EXAM_LABELS, *(QUALITY_LABELS if self.quality else ()))
        classes = (*EXAM_LABELS, IMAGE_LABEL, *exam_labels[len(EXAM_LABELS) :])
        table = self._table(root, ["train.csv"])
        cases = ImageCases(root, table, self.missing)
        studies = _Studies(exam_labels)
        for line, (study, series, image, *texts) in stream_table(table, [*_UIDS, *exam_labels, IMAGE_LABEL]):
            try:
                name, labels = studies.add(study, tuple(texts), line)
            except ValueError as error:
                cases.fault(line, str(error))
                continue
            _add(cases, "train", (name, series, image), line, labels)
        studies.check(table)
        return ImageIndex(_NAME, Path(root), "multilabel", classes, cases.records())

    def unlabelled(self, root: Path) -> ImageIndex:
        """List the slices of ``test.csv``, or of ``train.csv`` without their labels."""
        test = find_table(root, ["test.csv"])
        part, table = ("train", self._table(root, ["train.csv"])) if test is None else ("test", test)
        cases = ImageCases(root, table, self.missing)
        names: dict[str, str] = {}
        for line, (study, series, image) in stream_table(table, _UIDS):
            _add(cases, part, (names.setdefault(study, study), series, image), line, None)
        return ImageIndex(_NAME, Path(root), "multilabel", (), cases.records())


def _add(cases: ImageCases, part: str, uids: tuple[str, str, str], line: int, labels: Labels | None) -> None:
    study, series, image = uids
    path = f"{part}/{study}/{series}/{image}.dcm"
    cases.add(image, study, [path], where=line, labels=labels, group=study or None)


class _Studies:
    """Labels of each study, with one mapping for all slices that share it: there are millions of slices.

    Args:
        exam_labels: Columns whose values belong to the study.
    """

    def __init__(self, exam_labels: tuple[str, ...]) -> None:
        self._exam_labels = exam_labels
        self._labels: dict[tuple[str, ...], Labels] = {}  # by the fields as they are written
        self._exams: dict[str, Labels] = {}
        self._names: dict[str, str] = {}  # one string a study, whatever the number of its rows
        self._highest: dict[str, float] = {}
        self._differing: dict[str, str] = {}

    def add(self, study: str, texts: tuple[str, ...], line: int) -> tuple[str, Labels]:
        """Take in a row.

        Args:
            study: Its study.
            texts: Fields of the exam's labels, then that of the slice.
            line: Line of the table.

        Returns:
            The study's name and the labels, each one object however often it comes.

        Raises:
            ValueError: If a field is no label.
        """
        labels = self._labels.get(texts)
        if labels is None:
            labels = self._labels[texts] = self._read(texts)
        first = self._exams.setdefault(study, labels)
        if first is not labels:
            for name in self._exam_labels:
                if _differ(first[name], labels[name]):
                    self._differing.setdefault(
                        study, f"{name} is {first[name]:g} and, in line {line}, {labels[name]:g}"
                    )
        self._highest[study] = max(self._highest.get(study, 0.0), np.nan_to_num(labels[IMAGE_LABEL]))
        return self._names.setdefault(study, study), labels

    def _read(self, texts: tuple[str, ...]) -> Labels:
        found = {}
        for name, text in zip((*self._exam_labels, IMAGE_LABEL), texts, strict=True):
            try:
                found[name] = label_value(text)
            except ValueError:
                raise ValueError(f"the label {name} is {text!r}; expected 1, 0, -1 or blank") from None
        return found

    def check(self, table: Path) -> None:
        """Refuse studies whose rows differ, and warn of exams that contradict themselves.

        Raises:
            DataError: Names the studies.
        """
        if self._differing:
            lines = [f"  study {study}: {text}" for study, text in list(self._differing.items())[:_SHOWN]]
            raise DataError(
                "\n".join(
                    [
                        f"{table}: {len(self._differing)} studies have other labels in one row than in another:",
                        *lines,
                        "An exam has one set of labels. Mend the table.",
                    ]
                )
            )
        known = [study for study, labels in self._exams.items() if not any(v != v for v in labels.values())]
        if not known:
            return
        exams = np.array([[self._exams[study][name] for name in EXAM_LABELS] for study in known])  # (N, 9)
        for rule, broken in broken_rules(exams, [self._highest[study] for study in known]).items():
            if count := int(broken.sum()):
                first = known[int(np.flatnonzero(broken)[0])]
                logger.warning(
                    "%s: %d of %d exams break a rule of the competition, the first %s: %s",
                    table,
                    count,
                    len(known),
                    first,
                    rule,
                )


def _differ(one: float, other: float) -> bool:
    return one != other and not (one != one and other != other)
