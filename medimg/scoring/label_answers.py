"""Bring predictions of labels and their truth together, from a competition's tables or from medimg's own."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medimg.errors import DataError
from medimg.scoring.answers import (
    Line,
    fault_list,
    grade,
    need_columns,
    probability,
    read_answers,
    read_lines,
)
from medimg.scoring.label_forms import LabelForm
from medimg.scoring.label_table import PROB_PREFIX, TARGET_PREFIX, label_row
from medimg.scoring.ranking import FloatArray
from medimg.scoring.table import CASE_COLUMN, PATIENT_COLUMN, Row

_UNKNOWN = {"", "nan", "-1", "-1.0"}


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where the predictions stand.

    Attributes:
        house: Whether the table is a ``per_case.csv``.
        targets: Whether it holds its own targets.
        id_column: Column of the ids.
        probs: Columns of the predictions.
        labels: Names of the labels in the result.
        truths: For each label, the names that its column in the reference may have.
    """

    house: bool
    targets: bool
    id_column: str
    probs: tuple[str, ...]
    labels: tuple[str, ...]
    truths: tuple[tuple[str, str], ...]


def read_label_answers(pred: Path, ref: Path | None, form: LabelForm) -> list[Row]:
    """Read both sides of every case.

    Args:
        pred: Predictions in the competition's form, or a ``per_case.csv``.
        ref: The competition's table of labels, or a table of ``case_id`` and ``target_<label>``; ``None`` takes
            the targets of the ``per_case.csv``.
        form: How the competition writes its tables.

    Returns:
        Rows of ``medimg.scoring.label_table``, one a case, in the order of the reference; grades as one-hot
        classes.

    Raises:
        DataError: If a column or an id is missing, doubled or unknown, or a value cannot be read.
    """
    columns = _columns(pred, form)
    if ref is None and not columns.targets:
        raise DataError(
            f"{pred}: expected a per_case.csv with {CASE_COLUMN}, {TARGET_PREFIX}<label> and {PROB_PREFIX}<label>, "
            "where no reference is named. Give the table of labels behind it."
        )
    ids, patients, targets = _read_truth(ref or pred, form, columns)
    long = bool(form.long) and not columns.house
    graded = bool(form.grades) and not columns.house
    values = read_answers(
        pred,
        [f"{name}_{label}" for name in ids for label in form.labels] if long else ids,
        columns.probs,
        key=lambda line: line[columns.id_column],
        key_columns=[columns.id_column],
        parse=lambda text, _: float(grade(text, form.grades)) if graded else probability(text),
        hint=form.hint,
    )
    probs = np.array(values).reshape(len(ids), -1)  # (N, K), one column for grades
    truth = np.array(targets)
    rows = zip(
        ids,
        patients,
        _one_hot(probs[:, 0], form.grades) if graded else probs,
        _one_hot(truth[:, 0], form.grades) if form.grades and truth.shape[1] == 1 else truth,
        strict=True,
    )
    return [label_row(name, patient, columns.labels, prob, target) for name, patient, prob, target in rows]


def _one_hot(grades: FloatArray, n: int) -> FloatArray:
    """Grades (N,), NaN where unknown, as classes (N, n)."""
    return np.where(np.isnan(grades)[:, None], np.nan, grades[:, None] == np.arange(n))


def _columns(path: Path, form: LabelForm) -> _Columns:
    line = next(read_lines(path))
    names = [column.removeprefix(PROB_PREFIX) for column in line if column.startswith(PROB_PREFIX)]
    house = CASE_COLUMN in line and bool(names)
    if not house:
        if form.long:
            need_columns(path, line, form.long, "the predictions")
            truths = _truths(form.labels, form.labels)
            return _Columns(False, False, form.long[0], form.long[1:], form.labels, truths)
        id_column = form.id_column or next(iter(line))
        labels = form.labels or tuple(column for column in line if column not in (id_column, PATIENT_COLUMN))
        need_columns(path, line, [id_column, *labels], "the predictions")
        shown = tuple(str(number) for number in range(form.grades)) or labels
        return _Columns(False, False, id_column, labels, shown, _truths(labels, labels))
    if len(form.labels) > 1:
        names = list(form.labels)
    wanted = form.grades or len(form.labels)
    if wanted and len(names) != wanted:
        raise DataError(
            f"{path}: expected {wanted} column(s) {PROB_PREFIX}<label> for this metric, found {len(names)}: "
            f"{', '.join(names)}. Name another table or another --metric."
        )
    probs = tuple(PROB_PREFIX + name for name in names)
    own = form.labels if len(form.labels) == len(names) else names
    targets = all(TARGET_PREFIX + name in line for name in names)
    return _Columns(True, targets, CASE_COLUMN, probs, tuple(names), _truths(own, names))


def _truths(labels: Sequence[str], names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    return tuple((label, TARGET_PREFIX + name) for label, name in zip(labels, names, strict=True))


def _read_truth(
    path: Path, form: LabelForm, columns: _Columns
) -> tuple[list[str], list[str], list[list[float]]]:
    """Ids, patients and targets (N, K) of the reference; K is 1 for a column of grades."""
    found: dict[str, tuple[str, list[float]]] = {}
    faults: dict[str, list[str]] = {}
    id_columns: list[str] = []
    shown: list[str] = []
    for line in read_lines(path):
        if not id_columns:
            id_columns, shown = _id_columns(line, form), _truth_columns(line, form, columns)
            need_columns(path, line, [*id_columns, *shown], "the reference")
        name = "_".join(line[column] for column in id_columns)
        patient = line.get(form.patient_column) or line.get(PATIENT_COLUMN) or ""
        try:
            targets = [_target(line[column], column, form) for column in shown]
        except DataError as fault:
            faults.setdefault(f"label {fault}", []).append(name)
            continue
        other = found.setdefault(name, (patient, targets))
        if not np.array_equal(other[1], targets, equal_nan=True):
            faults.setdefault("that stand twice with different labels", []).append(name)
    if faults:
        raise DataError(fault_list(path, faults))
    return list(found), [patient for patient, _ in found.values()], [targets for _, targets in found.values()]


def _id_columns(line: Line, form: LabelForm) -> list[str]:
    if form.id_column in line:
        return [form.id_column]
    if form.id_parts and all(part in line for part in form.id_parts):
        return list(form.id_parts)
    if CASE_COLUMN in line:
        return [CASE_COLUMN]
    return [form.id_column or next(iter(line))]


def _truth_columns(line: Line, form: LabelForm, columns: _Columns) -> list[str]:
    """Columns of the reference: one a label, or one of grades."""
    if form.grades and form.labels[0] in line:
        return list(form.labels)
    return [next((name for name in names if name in line), names[0]) for names in columns.truths]


def _target(text: str, column: str, form: LabelForm) -> float:
    """1 or 0, a share between in ``target_`` columns, NaN where unknown."""
    if text.lower() in _UNKNOWN:
        return math.nan
    if form.grades and column in form.labels:
        return grade(text, form.grades)
    value = probability(text)
    if value not in (0, 1) and not column.startswith(TARGET_PREFIX):
        raise DataError("neither 0 nor 1")
    return value


def patients_of(rows: Sequence[Row]) -> list[str]:
    """Patient of each row; a case without one is its own.

    Example:
        >>> patients_of([{"case_id": "a", "patient_id": ""}])
        ['a']
    """
    return [str(row.get(PATIENT_COLUMN) or row[CASE_COLUMN]) for row in rows]
