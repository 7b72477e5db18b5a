"""Any data set that is a table and a folder of images: the columns are named in the config."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medimg.datasets.image_cases import ImageCases, Missing, label_value, split_name
from medimg.datasets.image_set import ImageSet
from medimg.datasets.image_table import Table, read_table
from medimg.errors import ConfigError, DataError
from medimg.records import ImageIndex, Record, TableColumns, Task

_FIELD = re.compile(r"\{([^{}]+)\}")
_UNKNOWN = {"", "-1"}  # fields of a class column that say no class


@dataclass(frozen=True)
class ImageTable(ImageSet):
    """Images listed in a table: id, patient, group, files, labels, fold and weight.

    Attributes:
        file: The table, ``.csv`` or ``.tsv``, plain, gzipped or zipped; below the root unless it is absolute.
        columns: Which column holds what.
        task: What kind of labels the cases have.
        classes: Names of the labels; by default those of the columns, or the values found.
        missing: What to do with a case whose image is not there: ``error``, or ``skip`` it and say how many.
        mask_classes: Whether a mask holds the value of a class in each pixel, 255 where it is unknown, and not only
            inside and outside.
    """

    file: Path
    columns: TableColumns
    task: Task = "binary"
    classes: tuple[str, ...] = ()
    missing: Missing = "error"
    mask_classes: bool = False

    def index(self, root: Path) -> ImageIndex:
        """List the rows of the table."""
        return index_table(
            root / self.file,
            root,
            columns=self.columns,
            task=self.task,
            classes=self.classes,
            missing=self.missing,
        )


def index_table(
    table: Path,
    root: Path,
    *,
    columns: TableColumns,
    task: Task = "binary",
    classes: Sequence[str] = (),
    missing: Missing = "error",
    name: str | None = None,
) -> ImageIndex:
    """Index the rows of a table, a case each.

    Args:
        table: A ``.csv`` or ``.tsv``, plain, gzipped or zipped.
        root: Folder below which all images lie.
        columns: Which column holds what.
        task: ``binary`` (one label), ``multilabel`` or ``multiclass``.
        classes: Names of the labels, one a label column in their order, or every value of the class column;
            by default the names of the columns, or the values found.
        missing: What to do with a row whose image is not there: ``error``, ``skip`` or ``keep``.
        name: Name of the data set; by default the table's.

    Returns:
        The index; its folds come from the fold column.

    Raises:
        DataError: If columns are missing, or for all faults of the rows together.
        ConfigError: If task, label columns and classes do not fit together.
    """
    content = read_table(table)
    labels = tuple(columns.labels)
    by_class = task == "multiclass" and len(labels) == 1
    names = tuple(classes) or (_values_of(content, labels[0]) if by_class else labels)
    _check_fit(task, labels, names, by_class)
    cases = ImageCases(root, content.path, missing)
    folds: dict[str, str] = {}
    wanted = _Wanted(columns)
    for line, values in content.select(wanted.columns):
        row = dict(zip(wanted.columns, values, strict=True))
        try:
            found = _class_labels(row, labels[0], names) if by_class else _labels(row, labels, names)
            if task == "multiclass" and not by_class:
                _expect_one_hot(found)
            split = split_name(_field(row, columns.split, "split", split_name))
            weight = _field(row, columns.weight, "weight", _weight)
            position = _field(row, columns.position, "position", _position)
        except ValueError as error:
            cases.fault(line, str(error))
            continue
        case_id = _fill(columns.id, row)
        if columns.fold and row[columns.fold]:
            folds[case_id] = row[columns.fold]
        cases.add(
            case_id,
            _fill(columns.patient, row),
            [_path(template, row) for template in columns.images],
            where=line,
            labels=found,
            group=(_fill(columns.group, row) or None) if columns.group else None,
            split=split,
            weight=_weight(weight),
            mask=(_path(columns.mask, row) or None) if columns.mask else None,
            position_mm=_position(position),
        )
    records = cases.records()
    return ImageIndex(
        name or content.path.name.partition(".")[0], Path(root), task, names, records, _folds(records, folds)
    )


class _Wanted:
    """Every column that is read, once each."""

    def __init__(self, columns: TableColumns) -> None:
        named = [
            *columns.labels,
            *(c for c in (columns.fold, columns.weight, columns.split, columns.position) if c),
        ]
        for template in (
            columns.id,
            columns.patient,
            columns.group or "",
            columns.mask or "",
            *columns.images,
        ):
            named += _FIELD.findall(template) if "{" in template else [template] if template else []
        if not columns.images:
            raise ConfigError("columns.images: expected at least one column of image paths, found none")
        self.columns = list(dict.fromkeys(named))


def _check_fit(task: Task, labels: Sequence[str], names: Sequence[str], by_class: bool) -> None:
    if task == "binary" and len(names) > 1:
        raise ConfigError(
            f"columns.labels: a binary task has one label, found {', '.join(names)}. Set task to multilabel, "
            "or to multiclass if exactly one of them is 1 in each row."
        )
    if labels and not by_class and len(labels) != len(names):
        raise ConfigError(
            f"classes: expected one name for each of the {len(labels)} label columns, found {len(names)}: "
            f"{', '.join(names)}"
        )
    if len(set(names)) < len(names):
        raise ConfigError(f"classes: a name stands twice in {', '.join(names)}")


def _values_of(table: Table, column: str) -> tuple[str, ...]:
    found = {value for _, (value,) in table.select([column])} - _UNKNOWN
    if all(value.isdecimal() for value in found):
        return tuple(sorted(found, key=int))
    return tuple(sorted(found))


def _labels(row: dict[str, str], columns: Sequence[str], names: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for column, name in zip(columns, names if columns else (), strict=True):  # a test set has no columns
        try:
            found[name] = label_value(row[column])
        except ValueError:
            raise ValueError(
                f"the label {column} is {row[column]!r}; expected 1, 0, a number between, -1 or blank"
            ) from None
    return found


def _class_labels(row: dict[str, str], column: str, names: Sequence[str]) -> dict[str, float]:
    value = row[column]
    if value in _UNKNOWN:
        return dict.fromkeys(names, math.nan)
    # Classes named in the config may be numbered in the table, unless their names are numbers themselves.
    if value.isdecimal() and int(value) < len(names) and not any(name.isdecimal() for name in names):
        value = names[int(value)]
    if value not in names:
        raise ValueError(f"the class {column} is {value!r}; expected one of {', '.join(names)}")
    return {name: float(name == value) for name in names}


def _expect_one_hot(labels: dict[str, float]) -> None:
    known = [value for value in labels.values() if not math.isnan(value)]
    if known and (len(known) < len(labels) or abs(sum(known) - 1) > 1e-3):
        raise ValueError(
            f"the classes sum to {sum(known):g}; a multi-class row has one class of 1, or none known at all"
        )


def _field(row: dict[str, str], column: str | None, what: str, check: object) -> str:
    """A field that may have no column, checked."""
    value = row[column] if column else ""
    try:
        check(value)  # type: ignore[operator]
    except ValueError:
        raise ValueError(f"the {what} is {value!r}") from None
    return value


def _weight(text: str) -> float:
    weight = float(text) if text else 1.0
    if not 0 <= weight < math.inf:
        raise ValueError(text)
    return weight


def _position(text: str) -> float | None:
    place = float(text) if text else None
    if place is not None and not math.isfinite(place):
        raise ValueError(text)
    return place


def _fill(template: str, row: dict[str, str]) -> str:
    """A column's field, or a text whose braces name columns. Blank fields leave the whole blank."""
    if "{" not in template:
        return row[template]
    named = _FIELD.findall(template)
    return _FIELD.sub(lambda match: row[match[1]], template) if all(row[name] for name in named) else ""


def _path(template: str, row: dict[str, str]) -> str:
    """A path that columns spell; tables written on Windows have backslashes."""
    return _fill(template, row).replace("\\", "/").removeprefix("./")


def _folds(
    records: Sequence[Record], fold_of: dict[str, str]
) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    values = {fold_of[r.case_id] for r in records if r.case_id in fold_of}
    if not values:
        return ()
    if len(values) == 1:
        raise DataError(f"the fold column holds one fold only, {values.pop()!r}; two are the least")
    order = sorted(
        values, key=lambda value: (not value.isdecimal(), int(value) if value.isdecimal() else 0, value)
    )
    ids = [record.case_id for record in records if record.split != "test"]
    return tuple(
        (tuple(i for i in ids if fold_of.get(i) != value), tuple(i for i in ids if fold_of.get(i) == value))
        for value in order
    )
