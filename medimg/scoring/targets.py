"""Several targets of one case: what each is, its columns in ``per_case.csv``, and what they score.

A row has ``case_id`` and ``patient_id``; of a yes or no ``target_<name>`` and ``prob_<name>``, of classes a pair a
class, ``target_<name>_<class>`` with one-hot targets and ``prob_<name>_<class>``, and of numbers ``target_<column>``
and ``pred_<column>`` in the unit of the data set's column. A blank target is unknown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

import numpy as np

from medimg.errors import ConfigError, DataError
from medimg.records import Task
from medimg.scoring.label_bootstrap import PatientDraws, interval_of
from medimg.scoring.label_summary import LabelSummary
from medimg.scoring.label_table import PROB_PREFIX, TARGET_PREFIX, summarise_labels
from medimg.scoring.ranking import FloatArray
from medimg.scoring.regression import resample_values
from medimg.scoring.table import CASE_COLUMN, PATIENT_COLUMN, IntervalRow, Row, deduplicate

PRED_PREFIX = "pred_"

Kind = Literal["binary", "multiclass", "ordinal", "regression"]


@dataclass(frozen=True)
class Target:
    """One thing that is learned of a case.

    Attributes:
        name: Short name.
        kind: ``binary``, exclusive classes (``multiclass``), classes in rising order (``ordinal``) or numbers
            (``regression``).
        columns: The data set's columns: one of ``name`` by default. Numbers may have several, as a place has three.
            Classes have one column that holds the class, or a column of 1 or 0 a class.
        classes: Names of the classes. One column holds their numbers if all names are numbers, else their positions
            from 0 on; ordinal values between two classes, such as means of readers, go to the nearer one.
        weight: How much the target counts in the loss.
        unit: Of numbers, for print.

    Raises:
        ConfigError: If kind, columns and classes do not go together.
    """

    name: str
    kind: Kind
    columns: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    weight: float = 1.0
    unit: str = ""

    def __post_init__(self) -> None:
        if not self.columns:
            object.__setattr__(self, "columns", (self.name,))
        many = len(self.columns)
        if self.kind == "binary" and (many > 1 or self.classes):
            self._refuse("a yes or no has one column and no classes")
        if self.kind == "regression" and self.classes:
            self._refuse("numbers have no classes")
        if self.exclusive and (len(set(self.classes)) < 2 or len(set(self.classes)) < len(self.classes)):
            self._refuse("two classes or more, each once, expected")
        if self.exclusive and many not in (1, len(self.classes)):
            self._refuse("one column, or one a class, expected")
        if not 0 < self.weight < float("inf"):
            self._refuse(f"a weight above 0 expected, found {self.weight}")
        values = self.class_values
        if self.kind == "ordinal" and many == 1 and list(values) != sorted(values):
            self._refuse("ordinal classes in rising order expected")

    def _refuse(self, why: str) -> None:
        raise ConfigError(
            f"target {self.name}, {self.kind}: {why}; found columns {list(self.columns)} and classes "
            f"{list(self.classes)}"
        )

    @property
    def exclusive(self) -> bool:
        """Whether it is one of several classes."""
        return self.kind in ("multiclass", "ordinal")

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the network's outputs for it."""
        return tuple(f"{self.name}_{one}" for one in self.classes) if self.exclusive else self.columns

    @property
    def class_values(self) -> tuple[float, ...]:
        """What one column holds for each class.

        Example:
            >>> Target("grade", "ordinal", classes=("2", "3", "4")).class_values
            (2.0, 3.0, 4.0)
            >>> Target("type", "multiclass", classes=("solid", "part-solid")).class_values
            (0.0, 1.0)
        """
        try:
            return tuple(float(one) for one in self.classes)
        except ValueError:
            return tuple(float(number) for number in range(len(self.classes)))

    def fault(self, values: Sequence[float]) -> str:
        """What is wrong with the values of one case in the target's columns; empty if nothing is.

        Example:
            >>> Target("malignant", "binary").fault([3.0])
            'malignant is 3; expected 1, 0, a share between, or blank'
            >>> Target("grade", "ordinal", classes=("1", "2")).fault([1.4])
            ''
        """
        column, value = self.columns[0], values[0]
        known = [one for one in values if not np.isnan(one)]
        if self.kind == "regression" or not known:
            return "" if np.isfinite(known).all() else f"{self.name} is infinite"
        if not self.exclusive:
            right = 0 <= value <= 1
            return "" if right else f"{column} is {value:g}; expected 1, 0, a share between, or blank"
        if len(values) > 1:
            right = len(known) == len(values) and min(known) >= 0 and abs(sum(known) - 1) < 1e-3
            return (
                "" if right else f"the classes of {self.name} sum to {sum(known):g}; expected 1, or all blank"
            )
        far = min(abs(value - one) for one in self.class_values)
        if far <= (0.5 if self.kind == "ordinal" else 1e-3):
            return ""
        stated = ", ".join(f"{one:g}" for one in self.class_values)
        return (
            f"{column} is {value:g}; expected {'values near ' * (self.kind == 'ordinal')}{stated}, or blank"
        )


def check_targets(targets: Sequence[Target]) -> tuple[str, ...]:
    """The outputs of all targets, in order.

    Raises:
        ConfigError: If there is no target, or two share a name or an output.
    """
    names = [target.name for target in targets]
    outputs = [output for target in targets for output in target.outputs]
    for words in (names, outputs):
        if twice := sorted({word for word in words if words.count(word) > 1}):
            raise ConfigError(f"targets: {', '.join(twice)} stands twice; keep one of each name")
    if not targets:
        raise ConfigError("targets: expected at least one, found none")
    return tuple(outputs)


