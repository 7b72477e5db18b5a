"""A submission's table: read, checked against the sample, written."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medimg.datasets.image_table import Table, read_table
from medimg.errors import DataError
from medimg.io.files import atomic_write
from medimg.scoring.answers import probability
from medimg.scoring.embolism import EXAM_LABELS
from medimg.submission.faults import Faults
from medimg.submission.formats import TableFormat
from medimg.submission.ids import check_blanks, check_ids, unique_ids
from medimg.submission.pulmonary_embolism import broken_rules, enforce


@dataclass(frozen=True, slots=True)
class Sheet:
    """Rows of a submission.

    Attributes:
        header: Column of the ids, then the K columns of the values.
        ids: Id of each of the N rows.
        values: Probabilities, NaN where there is none, shape (N, K).
    """

    header: tuple[str, ...]
    ids: tuple[str, ...]
    values: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the sample asks for.

    Attributes:
        header: Column of the ids, then those of the values.
        ids: Ids in order; empty where the sample holds none, as those of hidden test sets do.
    """

    header: tuple[str, ...]
    ids: tuple[str, ...]


def read_asked(path: Path, layout: TableFormat) -> Asked:
    """Read ``sample_submission.csv``.

    Raises:
        DataError: If it cannot be read, has other columns than the format, or an id stands twice.
    """
    table = read_table(path)
    _check_header(table, layout)
    return Asked(table.header, unique_ids(path, [ids[0] for _, ids in table.select(table.header[:1])]))


def read_sheet(path: Path, layout: TableFormat, faults: Faults) -> Sheet:
    """Read a submission's table, noting values that are no probabilities.

    Raises:
        DataError: If it cannot be read or has other columns than the format.
    """
    table = read_table(path)
    _check_header(table, layout)
    check_blanks(table, table.header[:1], faults)
    ids = tuple(ids[0] for _, ids in table.select(table.header[:1]))
    return Sheet(table.header, ids, probabilities(table, ids, table.header[1:], faults))


def _check_header(table: Table, layout: TableFormat) -> None:
    expected = (layout.ids, *layout.columns)
    if layout.ids and table.header != expected:
        raise DataError(
            f"{table.path}: expected the columns {','.join(expected)}, found {','.join(table.header)}. "
            "Check the file and --format."
        )
    if len(table.header) < 2:
        raise DataError(f"{table.path}: expected an id and a value, found only {table.header[0]}.")


def probabilities(
    table: Table, ids: Sequence[str], columns: Sequence[str], faults: Faults
) -> NDArray[np.float64]:
    """Read columns of a table as numbers, noting each that is no probability.

    Args:
        table: The table.
        ids: What each row is called.
        columns: The K columns.
        faults: Takes the faults.

    Returns:
        The probabilities, NaN where there is none, shape (N, K).
    """
    values = np.full((len(ids), len(columns)), np.nan)
    for row, (name, (_, fields)) in enumerate(zip(ids, table.select(columns), strict=True)):
        for column, field in enumerate(fields):
            try:
                values[row, column] = probability(field)
            except DataError as fault:
                faults.add(str(fault), f"{name}, column {columns[column]}: {field[:40] or 'blank'}")
    return values


def check_sheet(
    sheet: Sheet, layout: TableFormat, asked: Asked | None, faults: Faults, *, ordered: bool
) -> None:
    """Note faults of columns and ids.

    Args:
        sheet: The rows.
        layout: What the competition asks for.
        asked: The sample, if there is one.
        faults: Takes the faults.
        ordered: Expect the order of the sample too.
    """
    if asked is not None and sheet.header != asked.header:
        faults.add(
            "other columns than the sample's", f"{','.join(sheet.header)}, not {','.join(asked.header)}"
        )
    if not sheet.ids:
        faults.add("no rows", "the table is empty")
    ids = asked.ids if asked else ()
    check_ids(sheet.ids, ids, faults, ordered=ordered)
    pattern = re.compile(layout.pattern)
    for name in sheet.ids:
        if not pattern.fullmatch(name):
            faults.add(f"ids unlike {layout.pattern}", repr(name))
    if layout.labels and not ids:
        _check_groups(sheet.ids, layout.labels, faults)


