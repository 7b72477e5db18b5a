"""Tables of cases that their models neither trained on nor are to be judged by: what calibration may be fitted on."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from medimg.ensembling.calibration_file import predictions_facts, refuse_calibrated
from medimg.ensembling.members import TABLE, find_member
from medimg.errors import DataError
from medimg.records import Task
from medimg.runs import CONFIG
from medimg.scoring.confusion import known_classes
from medimg.scoring.label_table import TARGET_PREFIX, LabelArrays, label_arrays, read_label_table
from medimg.scoring.ranking import FloatArray
from medimg.scoring.table import Row

_TEST_WORDS = {"test", "testing", "holdout"}
# Rows of exclusive classes add up to 1, those of labels that are told apart one by one do not.
_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class UnseenTable:
    """What a calibration is fitted on.

    Attributes:
        table: Cases, targets and probabilities.
        task: Kind of the labels.
        split: Hash of the split that kept the cases from training, if it is known.
        run: Folder of the one run that made the predictions; ``None`` for several models.
    """

    table: LabelArrays
    task: Task
    split: str | None
    run: Path | None

    @property
    def truth(self) -> FloatArray:
        """1, 0, or NaN where unknown, shape (N, K): soft targets cut at 0.5, of classes the largest share."""
        if self.task != "multiclass":
            return self.table.truth
        known, index = known_classes(self.table.target)
        truth = np.full_like(self.table.target, np.nan)
        truth[known] = np.eye(len(self.table.labels))[index]
        return truth


@dataclass(frozen=True, slots=True)
class _Part:
    """One of the tables that are put together."""

    name: str
    rows: list[Row]
    facts: Mapping[str, Any]
    run: Path | None


def read_unseen(paths: Sequence[Path], *, vouched: bool = False) -> UnseenTable:
    """Read tables of different cases, such as the validation cases of each fold, and put them together.

    Args:
        paths: Tables, folders with a ``per_case.csv``, or runs whose ``test`` scored validation cases.
        vouched: The user's word that no model was trained on these cases and that they are not the test set, for
            tables that do not say so themselves.

    Raises:
        DataError: If a table is of test cases, does not say which cases it holds, was calibrated before, or cannot be
            read; if tables differ in labels, task or split, or share cases or patients.
    """
    parts = [_read(path, vouched=vouched) for path in paths]
    task = _common(parts, "task", [part.facts.get("task") for part in parts])
    split = _common(parts, "split", [part.facts.get("split") for part in parts])
    _common(parts, "columns", [" ".join(sorted(part.rows[0])) for part in parts])
    _check_apart(parts)
    columns = list(parts[0].rows[0])
    table = label_arrays([{name: row[name] for name in columns} for part in parts for row in part.rows])
    runs = {part.run for part in parts}
    return UnseenTable(table, _task(table, task), split, runs.pop() if len(runs) == 1 else None)


def _read(path: Path, *, vouched: bool) -> _Part:
    member = find_member(path, part="test")
    if member.table is None:
        raise DataError(
            f"{path}: expected a {TABLE} of a classification, with prob_<label> columns, found none in "
            f"{member.folder}. Calibration is for classifications."
        )
    facts = predictions_facts(member.folder)
    run = next(
        (folder for folder in (member.folder, member.folder.parent) if (folder / CONFIG).is_file()), None
    )
    _refuse_seen(member.table, facts.get("part"), known=bool(facts) or run is not None, vouched=vouched)
    refuse_calibrated(member.folder)
    rows = [_unknown_as_nan(row) for row in read_label_table(member.table)]
    return _Part(str(path), rows, facts, run if "ensemble" not in facts else None)


def _refuse_seen(table: Path, part: object, *, known: bool, vouched: bool) -> None:
    """Refuse a table of test cases, and one that does not say which cases it holds."""
    if part == "validation":
        return
    if part == "test":
        raise DataError(
            f"{table}: its predictions.json says that these are test cases. What is fitted on them can no longer "
            "be judged by them: take out-of-fold predictions, as `medimg crossval` gathers, or a run's validate folder."
        )
    named = [name for name in (table.parent.name, table.stem) if names_a_test(name)]
    # A run's own folder of that name may hold validation cases.
    if named and not known:
        raise DataError(
            f"{table}: {named[0]!r} names test cases, and nothing is fitted on those. Take out-of-fold predictions; "
            "if these are some, give the folder or the table another name."
        )
    if not vouched:
        raise DataError(
            f'{table}: nothing says which cases these are: expected "part": "validation" in a predictions.json '
            "beside it. If no model was trained on them and they are not the test set, say so with --unseen."
        )


def names_a_test(name: str) -> bool:
    """Whether one of the words of a name says that it is of test cases.

    Example:
        >>> [names_a_test(name) for name in ("my-Test_set", "holdout", "latest")]
        [True, True, False]
    """
    return bool(_TEST_WORDS & set(re.split(r"[\W_]+", name.lower())))


def _unknown_as_nan(row: Row) -> Row:
    return {
        name: np.nan if name.startswith(TARGET_PREFIX) and value == -1 else value
        for name, value in row.items()
    }


def _common(parts: Sequence[_Part], what: str, values: Sequence[Any]) -> Any:
    """What all say that say something."""
    stated = [(part.name, value) for part, value in zip(parts, values, strict=True) if value is not None]
    for name, value in stated[1:]:
        if value != stated[0][1]:
            raise DataError(
                f"expected the same {what} in all tables, found {stated[0][1]} in {stated[0][0]} and {value} in "
                f"{name}. Calibrate predictions of one task and of one split at a time."
            )
    return stated[0][1] if stated else None


def _check_apart(parts: Sequence[_Part]) -> None:
    for column in ("case_id", "patient_id"):
        owner: dict[str, str] = {}
        for part in parts:
            for name in {str(row.get(column) or "") for row in part.rows} - {""}:
                if (other := owner.setdefault(name, part.name)) != part.name:
                    raise DataError(
                        f"{column} {name} stands in {other} and in {part.name}: tables are put side by side and each "
                        "holds patients of its own. Several models for the same cases go through `medimg ensemble` "
                        "first."
                    )


def _task(table: LabelArrays, stated: object) -> Task:
    if stated is not None:
        fitting = next((task for task in get_args(Task) if task == stated), None)
        if fitting is None:
            raise DataError(
                f"predictions.json: expected the task {', '.join(get_args(Task))}, found {stated!r}."
            )
        known: Task = fitting
        return known
    if len(table.labels) == 1:
        return "binary"
    return "multiclass" if _exclusive(table.prob) and _exclusive(table.target) else "multilabel"


def _exclusive(shares: FloatArray) -> bool:
    sums = shares[~np.isnan(shares).any(axis=1)].sum(axis=1)
    return bool((np.abs(sums - 1) < _SUM_TOLERANCE).all())
