"""The file of ``medimg calibrate``: what each label's probabilities become, and from where it is called."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn, get_args

import numpy as np
from numpy.typing import ArrayLike

from medimg.ensembling.calibrators import Calibrator, Isotonic, Method, Platt, Temperature, apply_labels
from medimg.ensembling.description import PREDICTIONS
from medimg.errors import DataError
from medimg.io.files import atomic_write
from medimg.records import Task
from medimg.scoring.label_table import PROB_PREFIX
from medimg.scoring.ranking import FloatArray
from medimg.scoring.table import CASE_COLUMN, Row

PRED_PREFIX = "pred_"
CALIBRATION = "calibration"
"""Field of ``predictions.json`` that holds the hash of the calibration its table went through."""

_VERSION = 1
_KINDS: dict[str, type[Calibrator]] = {"temperature": Temperature, "platt": Platt, "isotonic": Isotonic}
_DUST = 1e-6
_AGAIN = "Make the file again with `medimg calibrate`."


@dataclass(frozen=True, slots=True)
class Calibration:
    """What is done to the probabilities of a model.

    Attributes:
        kind: ``temperature``, ``platt`` or ``isotonic``.
        task: Kind of the labels: binary, multiclass or multilabel.
        labels: Names of the K labels, in the order of the table it was fitted on.
        maps: The map of each label that has one; the others stay as they are.
        thresholds: Calibrated probability by label above which it is called positive.
        rule: What the thresholds were chosen for, in words; empty without thresholds.
        cases: Number of cases it was fitted on.
        patients: Number of their patients.
        split: Hash of the split that kept these cases from training, if it is known.
        digest: Start of the SHA-256 of the file it was read from.
    """

    kind: Method
    task: Task
    labels: tuple[str, ...]
    maps: Mapping[str, Calibrator] = field(default_factory=dict)
    thresholds: dict[str, float] = field(default_factory=dict)
    rule: str = ""
    cases: int = 0
    patients: int = 0
    split: str | None = None
    digest: str = ""

    def check(self, labels: Sequence[str], task: str | None = None) -> None:
        """Refuse predictions of other labels.

        Args:
            labels: Names of their labels, in any order.
            task: Kind of their labels; ``None`` where it is not known.

        Raises:
            DataError: If the labels or the task differ.
        """
        if sorted(labels) != sorted(self.labels) or task not in (None, self.task):
            raise DataError(
                f"the calibration is for {self.task} with the labels {', '.join(self.labels)}, the predictions are "
                f"{task or 'a table'} with {', '.join(labels)}. Calibrate out-of-fold predictions of this task."
            )

    def apply(self, probs: ArrayLike, labels: Sequence[str]) -> FloatArray:
        """Calibrate a table.

        Args:
            probs: Probabilities, shape (N, K).
            labels: Names of the K columns, in any order.

        Returns:
            Probabilities, shape (N, K), in the order of the columns.

        Raises:
            DataError: If the labels differ, or a value is no probability.
            ValueError: If the shape is another.

        Example:
            >>> Calibration("temperature", "binary", ("x",), {"x": Temperature(2.0)}).apply([[0.9]], ["x"]).round(6)
            array([[0.75]])
        """
        table = np.asarray(probs, np.float64)
        return self._apply(table, labels, [f"row {number + 1}" for number in range(len(table))])

    def _apply(self, table: FloatArray, labels: Sequence[str], names: Sequence[object]) -> FloatArray:
        self.check(labels)
        if table.ndim != 2 or table.shape[1] != len(labels):
            raise ValueError(f"probabilities of shape (N, {len(labels)}) expected, found {table.shape}")
        odd = ~((table >= -_DUST) & (table <= 1 + _DUST))
        if odd.any():
            row, column = np.argwhere(odd)[0]
            raise DataError(
                f"{names[row]}: expected a probability of {labels[column]} in [0, 1], found {table[row, column]:g}. "
                "Predict again."
            )
        return apply_labels(self.maps, self.task, labels, table.clip(0, 1))

    def calibrate_rows(self, rows: Sequence[Row]) -> list[Row]:
        """Calibrate the rows of a ``per_case.csv``.

        Args:
            rows: Rows with ``prob_<label>`` columns; all others stay.

        Returns:
            Rows with calibrated ``prob_<label>``, each followed by ``pred_<label>``, 1 or 0, where the label has a
            threshold.

        Raises:
            DataError: If the rows are called already, the labels differ, or a value is no probability.
        """
        if not rows:
            return []
        labels = [name.removeprefix(PROB_PREFIX) for name in rows[0] if name.startswith(PROB_PREFIX)]
        called = [name for name in rows[0] if name.startswith(PRED_PREFIX)]
        if called:
            raise DataError(
                f"the table has the column {called[0]}: it was calibrated before. Take the probabilities as the model "
                "gave them."
            )
        table = np.array([[float(row[PROB_PREFIX + name]) for name in labels] for row in rows])
        probs = self._apply(table, labels, [f"case {row[CASE_COLUMN]}" for row in rows])
        return [self._row(row, labels, values) for row, values in zip(rows, probs.tolist(), strict=True)]

    def _row(self, row: Row, labels: Sequence[str], values: Sequence[float]) -> Row:
        new = dict(zip((PROB_PREFIX + name for name in labels), values, strict=True))
        result: Row = {}
        for column, value in row.items():
            result[column] = new.get(column, value)
            name = column.removeprefix(PROB_PREFIX)
            if column in new and name in self.thresholds:
                result[PRED_PREFIX + name] = float(new[column] > self.thresholds[name])
        return result


def refuse_calibrated(folder: Path) -> None:
    """Refuse predictions that went through a calibration.

    Args:
        folder: Folder of the predictions; one without ``predictions.json`` says nothing.

    Raises:
        DataError: If its ``predictions.json`` names a calibration, or cannot be read.
    """
    digest = predictions_facts(folder).get(CALIBRATION)
    if digest is not None:
        raise DataError(
            f"{folder}: these predictions went through the calibration {digest} already. Take the probabilities as "
            "the model gave them."
        )


def predictions_facts(folder: Path) -> dict[str, Any]:
    """What ``predictions.json`` of a folder says, unchecked; empty where there is none.

    Raises:
        DataError: If the file cannot be read.
    """
    path = folder / PREDICTIONS
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}). Predict again, or mend the file.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected names and values, found {type(content).__name__}. Predict again.")
    return content


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write a calibration as JSON, whole or not at all.

    Args:
        path: File to write.
        calibration: What it holds.

    Raises:
        ResourceError: If the file cannot be written.
    """
    content = {
        "version": _VERSION,
        "kind": calibration.kind,
        "task": calibration.task,
        "labels": list(calibration.labels),
        "parameters": {
            name: asdict(calibration.maps[name]) if name in calibration.maps else None
            for name in calibration.labels
        },
        "thresholds": dict(calibration.thresholds),
        "rule": calibration.rule,
        "cases": calibration.cases,
        "patients": calibration.patients,
        "split": calibration.split,
    }
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_calibration(path: Path) -> Calibration:
    """Read and check the file of ``medimg calibrate``.

    Args:
        path: The file.

    Raises:
        DataError: If it cannot be read, is of another version or kind, a field is missing or unknown, a number is not
            finite, or the labels differ between its parts.
    """
    try:
        data = path.read_bytes()
        content = json.loads(data, parse_constant=_no_constant)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: no readable calibration ({error}). {_AGAIN}") from error
    try:
        calibration = _parsed(content)
    except (ValueError, OverflowError) as fault:
        raise DataError(f"{path}: {fault}. {_AGAIN}") from fault
    return replace(calibration, digest=hashlib.sha256(data).hexdigest()[:12])


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"expected finite numbers, found {name}")