def _check_groups(ids: Sequence[str], labels: Sequence[str], faults: Faults) -> None:
    """Without a sample, at least every case has a row for each label."""
    found: dict[str, set[str]] = {}
    longest_first = sorted(labels, key=len, reverse=True)  # chronic_pe ends acute_and_chronic_pe
    for name in ids:
        label = next((label for label in longest_first if name.endswith(f"_{label}")), None)
        if label is not None:
            found.setdefault(name.removesuffix(f"_{label}"), set()).add(label)
    for case, present in found.items():
        if missing := [label for label in labels if label not in present]:
            faults.add("cases without a row for each label", f"{case} lacks {', '.join(missing)}")


def ordered_as(sheet: Sheet, asked: Asked) -> Sheet:
    """The rows in the order of the sample, or sorted where the sample holds none.

    Args:
        sheet: Rows without faults.
        asked: The sample.
    """
    place = {name: row for row, name in enumerate(sheet.ids)}
    ids = asked.ids or tuple(sorted(place))
    return Sheet(asked.header, ids, sheet.values[[place[name] for name in ids]])


def write_sheet(path: Path, sheet: Sheet) -> None:
    """Write the table as CSV, whole or not at all, numbers at full precision.

    Raises:
        ResourceError: If it cannot be written.
    """
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(sheet.header)
        for name, row in zip(sheet.ids, sheet.values.tolist(), strict=True):
            writer.writerow([name, *row])


def exam_ids(exams: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Rows that exams of RSNA PE ask for: nine an exam, and one an image.

    Example:
        >>> exam_ids({"s": ["i"]})[-3:]
        ('s_rv_lv_ratio_gte_1', 's_rv_lv_ratio_lt_1', 'i')
    """
    labels = [f"{study}_{label}" for study in exams for label in EXAM_LABELS]
    return (*labels, *(image for images in exams.values() for image in images))


def check_exams(sheet: Sheet, exams: Mapping[str, Sequence[str]], faults: Faults) -> None:
    """Note exams of RSNA PE that contradict themselves.

    Args:
        sheet: Rows of exams and images.
        exams: Images of each exam; empty where they are not known.
        faults: Takes the faults.
    """
    for study, labels, images in _exams(sheet, exams):
        for broken in broken_rules(labels, images):
            faults.add("inconsistent exams", f"{study}: {broken}")


def enforce_exams(sheet: Sheet, exams: Mapping[str, Sequence[str]]) -> tuple[Sheet, int]:
    """Make all exams of RSNA PE consistent; see ``pulmonary_embolism.enforce``.

    Returns:
        The rows, and how many exams were changed.
    """
    place = {name: row for row, name in enumerate(sheet.ids)}
    values, changed = sheet.values.copy(), 0
    for study, labels, images in _exams(sheet, exams):
        exam, pictures = enforce(labels, images)
        changed += exam != labels or pictures != images
        for label, value in exam.items():
            values[place[f"{study}_{label}"]] = value
        for image, value in zip(exams[study], pictures, strict=True):
            values[place[image]] = value
    return replace(sheet, values=values), changed


def _exams(
    sheet: Sheet, exams: Mapping[str, Sequence[str]]
) -> list[tuple[str, dict[str, float], list[float]]]:
    """Labels and images of each exam that has all its rows; what is missing is another fault."""
    value = dict(zip(sheet.ids, sheet.values[:, 0].tolist(), strict=True))
    found = []
    for study, images in exams.items():
        rows = [f"{study}_{label}" for label in EXAM_LABELS]
        if all(row in value for row in (*rows, *images)):
            labels = {label: value[row] for label, row in zip(EXAM_LABELS, rows, strict=True)}
            found.append((study, labels, [value[image] for image in images]))
    return found
