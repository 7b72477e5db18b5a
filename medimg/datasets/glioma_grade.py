"""Brain tumours with their grade: BraTS folders, and a table of WHO grades or of HGG and LGG.

References:
    Menze et al., "The Multimodal Brain Tumor Image Segmentation Benchmark (BRATS)", IEEE TMI 34, 2015.
    Calabrese et al., "The University of California San Francisco preoperative diffuse glioma MRI dataset",
    Radiology: Artificial Intelligence 4, 2022.
"""

import logging
import re
from dataclasses import dataclass, replace
from pathlib import Path

from medimg.datasets.brats import CHANNELS, index_brats
from medimg.datasets.image_set import ImageSet
from medimg.datasets.image_table import Table, find_table, read_table
from medimg.errors import ConfigError, DataError
from medimg.records import ImageIndex, Record, Task

logger = logging.getLogger(__name__)

# Table, column of the case, column of the grade, as the collections publish them.
_TABLES = (
    ("grades.csv", "case_id", "grade"),
    ("name_mapping.csv", "BraTS_2020_subject_ID", "Grade"),
    ("name_mapping.csv", "BraTS_2019_subject_ID", "Grade"),
    ("UCSF-PDGM-metadata_v2.csv", "BraTS21 ID", "WHO CNS Grade"),
    ("UCSF-PDGM-metadata.csv", "BraTS21 ID", "WHO CNS Grade"),
)
_ROMAN = {"i": "1", "ii": "2", "iii": "3", "iv": "4"}
_GRADE = re.compile(r"(?:who|cns|grade|g|[\s_-])*(iv|iii|ii|i|[1-4])", re.IGNORECASE)
_UNKNOWN = {
    "",
    "na",
    "n/a",
    "nan",
    "none",
    "unknown",
    "not available",
    "[not available]",
    "not evaluable",
    "gx",
}
_SHOWN = 5

# Of each case: the place that says so; its grade and, if it is known, its patient.
_Rows = dict[str, tuple[str, list[str]]]