_FIELDS: dict[str, tuple[type, ...]] = {
    "version": (int,),
    "kind": (str,),
    "task": (str,),
    "labels": (list,),
    "parameters": (dict,),
    "thresholds": (dict,),
    "rule": (str,),
    "cases": (int,),
    "patients": (int,),
    "split": (str, type(None)),
}


def _parsed(content: Any) -> Calibration:
    """Check everything that the file says; a ``ValueError`` says what is wrong."""
    if not isinstance(content, dict) or "version" not in content:
        raise ValueError("expected a file that `medimg calibrate` wrote, found no version in it")
    if content["version"] != _VERSION:
        raise ValueError(f"expected version {_VERSION}, found {content['version']!r}")
    if set(content) != set(_FIELDS):
        odd = sorted(set(content) ^ set(_FIELDS))
        raise ValueError(f"expected the fields {', '.join(_FIELDS)}; missing or unknown: {', '.join(odd)}")
    for name, kinds in _FIELDS.items():
        if not isinstance(content[name], kinds) or isinstance(content[name], bool):
            raise ValueError(f"expected another kind of value as {name}, found {content[name]!r}")
    if content["kind"] not in _KINDS:
        raise ValueError(f"expected the kind {', '.join(_KINDS)}, found {content['kind']!r}")
    if content["task"] not in get_args(Task):
        raise ValueError(f"expected the task {', '.join(get_args(Task))}, found {content['task']!r}")
    labels = _labels(content)
    return Calibration(
        kind=content["kind"],
        task=content["task"],
        labels=labels,
        maps=_maps(content),
        thresholds={name: _number(f"threshold of {name}", v) for name, v in content["thresholds"].items()},
        rule=content["rule"],
        cases=content["cases"],
        patients=content["patients"],
        split=content["split"],
    )


def _labels(content: Mapping[str, Any]) -> tuple[str, ...]:
    labels = content["labels"]
    if not labels or not all(isinstance(name, str) for name in labels) or len(set(labels)) < len(labels):
        raise ValueError(f"expected names of labels, each once, found {labels}")
    if set(content["parameters"]) != set(labels):
        raise ValueError(
            f"expected parameters for {', '.join(labels)}, found {', '.join(content['parameters'])}"
        )
    unknown = sorted(set(content["thresholds"]) - set(labels))
    if unknown:
        raise ValueError(f"expected thresholds of {', '.join(labels)} only, found {', '.join(unknown)}")
    return tuple(labels)


def _maps(content: Mapping[str, Any]) -> dict[str, Calibrator]:
    maps = {
        name: _map(content["kind"], name, found)
        for name, found in content["parameters"].items()
        if found is not None
    }
    joint = content["task"] == "multiclass" and content["kind"] == "temperature"
    if joint and maps and (len(set(maps.values())) > 1 or len(maps) < len(content["labels"])):
        raise ValueError("expected one temperature for all classes, found several")
    return maps


def _map(kind: str, label: str, found: Any) -> Calibrator:
    made = _KINDS[kind]
    names = list(made.__dataclass_fields__)
    if not isinstance(found, dict) or sorted(found) != sorted(names):
        raise ValueError(f"expected {' and '.join(names)} for {label}, found {found!r}")
    values: dict[str, Any] = {}
    for name in names:
        what = f"{name} of {label}"
        several = made is Isotonic and isinstance(found[name], list)
        values[name] = tuple(_number(what, v) for v in found[name]) if several else _number(what, found[name])
    try:
        return made(**values)
    except (TypeError, ValueError) as fault:
        raise ValueError(f"{label}: {fault}") from fault


def _number(what: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"expected a finite number as {what}, found {value!r}")
    return float(value)
