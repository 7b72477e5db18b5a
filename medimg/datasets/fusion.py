"""Cases of several inputs: images, columns of a table and report text, any of which a case may lack."""

import logging
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medimg.datasets.image_cases import ImageFiles, Missing
from medimg.datasets.image_set import ImageSet
from medimg.datasets.image_table import read_table
from medimg.datasets.table import index_table
from medimg.errors import ConfigError, DataError
from medimg.records import ImageIndex, TableColumns, Task

logger = logging.getLogger(__name__)

FIRST_VALUE = 2
"""Code of the first named value of a category; 0 is missing and 1 a value that is not named."""

PICTURES = ("image", "image_2")
_BLANK = {"", "na", "n/a", "nan", "none", "null"}
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns of a table that a network sees.

    Attributes:
        numeric: Columns of numbers.
        categorical: By column the values that are told apart.
    """

    numeric: tuple[str, ...] = ()
    categorical: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns, numbers first."""
        return (*self.numeric, *self.categorical)


@dataclass(frozen=True, slots=True)
class FusionCases:
    """All cases of a data set, and what each of them has.

    Attributes:
        index: Ids, patients, labels and splits; its records name no files.
        pictures: By input, ``image`` or ``image_2``, the cases that have it, with their files.
        numbers: Columns of numbers (N, P), NaN where missing, rows as in ``index.records``.
        codes: Columns of categories (N, Q) as `category_code` has them.
        texts: Report of each case, blank where there is none; empty if the data set has no reports.
        copies: Sets of case ids that must share a fold.
    """

    index: ImageIndex
    pictures: Mapping[str, ImageIndex]
    numbers: NDArray[np.float32]
    codes: NDArray[np.int64]
    texts: tuple[str, ...] = ()
    copies: tuple[frozenset[str], ...] = ()


class FusionSet(ImageSet):
    """One layout of cases with several inputs."""

    @property
    @abstractmethod
    def inputs(self) -> tuple[str, ...]:
        """What cases can have: some of ``image``, ``image_2``, ``table``, ``text``."""

    @property
    def schema(self) -> Schema:
        """The columns of the table; none by default."""
        return Schema()

    @abstractmethod
    def cases(self, root: Path, *, labelled: bool = True) -> FusionCases:
        """List the cases with all that they have.

        Args:
            root: Folder or file of the data set.
            labelled: Read labels and splits too; without them a table of new cases will do.

        Raises:
            DataError: If a table or a file is missing, or cases cannot be used.
        """

    def index(self, root: Path) -> ImageIndex:
        """List the cases."""
        return self.cases(root).index

    def unlabelled(self, root: Path) -> ImageIndex:
        """List the cases below another root, without their labels."""
        return self.cases(root, labelled=False).index


@dataclass(frozen=True)
class FusionColumns:
    """Which column of a table holds what. A blank field is a missing one.

    Attributes:
        id: Case id, unique.
        patient: Patient, so that no patient is split.
        labels: As `medimg.datasets.TableColumns` has them.
        images: By input, ``image`` and ``image_2``, the column with the path below the root: a file, or for volumes
            also the folder of a DICOM series.
        numeric: Columns of numbers.
        categorical: By column the values that are told apart; any other value counts as unknown.
        text: Columns with the text of a report, joined in this order.
        text_file: Column with the path of a text file below the root, in UTF-8, which follows.
        fold: Fold in which the case validates.
        weight: How much the case counts in the loss.
        split: ``train``, ``val`` or ``test``.
    """

    id: str
    patient: str
    labels: tuple[str, ...] = ()
    images: dict[str, str] = field(default_factory=dict)
    numeric: tuple[str, ...] = ()
    categorical: dict[str, tuple[str, ...]] = field(default_factory=dict)
    text: tuple[str, ...] = ()
    text_file: str | None = None
    fold: str | None = None
    weight: str | None = None
    split: str | None = None