def target_row(
    case_id: str,
    patient_id: str,
    targets: Sequence[Target],
    pred: Sequence[float],
    truth: Sequence[float] | None = None,
) -> Row:
    """Make the row of one case.

    Args:
        case_id: Name of the case.
        patient_id: Name of its patient.
        targets: What was learned.
        pred: Probabilities and values, one an output of the targets in their order.
        truth: The same of the truth, one-hot for classes, NaN where unknown; ``None`` for a prediction without it.

    Example:
        >>> target_row("a", "p", [Target("diameter_mm", "regression")], [7.5], [8.0])
        {'case_id': 'a', 'patient_id': 'p', 'target_diameter_mm': 8.0, 'pred_diameter_mm': 7.5}
    """
    row: Row = {CASE_COLUMN: case_id, PATIENT_COLUMN: patient_id}
    names = [(_prefix(target), output) for target in targets for output in target.outputs]
    for number, ((prefix, name), value) in enumerate(zip(names, pred, strict=True)):
        if truth is not None:
            row[f"{TARGET_PREFIX}{name}"] = float(truth[number])
        row[f"{prefix}{name}"] = float(value)
    return row


def _prefix(target: Target) -> str:
    return PRED_PREFIX if target.kind == "regression" else PROB_PREFIX


class TargetScore(TypedDict):
    """What one target scores: ``labels`` of a yes or no or of classes, ``values`` by metric and column of numbers."""

    kind: Kind
    unit: str
    labels: LabelSummary | None
    values: dict[str, dict[str, IntervalRow]]


class TargetSummary(TypedDict):
    """What ``summarise_targets`` makes of a table; ``targets`` by name, ``level`` of the intervals."""

    n_cases: int
    n_patients: int
    level: float
    targets: dict[str, TargetScore]


def summarise_targets(
    rows: Sequence[Row],
    targets: Sequence[Target],
    *,
    constants: Mapping[str, float] | None = None,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> TargetSummary:
    """Scores of each target, with patient-level bootstrap intervals.

    A yes or no and classes score as in a classification, with quadratic kappa where classes have an order; numbers
    have errors in their unit, R2 and Spearman's correlation.

    Args:
        rows: Rows with targets; cases without a patient id count as patients of their own.
        targets: What the columns are.
        constants: Mean of the training cases, by column of numbers, whose error is set beside the network's.
        level: Share of the resampled values inside an interval.
        resamples: Draws of the bootstrap.
        seed: Seed of the draws.

    Raises:
        DataError: If there are no rows, or a column is missing.

    Example:
        >>> target = Target("diameter_mm", "regression")
        >>> rows = [target_row(n, n, [target], [p], [t]) for n, p, t in (("a", 5, 4), ("b", 9, 8))]
        >>> found = summarise_targets(rows, [target], resamples=10)
        >>> found["targets"]["diameter_mm"]["values"]["mae"]["diameter_mm"]["mean"]
        1.0
    """
    rows = deduplicate(rows)
    patients = [str(row.get(PATIENT_COLUMN) or row[CASE_COLUMN]) for row in rows]
    draws = PatientDraws(patients, resamples=resamples, seed=seed)
    scores: dict[str, TargetScore] = {}
    for target in targets:
        for name in target.outputs:
            for column in (f"{TARGET_PREFIX}{name}", f"{_prefix(target)}{name}"):
                if column not in rows[0]:
                    raise DataError(
                        f"expected the column {column}, found {', '.join(rows[0])}. Run test again."
                    )
        labels: LabelSummary | None = None
        values: dict[str, dict[str, IntervalRow]] = {}
        if target.kind == "regression":
            values = _values(rows, target, draws, constants or {}, level)
        else:
            task: Task = "multiclass" if target.exclusive else "binary"
            labels = summarise_labels(
                _label_rows(rows, target),
                task,
                level=level,
                resamples=resamples,
                seed=seed,
                ordinal=target.kind == "ordinal",
            )
        scores[target.name] = TargetScore(kind=target.kind, unit=target.unit, labels=labels, values=values)
    return TargetSummary(n_cases=len(rows), n_patients=draws.n_patients, level=level, targets=scores)


def _label_rows(rows: Sequence[Row], target: Target) -> list[Row]:
    """The rows of one target alone, its labels called as they are in a classification of their own."""
    names = list(zip(target.outputs, target.classes or (target.name,), strict=True))
    columns = {
        f"{prefix}{to}": f"{prefix}{of}" for of, to in names for prefix in (TARGET_PREFIX, PROB_PREFIX)
    }
    columns = {CASE_COLUMN: CASE_COLUMN, PATIENT_COLUMN: PATIENT_COLUMN, **columns}
    return [{to: row.get(of, "") for to, of in columns.items()} for row in rows]


def _values(
    rows: Sequence[Row], target: Target, draws: PatientDraws, constants: Mapping[str, float], level: float
) -> dict[str, dict[str, IntervalRow]]:
    """Rows by metric and column."""
    found: dict[str, dict[str, IntervalRow]] = {}
    for name in target.outputs:
        truth, pred = (_column(rows, f"{prefix}{name}") for prefix in (TARGET_PREFIX, PRED_PREFIX))
        n = int((~np.isnan(truth)).sum())
        for metric, drawn in resample_values(
            draws, truth, pred, constant=constants.get(name, np.nan)
        ).items():
            if metric == "mae_of_mean" and name not in constants:
                continue
            value, low, high = interval_of(drawn, level)
            found.setdefault(metric, {})[name] = IntervalRow(
                mean=value, low=low, high=high, n=n, n_left_out=len(rows) - n
            )
    return found


def _column(rows: Sequence[Row], column: str) -> FloatArray:
    return np.array([float(row[column]) for row in rows])
