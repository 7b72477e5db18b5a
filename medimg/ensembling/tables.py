"""Tables of classifications put together: one row a case, the labels' columns averaged or ranked."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medimg.ensembling.members import Method, check_same_cases
from medimg.ensembling.ranks import percentile_ranks
from medimg.errors import ConfigError, DataError
from medimg.scoring.label_table import PROB_PREFIX, TARGET_PREFIX, label_row, read_label_table
from medimg.scoring.table import CASE_COLUMN, PATIENT_COLUMN, Row

_DUST = 1e-6
# Rows of exclusive classes add up to 1, those of labels that are told apart one by one do not.
_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class MemberTable:
    """The rows of one member.

    Attributes:
        name: The member as the user named it.
        rows: Its rows by case.
        labels: Names of the K labels, in the order of its columns.
    """

    name: str
    rows: dict[str, Row]
    labels: tuple[str, ...]

    def probs(self, cases: Sequence[str], labels: Sequence[str]) -> NDArray[np.float64]:
        """Probabilities, shape (N, K)."""
        return np.array([[float(self.rows[case][PROB_PREFIX + name]) for name in labels] for case in cases])


@dataclass(frozen=True, slots=True)
class FusedTable:
    """The table of the ensemble.

    Attributes:
        rows: One row a case, sorted by case id.
        labels: Names of the K labels.
        warnings: What the user should know.
    """

    rows: list[Row]
    labels: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def read_member_table(name: str, path: Path) -> MemberTable:
    """Read and check the table of one member.

    Args:
        name: The member as the user named it.
        path: Its ``per_case.csv``.

    Raises:
        DataError: If the table cannot be read, a case stands twice, a probability is missing or outside [0, 1], or a
            target is neither in [0, 1] nor unknown (blank or -1).
    """
    rows = read_label_table(path)
    doubled = [case for case, count in Counter(str(row[CASE_COLUMN]) for row in rows).items() if count > 1]
    if doubled:
        raise DataError(
            f"{path}: expected one row a case, found several of {', '.join(doubled[:10])}. Keep one of each."
        )
    labels = tuple(column.removeprefix(PROB_PREFIX) for column in rows[0] if column.startswith(PROB_PREFIX))
    for row in rows:
        for label in labels:
            value = float(row[PROB_PREFIX + label])
            if not -_DUST <= value <= 1 + _DUST:
                raise DataError(
                    f"{path}: case {row[CASE_COLUMN]}: expected a probability in [0, 1] in column "
                    f"{PROB_PREFIX}{label}, found {value:g}. Predict again, or leave the member out."
                )
            if (column := TARGET_PREFIX + label) in row:
                row[column] = _target(path, row, column)
    return MemberTable(name, {str(row[CASE_COLUMN]): row for row in rows}, labels)


def _target(path: Path, row: Row, column: str) -> float:
    target = float(row[column])
    if target == -1:
        return math.nan
    if target < 0 or target > 1:
        raise DataError(
            f"{path}: case {row[CASE_COLUMN]}: expected 1, 0, a share between, or blank or -1 where unknown, in column "
            f"{column}, found {target:g}. Mend the table."
        )
    return target


@dataclass(frozen=True, slots=True)
class AlignedTables:
    """The tables of all members as arrays, in one order of cases and labels.

    Attributes:
        cases: Name of each case, sorted.
        patients: Patient of each case; empty where no member knows it.
        labels: Names of the K labels.
        probs: Probabilities, shape (M, N, K).
        target: Targets that all members agree on, shape (N, K), or ``None``.
        exclusive: Whether the labels are classes that exclude each other.
        warnings: Why targets are left out.
    """

    cases: tuple[str, ...]
    patients: tuple[str, ...]
    labels: tuple[str, ...]
    probs: NDArray[np.float64]
    target: NDArray[np.float64] | None
    exclusive: bool
    warnings: tuple[str, ...] = ()

    def fused(self, probs: NDArray[np.float64]) -> FusedTable:
        """The table of the ensemble, from its probabilities (N, K)."""
        truths = [None] * len(self.cases) if self.target is None else list(self.target)
        rows = [
            label_row(case, patient, self.labels, prob, truth)
            for case, patient, prob, truth in zip(self.cases, self.patients, probs, truths, strict=True)
        ]
        return FusedTable(rows, self.labels, self.warnings)


def align_tables(tables: Sequence[MemberTable], *, task: str | None = None) -> AlignedTables:
    """Put the tables of all members into one order.

    Args:
        tables: The tables.
        task: Kind of the labels; ``None`` takes rows that add up to 1 for exclusive classes.

    Raises:
        DataError: If members differ in cases, labels or a patient.
    """
    labels = _same_labels(tables)
    cases = check_same_cases([table.name for table in tables], [table.rows.keys() for table in tables])
    probs = np.stack([table.probs(cases, labels) for table in tables])  # (M, N, K)
    target, warnings = _targets(tables, cases, labels)
    patients = tuple(_patient(tables, case) for case in cases)
    return AlignedTables(tuple(cases), patients, labels, probs, target, _exclusive(probs, task), warnings)


def fuse_tables(
    tables: Sequence[MemberTable], weights: Sequence[float], method: Method, *, task: str | None = None
) -> FusedTable:
    """Combine the tables of all members.

    Targets are kept if all members that have them agree on them.

    Args:
        tables: The tables.
        weights: Weight of each member, adding up to 1.
        method: ``mean``; ``geometric``, made to add up to 1 again where classes are exclusive; ``rank``, the mean
            of each case's rank by label, a score in (0, 1] and no probability.
        task: Kind of the labels; ``None`` takes rows that add up to 1 for exclusive classes.

    Raises:
        ConfigError: If the method is one for masks.
        DataError: If members differ in cases, labels or a patient.

    Example:
        >>> tables = [MemberTable(name, {"a": {"case_id": "a", "prob_x": p}}, ("x",))
        ...           for name, p in (("A", 0.2), ("B", 0.6))]
        >>> fuse_tables(tables, [0.5, 0.5], "mean").rows
        [{'case_id': 'a', 'patient_id': '', 'prob_x': 0.4}]
    """
    aligned = align_tables(tables, task=task)
    return aligned.fused(fuse_probs(averaged_form(aligned.probs, method), weights, method, aligned.exclusive))


def averaged_form(probs: NDArray[np.float64], method: Method) -> NDArray[np.float64]:
    """What the method averages: probabilities, their logarithms, or ranks.

    Args:
        probs: Probabilities of the members, shape (M, N, K).
        method: ``mean``, ``geometric`` or ``rank``.

    Raises:
        ConfigError: If the method is one for masks.
    """
    match method:
        case "mean":
            return probs
        case "geometric":
            return np.log(np.maximum(probs, np.finfo(np.float64).tiny))
        case "rank":
            return np.stack(
                [np.column_stack([percentile_ranks(column) for column in one.T]) for one in probs]
            )
        case "majority" | "staple":
            raise ConfigError(f"--method {method} combines masks. Use mean, geometric or rank for tables.")


def fuse_probs(
    stack: NDArray[np.float64], weights: Sequence[float], method: Method, exclusive: bool
) -> NDArray[np.float64]:
    """Probabilities of the ensemble, shape (N, K), from what ``averaged_form`` gave, shape (M, N, K)."""
    # A member that weighs nothing takes no part, and so cannot veto by a 0.
    return from_average(np.tensordot(np.asarray(weights, np.float64), stack, axes=1), method, exclusive)


def from_average(total: NDArray[np.float64], method: Method, exclusive: bool) -> NDArray[np.float64]:
    """Probabilities from the weighted mean of what ``averaged_form`` gave, both of shape (N, K)."""
    if method == "geometric":
        # Of exclusive classes the largest is set to 1 first, so that not all of them can vanish.
        total = np.exp(total - total.max(axis=1, keepdims=True)) if exclusive else np.exp(total)
        if exclusive:
            total /= total.sum(axis=1, keepdims=True)
    if method == "rank":
        total = total.round(12)  # equal means of ranks are a tie, whatever the order in which they were added
    return np.clip(total, 0, 1)


def _same_labels(tables: Sequence[MemberTable]) -> tuple[str, ...]:
    first = tables[0]
    for table in tables[1:]:
        if set(table.labels) != set(first.labels):
            raise DataError(
                f"expected the same {PROB_PREFIX}<label> columns in all members, found {', '.join(first.labels)} in "
                f"{first.name} and {', '.join(table.labels)} in {table.name}. Combine members of one task only."
            )
    return first.labels


def _exclusive(probs: NDArray[np.float64], task: str | None) -> bool:
    if task is not None:
        return task == "multiclass"
    return probs.shape[2] > 1 and bool((np.abs(probs.sum(axis=2) - 1) < _SUM_TOLERANCE).all())


def _patient(tables: Sequence[MemberTable], case: str) -> str:
    known = {
        name: str(table.rows[case].get(PATIENT_COLUMN) or "") for table in tables if (name := table.name)
    }
    patients = {patient for patient in known.values() if patient}
    if len(patients) > 1:
        raise DataError(
            f"case {case}: expected the same patient in all members, found {', '.join(sorted(patients))}. "
            "Check that one name means one case everywhere."
        )
    return patients.pop() if patients else ""


def _targets(
    tables: Sequence[MemberTable], cases: Sequence[str], labels: Sequence[str]
) -> tuple[NDArray[np.float64] | None, tuple[str, ...]]:
    """Targets (N, K) that all members agree on, or ``None`` and why they are left out."""
    columns = [TARGET_PREFIX + name for name in labels]
    having = [table for table in tables if all(column in table.rows[cases[0]] for column in columns)]
    found = [np.array([[float(t.rows[case][name]) for name in columns] for case in cases]) for t in having]
    for table, other in zip(having[1:], found[1:], strict=True):
        same = np.isclose(found[0], other, rtol=0, atol=_DUST, equal_nan=True)
        if not same.all():
            case, label = np.argwhere(~same)[0]
            return None, (
                f"targets are left out: {having[0].name} and {table.name} differ in {columns[label]} of case "
                f"{cases[case]}",
            )
    return (found[0] if found else None), ()