@dataclass(frozen=True)
class FusionTable(FusionSet):
    """Cases that one table lists: a row a case, its columns named in the config.

    Attributes:
        file: The table, ``.csv`` or ``.tsv``, plain, gzipped or zipped; below the root unless it is absolute.
        columns: Which column holds what.
        task: What kind of labels the cases have.
        classes: Names of the labels; by default those of the columns, or the values found.
        missing: What to do with a file that is named and not there: ``error``, or ``skip`` the file, not the case.
    """

    file: Path
    columns: FusionColumns
    task: Task = "binary"
    classes: tuple[str, ...] = ()
    missing: Missing = "error"

    def __post_init__(self) -> None:
        if wrong := sorted(set(self.columns.images) - set(PICTURES)):
            raise ConfigError(f"columns.images: expected {' and '.join(PICTURES)}, found {', '.join(wrong)}")
        if self.missing not in ("error", "skip"):
            raise ConfigError(f"missing: expected error or skip, found {self.missing}")
        seen = self.schema.columns
        if target := sorted(set(seen) & set(self.columns.labels)):
            raise ConfigError(f"columns: {', '.join(target)} is a label and an input at once")
        if len(set(seen)) < len(seen):
            raise ConfigError(f"columns: a column stands twice in {', '.join(seen)}")

    @property
    def inputs(self) -> tuple[str, ...]:
        """What the columns name."""
        columns = self.columns
        has = {
            **dict.fromkeys(columns.images, True),
            "table": bool(self.schema.columns),
            "text": bool(columns.text or columns.text_file),
        }
        return tuple(name for name in (*PICTURES, "table", "text") if has.get(name))

    @property
    def schema(self) -> Schema:
        """The columns of numbers and categories."""
        return Schema(self.columns.numeric, {k: tuple(v) for k, v in self.columns.categorical.items()})

    def cases(self, root: Path, *, labelled: bool = True) -> FusionCases:
        """List the rows of the table.

        Raises:
            DataError: If columns are missing, or for all faults of the rows together.
        """
        root, columns = Path(root), self.columns
        index = self._index(root, labelled=labelled)
        rows = _Rows(root, root / self.file, columns, self.missing)
        order = [record.case_id for record in index.records]
        found = rows.read(order)
        pictures = {}
        for name in columns.images:
            records = tuple(
                replace(record, images=files, group=None)
                for record, files in zip(
                    index.records, (found.files[name].get(i) for i in order), strict=True
                )
                if files
            )
            pictures[name] = replace(index, name=f"{index.name}-{name}", records=records, folds=())
        texts = tuple(found.texts[i] for i in order) if "text" in self.inputs else ()
        return FusionCases(index, pictures, found.numbers, found.codes, texts)

    def _index(self, root: Path, *, labelled: bool) -> ImageIndex:
        """Ids, labels and splits, read as those of images are; the id stands in for a path and is dropped again."""
        columns = self.columns
        known = TableColumns(columns.id, columns.patient, (columns.id,))
        if labelled:
            known = replace(
                known, labels=columns.labels, fold=columns.fold, weight=columns.weight, split=columns.split
            )
        index = index_table(
            root / self.file, root, columns=known, task=self.task, classes=self.classes, missing="keep"
        )
        return replace(index, records=tuple(replace(record, images=()) for record in index.records))


@dataclass
class _Found:
    files: dict[str, dict[str, tuple[Path, ...]]]
    texts: dict[str, str]
    numbers: NDArray[np.float32]
    codes: NDArray[np.int64]