@dataclass(frozen=True, kw_only=True)
class GliomaGrade(ImageSet):
    """BraTS cases of any year with their grade; a case that the table does not grade has no label.

    Attributes:
        table: The table, below the root unless it is absolute; by default ``grades.csv``, ``name_mapping.csv`` of BraTS
            2019 and 2020, or the metadata of UCSF-PDGM, with their columns; else the folders ``HGG`` and ``LGG``.
        id: Column with the name of the case's folder.
        grade: Column with its grade: a class as named, or a WHO grade such as ``2``, ``G2``, ``II`` or ``WHO grade
            II``.
        patient: Column with the patient; by default what the name of the case says.
        classes: Grades from low to high; two make a binary task for the higher one. For BraTS 2018 to
            2020: ``[LGG, HGG]``.
        modalities: Scans that the network sees, in order, by their names of 2023.
    """

    table: Path | None = None
    id: str | None = None
    grade: str | None = None
    patient: str | None = None
    classes: tuple[str, ...] = ("2", "3", "4")
    modalities: tuple[str, ...] = CHANNELS

    def __post_init__(self) -> None:
        if len(self.classes) < 2 or len(set(self.classes)) < len(self.classes):
            raise ConfigError(f"classes: expected two grades or more, each once, found {list(self.classes)}")
        if not self.modalities or not set(self.modalities) <= set(CHANNELS):
            raise ConfigError(f"modalities: expected some of {list(CHANNELS)}, found {list(self.modalities)}")
        if self.table is not None and (self.id is None or self.grade is None):
            raise ConfigError("table: name its columns too, as id and grade")

    def index(self, root: Path) -> ImageIndex:
        """List the cases below the root: a multi-class index of grades in ascending order, or a binary one.

        Raises:
            DataError: If there is no case or no table, a grade is none of the classes, or the table grades none of the
                cases.
        """
        root, cases = Path(root), self._cases(root)
        source, rows = self._rows(root, cases)
        names = self.classes[-1:] if len(self.classes) == 2 else self.classes
        records = []
        for record in cases:
            if record.case_id in rows:
                line, (found, *owner) = rows[record.case_id]
                value = self._value(found, f"{source}, {line}")
                labels = {} if value is None else {name: float(name == value) for name in names}
                patient = next(filter(None, owner), record.patient_id)
                record = replace(record, labels=labels, patient_id=patient)
            records.append(record)
        graded = sum(bool(record.labels) for record in records)
        if not graded:
            raise DataError(
                f"{source}: grades none of the {len(records)} cases below {root}, the first being {records[0].case_id};"
                f" it names {', '.join(list(rows)[:_SHOWN]) or 'no case'}. Name the column with the cases' folders as "
                "data.init_args.dataset.init_args.id."
            )
        if graded < len(records):
            logger.warning(
                "%s: %d of %d cases have no grade and no label", source, len(records) - graded, len(records)
            )
        task: Task = "binary" if len(names) == 1 else "multiclass"
        return ImageIndex(root.resolve().name, root, task, names, tuple(records))

    def unlabelled(self, root: Path) -> ImageIndex:
        """List the BraTS cases below another root, with or without a table."""
        return ImageIndex(Path(root).resolve().name, Path(root), "multilabel", (), tuple(self._cases(root)))

    def _cases(self, root: Path) -> list[Record]:
        """Every case with the scans that are seen; the tumour's outline is no part of the task."""
        found = sorted(index_brats(root).all_records, key=lambda record: record.case_id)
        places = [CHANNELS.index(name) for name in self.modalities]
        return [replace(one, images=tuple(one.images[place] for place in places), mask=None) for one in found]

    def _rows(self, root: Path, cases: list[Record]) -> tuple[Path, _Rows]:
        """Where the grades stand, and what it says of each case."""
        more = [self.patient] if self.patient else []
        if self.table is not None:
            assert self.id is not None and self.grade is not None
            return root / self.table, _read_rows(read_table(root / self.table), [self.id, self.grade, *more])
        for name, column, grade in _TABLES:
            path = find_table(root, [name])
            columns = [self.id or column, self.grade or grade]
            if path is not None and (table := read_table(path)).has(*columns):
                return path, _read_rows(table, [*columns, *more])
        if folders := _graded_folders(root, cases):
            return root, folders
        names = ", ".join(dict.fromkeys(name for name, _, _ in _TABLES))
        raise DataError(
            f"{root}: expected a table of grades ({names}) with columns that are known, or folders HGG and LGG; found "
            "neither. Name the table and its columns: data.init_args.dataset.init_args.table, id and grade."
        )

    def _value(self, text: str, where: str) -> str | None:
        """The class that a field names; ``None`` if it is unknown."""
        if text.lower() in _UNKNOWN:
            return None
        value = text if text in self.classes else who_grade(text)
        if value not in self.classes:
            raise DataError(
                f"{where}: the grade is {text!r}; expected one of {', '.join(self.classes)}. Name the grades as "
                "data.init_args.dataset.init_args.classes, from low to high, such as [LGG, HGG]."
            )
        return value


def _read_rows(table: Table, columns: list[str]) -> _Rows:
    """Line of each case, with its grade and, if there is a column, its patient.

    Raises:
        DataError: If a case stands twice with different grades.
    """
    rows: _Rows = {}
    for line, (case, *rest) in table.select(columns):
        if case.lower() in _UNKNOWN:
            continue
        if case in rows and rows[case][1] != rest:
            raise DataError(
                f"{table.path}, line {line}: {case} stands twice with different grades. Keep one line."
            )
        rows.setdefault(case, (f"line {line}", rest))
    return rows


def _graded_folders(root: Path, cases: list[Record]) -> _Rows:
    """The folders HGG and LGG into which BraTS 2018 and 2019 sort their cases."""
    rows: _Rows = {}
    for record in cases:
        above = record.images[0].relative_to(root).parts if record.images[0].is_relative_to(root) else ()
        for name in {"HGG", "LGG"}.intersection(above):
            rows[record.case_id] = (f"folder {name}", [name])
    return rows


def who_grade(text: str) -> str | None:
    """The WHO grade, ``1`` to ``4``, however a table writes it; ``None`` if it is none.

    Example:
        >>> [who_grade(text) for text in ("G2", "WHO grade III", "iv", "4.0", "HGG")]
        ['2', '3', '4', '4', None]
    """
    match = _GRADE.fullmatch(text.strip().removesuffix(".0"))
    return None if match is None else _ROMAN.get(match[1].lower(), match[1])
