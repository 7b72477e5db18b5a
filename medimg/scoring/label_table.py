"""The per-case table of a classification test, and the numbers that are made from it.

A row is a case: ``case_id``, ``patient_id`` and, for each label, ``target_<label>`` and ``prob_<label>``. A binary
task has one pair, the positive label; exclusive classes have a pair a class with one-hot targets, so that the
file explains itself without a list of classes. A blank or NaN target is unknown. A prediction of cases
without labels is the same table without targets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medimg.errors import DataError
from medimg.records import Task
from medimg.scoring.classification import THRESHOLD
from medimg.scoring.confusion import known_classes
from medimg.scoring.label_bootstrap import ClassScores, LabelScores, PatientDraws, resample_scores
from medimg.scoring.label_summary import LabelSummary, count_labels, label_rows, macro_row, overall_rows
from medimg.scoring.ranking import BoolArray, FloatArray
from medimg.scoring.table import CASE_COLUMN, PATIENT_COLUMN, Row, deduplicate, read_per_case, write_per_case

TARGET_PREFIX = "target_"
PROB_PREFIX = "prob_"

# Of exclusive classes these describe all together; one by one they would need a threshold of their own.
_TOGETHER = ("accuracy", "balanced_accuracy", "kappa", "brier", "pf1")


@dataclass(frozen=True, slots=True)
class LabelArrays:
    """A table as arrays, one row a case, sorted by case id.

    Attributes:
        case_ids: Name of each case.
        patient_ids: Patient of each case; a case without one is its own.
        labels: Names of the K labels, in the order of the columns.
        target: 1, 0, a share between for soft labels, NaN where unknown, shape (N, K).
        prob: Probabilities of shape (N, K).
    """

    case_ids: tuple[str, ...]
    patient_ids: tuple[str, ...]
    labels: tuple[str, ...]
    target: FloatArray
    prob: FloatArray

    @property
    def truth(self) -> FloatArray:
        """Targets of 1, 0 or NaN, a soft one counting as positive from 0.5: what scores and curves take."""
        return np.where(np.isnan(self.target), np.nan, self.target >= 0.5)


def label_row(
    case_id: str,
    patient_id: str,
    labels: Sequence[str],
    prob: npt.ArrayLike,
    target: npt.ArrayLike | None = None,
) -> Row:
    """Make the row of one case.

    Args:
        case_id: Name of the case.
        patient_id: Name of its patient.
        labels: Names of the K labels; for a binary task the positive one alone.
        prob: Probability of each label, shape (K,).
        target: 1, 0, a share between, or NaN or -1 where unknown, shape (K,), one-hot for exclusive
            classes; ``None`` for a prediction without truth.

    Returns:
        ``case_id``, ``patient_id``, then ``target_<label>`` and ``prob_<label>`` label by label.

    Raises:
        ValueError: If the numbers of labels, probabilities and targets differ.

    Example:
        >>> label_row("a", "p", ["mass"], [0.25], [1])
        {'case_id': 'a', 'patient_id': 'p', 'target_mass': 1.0, 'prob_mass': 0.25}
    """
    probs = np.asarray(prob, np.float64).tolist()
    row: Row = {CASE_COLUMN: case_id, PATIENT_COLUMN: patient_id}
    if target is None:
        return row | {f"{PROB_PREFIX}{name}": value for name, value in zip(labels, probs, strict=True)}
    truth = np.asarray(target, np.float64)
    truth = np.where(truth == -1, np.nan, truth).tolist()
    for name, known, value in zip(labels, truth, probs, strict=True):
        row[f"{TARGET_PREFIX}{name}"], row[f"{PROB_PREFIX}{name}"] = known, value
    return row


def write_label_table(path: Path, rows: Sequence[Row]) -> None:
    """Write the table as CSV, whole or not at all: sorted by case id, each case once, full precision.

    Raises:
        DataError: If there are no rows, columns differ, or a case stands twice with different values.
    """
    write_per_case(path, rows)


def read_label_table(path: Path) -> list[Row]:
    """Read a table that ``write_label_table`` wrote, with or without targets.

    Raises:
        DataError: If the file is missing, lacks ``case_id`` or any ``prob_<label>`` column, or holds a word
            where a number belongs.
    """
    rows = read_per_case(path)
    if not any(column.startswith(PROB_PREFIX) for column in rows[0]):
        raise DataError(
            f"{path}: expected columns {PROB_PREFIX}<label>, found {', '.join(rows[0])}. "
            "Name the per_case.csv of a classification run."
        )
    return rows


def label_arrays(rows: Sequence[Row]) -> LabelArrays:
    """Turn rows into arrays, for scores, curves and thresholds.

    Args:
        rows: Rows with targets; a case that stands twice counts once.

    Returns:
        Arrays sorted by case id.

    Raises:
        DataError: If there are no rows, a label lacks its target column, a target is outside [0, 1] or a
            probability is missing or outside [0, 1]; the case and column are named.

    Example:
        >>> arrays = label_arrays([label_row("a", "", ["mass"], [0.25], [-1])])
        >>> arrays.labels, arrays.patient_ids, arrays.target, arrays.prob
        (('mass',), ('a',), array([[nan]]), array([[0.25]]))
    """
    unique = deduplicate(rows)
    labels = tuple(name.removeprefix(PROB_PREFIX) for name in unique[0] if name.startswith(PROB_PREFIX))
    missing = [name for name in labels if f"{TARGET_PREFIX}{name}" not in unique[0]]
    if missing or not labels:
        raise DataError(
            f"expected {TARGET_PREFIX}<label> and {PROB_PREFIX}<label> columns, found {', '.join(unique[0])}. "
            "Predictions without targets cannot be scored: run test on labelled cases."
        )
    return LabelArrays(
        case_ids=tuple(str(row[CASE_COLUMN]) for row in unique),
        patient_ids=tuple(str(row.get(PATIENT_COLUMN) or row[CASE_COLUMN]) for row in unique),
        labels=labels,
        target=_matrix(unique, TARGET_PREFIX, labels, blank=True),
        prob=_matrix(unique, PROB_PREFIX, labels, blank=False),
    )


def _matrix(rows: Sequence[Row], prefix: str, labels: Sequence[str], *, blank: bool) -> FloatArray:
    """Columns of one kind, shape (N, K), all values in [0, 1] or, where allowed, NaN."""
    matrix = np.array([[float(row[prefix + name]) for name in labels] for row in rows])
    fine = (matrix >= 0) & (matrix <= 1) | (np.isnan(matrix) & blank)
    if not fine.all():
        case, label = np.argwhere(~fine)[0]
        expected = "1, 0 or a share between, blank for unknown" if blank else "a probability in [0, 1]"
        raise DataError(
            f"case {rows[case][CASE_COLUMN]}: expected {expected} in column {prefix}{labels[label]}, "
            f"found {matrix[case, label]:g}. Mend the table or write it again with test."
        )
    return matrix


def summarise_labels(
    rows: Sequence[Row],
    task: Task,
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
    thresholds: Mapping[str, float] | None = None,
    specificity: float = 0.9,
    ordinal: bool = False,
) -> LabelSummary:
    """Scores of each label and over labels, with patient-level bootstrap intervals.

    A label whose known cases are all positive or all negative is NaN and left out of the mean; only its
    accuracy and its Brier score are defined. Soft targets count as positive from 0.5; of exclusive classes
    the largest share is the class and the most probable one is called, whatever the thresholds.

    Args:
        rows: Rows of the table; cases without a patient id count as patients of their own.
        task: ``binary``, ``multiclass`` (one-hot targets) or ``multilabel``.
        level: Share of the resampled values inside an interval.
        resamples: Draws of the bootstrap; draws that leave a score undefined take no part in its interval.
        seed: Seed of the draws.
        thresholds: Probability by label above which it is called positive; 0.5 for those not named.
        specificity: Where the sensitivity is read: the highest of all thresholds that keep it, in [0, 1].
        ordinal: Whether exclusive classes are grades in order: kappa is then quadratic.

    Returns:
        Counts, scores of labels, their means with the number of labels in them, and, for exclusive classes,
        accuracy, balanced accuracy, kappa, calibration error of the called class and Brier score.

    Raises:
        DataError: As for ``label_arrays``, or if a binary table has more than one label, or a multi-class
            one fewer than two.
        ValueError: If ``level``, ``resamples`` or ``specificity`` is out of range.

    Example:
        >>> rows = [label_row(name, name, ["mass"], [prob], [truth])
        ...         for name, prob, truth in [("a", 0.9, 1), ("b", 0.6, 0), ("c", 0.2, 0)]]
        >>> summary = summarise_labels(rows, "binary", resamples=10)
        >>> summary["labels"]["auroc"]["mass"]["mean"], summary["counts"]["mass"]["n_positive"]
        (1.0, 1)
    """
    options = _Options(level, resamples, seed, specificity, ordinal)
    table = label_arrays(rows)
    _check_task(table, task)
    return _summary(table, task, _calls(table, task, thresholds or {}), options)


@dataclass(frozen=True, slots=True)
class _Options:
    """What a summary depends on beside its table; see ``summarise_labels``."""

    level: float
    resamples: int
    seed: int
    specificity: float
    ordinal: bool

    def __post_init__(self) -> None:
        if not 0.0 < self.level < 1.0 or self.resamples < 1 or not 0.0 <= self.specificity <= 1.0:
            raise ValueError(
                "level in (0, 1), resamples >= 1 and specificity in [0, 1] expected, "
                f"found {self.level}, {self.resamples} and {self.specificity}"
            )


@dataclass(frozen=True, slots=True)
class _Calls:
    """Whether each label is positive, known and called, all of shape (N, K), and from where it is called."""

    positive: BoolArray
    known: BoolArray
    called: BoolArray
    thresholds: dict[str, float]


def _check_task(table: LabelArrays, task: Task) -> None:
    k = len(table.labels)
    if (task == "binary" and k != 1) or (task == "multiclass" and k < 2):
        expected = "one label" if task == "binary" else "two classes or more"
        raise DataError(
            f"a {task} table has {expected}, found {k}: {', '.join(table.labels)}. "
            "Name the task that wrote the table."
        )


def _calls(table: LabelArrays, task: Task, thresholds: Mapping[str, float]) -> _Calls:
    """Cut soft targets at 0.5 and probabilities at their thresholds; the most probable class is called."""
    if task == "multiclass":
        known, index = known_classes(table.target)
        hot = np.eye(len(table.labels), dtype=bool)
        positive = np.zeros(table.prob.shape, bool)
        positive[known] = hot[index]
        everywhere = np.repeat(known[:, None], len(table.labels), axis=1)
        return _Calls(positive, everywhere, hot[table.prob.argmax(axis=1)], {})
    cuts = {name: thresholds.get(name, THRESHOLD) for name in table.labels}
    called = table.prob > np.asarray(list(cuts.values()))
    return _Calls(np.nan_to_num(table.target) >= 0.5, ~np.isnan(table.target), called, cuts)


def _summary(table: LabelArrays, task: Task, calls: _Calls, options: _Options) -> LabelSummary:
    draws = PatientDraws(table.patient_ids, resamples=options.resamples, seed=options.seed)
    by_label, together = _scores(table, task, calls, options, draws)
    counts = count_labels(table.labels, calls.positive, calls.known)
    return LabelSummary(
        task=task,
        n_cases=len(calls.known),
        n_patients=draws.n_patients,
        level=options.level,
        specificity=options.specificity,
        thresholds=calls.thresholds,
        counts=counts,
        labels=label_rows(by_label, counts, options.level),
        macro={metric: macro_row(values, options.level) for metric, values in by_label.items()},
        overall=overall_rows(together, calls.known[:, 0], options.level),
    )


def _scores(
    table: LabelArrays, task: Task, calls: _Calls, options: _Options, draws: PatientDraws
) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    """Scores of labels, (K, 1 + resamples), and of exclusive classes together, (1 + resamples,), by metric."""
    columns = zip(calls.positive.T, table.prob.T, calls.called.T, calls.known.T, strict=True)
    labels = [LabelScores(draws, *column, specificity=options.specificity) for column in columns]
    if task != "multiclass":
        return resample_scores(draws, labels, None)
    index, known = calls.positive.argmax(axis=1), calls.known[:, 0]
    classes = ClassScores(draws, index, table.prob, known, ordinal=options.ordinal)
    by_label, together = resample_scores(draws, labels, classes)
    return {name: values for name, values in by_label.items() if name not in _TOGETHER}, together