class _Rows:
    """Reads the inputs of each row, and refuses together what cannot be used."""

    def __init__(self, root: Path, table: Path, columns: FusionColumns, missing: Missing) -> None:
        self.files, self.table, self.columns, self.missing = ImageFiles(root), table, columns, missing
        self.faults: list[str] = []
        self.absent: list[str] = []
        self.unknown: dict[str, int] = {}

    def read(self, order: Sequence[str]) -> _Found:
        columns = self.columns
        wanted = [columns.id, *columns.images.values(), *columns.numeric, *columns.categorical, *columns.text]
        wanted = list(dict.fromkeys([*wanted, *([columns.text_file] if columns.text_file else [])]))
        at = {case: row for row, case in enumerate(order)}
        found = _Found(
            {name: {} for name in columns.images},
            {},
            np.full((len(order), len(columns.numeric)), np.nan, np.float32),
            np.zeros((len(order), len(columns.categorical)), np.int64),
        )
        for line, values in read_table(self.table).select(wanted):
            row = dict(zip(wanted, values, strict=True))
            case = row[columns.id]
            try:
                for name, column in columns.images.items():
                    found.files[name][case] = self._path(row[column])
                found.texts[case] = self._text(row)
                found.numbers[at[case]] = [_number(name, row[name]) for name in columns.numeric]
            except (DataError, ValueError) as error:
                self.faults.append(f"line {line}: {error}")
            found.codes[at[case]] = [self._code(name, row[name]) for name in columns.categorical]
        self._tell(len(order))
        return found

    def _path(self, name: str) -> tuple[Path, ...]:
        """Files of a picture; none where the field is blank, or the file is missing and may be."""
        name = name.replace("\\", "/").removeprefix("./")
        if name.lower() in _BLANK:
            return ()
        path = self.files.find(name)
        if path is None and (folder := self.files.path(name)).is_dir():
            # pydicom is loaded for those who need it.
            from medimg.io.dicom.grouping import choose_series, find_series

            return choose_series(find_series(folder), None, folder).files
        if path is None:
            self.absent.append(name)
            return ()
        return (path,)

    def _text(self, row: Mapping[str, str]) -> str:
        parts = [row[column] for column in self.columns.text]
        if self.columns.text_file and (paths := self._path(row[self.columns.text_file])):
            try:
                parts.append(paths[0].read_text(encoding="utf-8").strip())
            except (OSError, UnicodeError) as error:
                raise DataError(f"{paths[0]} cannot be read as UTF-8 text ({error})") from error
        return " ".join(part for part in parts if part)

    def _code(self, column: str, value: str) -> int:
        blank = value.lower() in _BLANK and value not in self.columns.categorical[column]
        code = category_code("" if blank else value, self.columns.categorical[column])
        if code == 1:
            self.unknown[column] = self.unknown.get(column, 0) + 1
        return code

    def _tell(self, count: int) -> None:
        if self.absent and self.missing == "error":
            self.faults.append(
                f"{len(self.absent)} files are not there, the first {self.files.root / self.absent[0]}; set missing to "
                "skip to go on without them"
            )
        if self.faults:
            more = [f"  ... and {len(self.faults) - _SHOWN} more"] if len(self.faults) > _SHOWN else []
            lines = [f"  {fault}" for fault in self.faults[:_SHOWN]]
            raise DataError(
                "\n".join([f"{self.table}: {len(self.faults)} faults:", *lines, *more, "Mend them."])
            )
        if self.absent:
            logger.warning("%s: %d files are not there and count as missing", self.table, len(self.absent))
        for column, times in self.unknown.items():
            logger.warning(
                "%s: %d of %d values of %s are none of %s and count as unknown",
                self.table,
                times,
                count,
                column,
                ", ".join(self.columns.categorical[column]),
            )


def _number(column: str, text: str) -> float:
    if text.lower() in _BLANK:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.inf
    if not math.isfinite(value):
        raise ValueError(f"{column} is {text!r}; expected a number, or blank where it is missing")
    return value


def category_code(value: str, values: Sequence[str]) -> int:
    """Code of a category's value.

    Args:
        value: The field, stripped; blank: missing.
        values: The named values.

    Example:
        >>> [category_code(value, ("F", "M")) for value in ("", "x", "F", "M")]
        [0, 1, 2, 3]
    """
    if not value:
        return 0
    return FIRST_VALUE + list(values).index(value) if value in values else 1


def present_inputs(cases: FusionCases) -> dict[str, frozenset[str]]:
    """Ids of the cases that have each input; a row of the table counts if any of its fields is known.

    Args:
        cases: What a `FusionSet` listed.
    """
    ids = [record.case_id for record in cases.index.records]
    known: list[bool] = np.logical_or((~np.isnan(cases.numbers)).any(1), (cases.codes > 0).any(1)).tolist()
    return {
        **{name: frozenset(r.case_id for r in index.records) for name, index in cases.pictures.items()},
        "table": frozenset(case for case, has in zip(ids, known, strict=True) if has),
        "text": frozenset(
            case for case, text in zip(ids, cases.texts or [""] * len(ids), strict=True) if text
        ),
    }
