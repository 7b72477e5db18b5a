"""The per-case table of a segmentation test, and the numbers and the text that are made from it.

The file is the result: every mean that is printed is computed from the rows that were written.
"""

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from medimg.errors import DataError
from medimg.io.files import atomic_write
from medimg.scoring.bootstrap import Interval, class_mean_interval, mean_interval
from medimg.scoring.case import class_scores
from medimg.scoring.empty import BRATS_WORST_MM, METRICS, EmptyRule, Metric
from medimg.scoring.regions import region_mask
from medimg.scoring.surface import HausdorffDefinition

Row = dict[str, float | str]

CASE_COLUMN = "case_id"
PATIENT_COLUMN = "patient_id"

METRIC_TITLES: Mapping[str, str] = {
    "dice": "Dice",
    "iou": "IoU",
    "hd95": "HD95 mm",
    "hd95px": "HD95 px",
    "nsd": "NSD",
    "lesion_dice": "lesion-wise Dice",
    "lesion_hd95": "lesion-wise HD95 mm",
}
"""What a column's first part is called in print; a column is ``<metric>_<class>``."""

# Two processes may score a repeated case on different devices; more than this is another prediction.
_SAME = 1e-6


class IntervalRow(TypedDict):
    """A mean in a summary: the fields of ``Interval``."""

    mean: float
    low: float
    high: float
    n: int
    n_left_out: int


class Summary(TypedDict):
    """What ``summarise`` makes of a table.

    Keys: ``n_cases`` and ``n_patients``; ``level`` of the intervals; ``metrics``, by metric and then by
    class; ``mean_dice``, the mean over classes of the Dice means.
    """

    n_cases: int
    n_patients: int
    level: float
    metrics: dict[str, dict[str, IntervalRow]]
    mean_dice: IntervalRow


def score_case(
    case_id: str,
    patient_id: str,
    pred: npt.NDArray[Any],
    target: npt.NDArray[Any],
    spacing_mm: Sequence[float],
    classes: Mapping[str, Sequence[int]],
    *,
    metrics: Sequence[Metric] = METRICS,
    empty: EmptyRule,
    nsd_tolerance_mm: float,
    hd95_definition: HausdorffDefinition = "area",
    ignore_label: int | None = None,
    brats_worst_mm: float = BRATS_WORST_MM,
) -> Row:
    """Score the label map of one case on its own grid.

    Args:
        case_id: Name of the case.
        patient_id: Name of its patient.
        pred: Predicted label values, shape (D, H, W) or (H, W).
        target: Reference label values, same shape.
        spacing_mm: Voxel size along each of these axes in mm.
        classes: Label values that form each class or region, such as ``{"WT": (1, 2, 3)}``.
        metrics: Numbers to compute.
        empty: What a class scores whose mask is empty: a rule of ``medimg.scoring.empty``.
        nsd_tolerance_mm: Distance in mm that counts as agreement of the surfaces.
        hd95_definition: Form of HD95, see ``medimg.scoring.surface.hd95``.
        ignore_label: Voxels with this value in the reference are background on both sides.
        brats_worst_mm: HD95 under the rule ``"brats"`` when exactly one mask is empty.

    Returns:
        One row: ``case_id``, ``patient_id``, then ``<metric>_<class>``, metric by metric.

    Raises:
        DataError: If prediction and reference do not have the same shape.

    Example:
        >>> target = np.zeros((4, 4, 4), np.uint8); target[1:3, 1:3, 1:3] = 1
        >>> score_case("a", "p", target, target, (1, 1, 1), {"tumour": [1]}, metrics=["dice"],
        ...            empty="brats", nsd_tolerance_mm=1.0)
        {'case_id': 'a', 'patient_id': 'p', 'dice_tumour': 1.0}
    """
    if pred.shape != target.shape:
        raise DataError(
            f"case {case_id}: the prediction has shape {pred.shape}, the reference {target.shape}. "
            "Resample the prediction to the reference's grid before scoring."
        )
    counted = None if ignore_label is None else target != ignore_label
    scores: dict[str, float] = {}
    for name, values in classes.items():
        pred_region, target_region = region_mask(pred, values), region_mask(target, values)
        if counted is not None:
            pred_region &= counted
            target_region &= counted
        found = class_scores(
            pred_region,
            target_region,
            spacing_mm,
            metrics=metrics,
            empty=empty,
            nsd_tolerance_mm=nsd_tolerance_mm,
            hd95_definition=hd95_definition,
            brats_worst_mm=brats_worst_mm,
        )
        scores.update({f"{metric}_{name}": value for metric, value in found.items()})
    ordered = (f"{metric}_{name}" for metric in metrics for name in classes)
    return {CASE_COLUMN: case_id, PATIENT_COLUMN: patient_id, **{key: scores[key] for key in ordered}}


def write_per_case(path: Path, rows: Iterable[Row]) -> None:
    """Write the table as CSV: one row a case, sorted by case id, numbers at full precision.

    Args:
        path: File to write, whole or not at all.
        rows: Rows with the same columns; a case that stands twice, as in a padded last batch of several
            processes, is written once.

    Raises:
        DataError: If there are no rows, columns differ, or a case stands twice with different scores.
    """
    unique = deduplicate(rows)
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(unique[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(unique)


def deduplicate(rows: Iterable[Row]) -> list[Row]:
    """Sort rows by case id and keep one of each case.

    Args:
        rows: Rows with the same columns.

    Returns:
        One row a case, sorted by case id.

    Raises:
        DataError: If there are no rows, columns differ, or a case stands twice with different scores.

    Example:
        >>> [row["case_id"] for row in deduplicate([{"case_id": "b"}, {"case_id": "a"}, {"case_id": "b"}])]
        ['a', 'b']
    """
    kept: dict[str, Row] = {}
    for row in rows:
        case_id = str(row[CASE_COLUMN])
        other = kept.setdefault(case_id, row)
        differing = [key for key in {**other, **row} if not _equal(other.get(key), row.get(key))]
        if differing:
            raise DataError(
                f"case {case_id} was scored twice with different results in {', '.join(differing)}. "
                "Look for two predictions of one case, or two cases with one id."
            )
    if not kept:
        raise DataError(
            "no case was scored: the table would be empty. Look at the list of cases of this test."
        )
    ordered = [kept[case_id] for case_id in sorted(kept)]
    columns = list(ordered[0])
    for row in ordered:
        if list(row) != columns:
            raise DataError(
                f"case {row[CASE_COLUMN]}: columns {columns} expected as in the other cases, "
                f"found {list(row)}. Score all cases with the same classes and metrics."
            )
    return ordered


def _equal(a: float | str | None, b: float | str | None) -> bool:
    if isinstance(a, str) or isinstance(b, str) or a is None or b is None:
        return a == b
    return (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=_SAME, abs_tol=_SAME)


def read_per_case(path: Path) -> list[Row]:
    """Read a table that ``write_per_case`` wrote.

    Args:
        path: CSV file.

    Returns:
        Rows in the file's order; every column but the ids is a number.

    Raises:
        DataError: If the file is missing, has no ``case_id`` column, or holds a word where a number belongs.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, strict=True)
            lines, names = list(reader), reader.fieldnames or ()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot be read ({reason}). Expected a per_case.csv of a test.") from error
    if twice := [name for name in names if names.count(name) > 1]:
        raise DataError(f"{path}: the column {twice[0]} stands twice. Score again.")
    if not lines or CASE_COLUMN not in lines[0]:
        raise DataError(f"{path}: expected a table with a column {CASE_COLUMN!r} and at least one row.")
    return [_parsed(line, path) for line in lines]


def _parsed(line: Mapping[str, str | None], path: Path) -> Row:
    if None in line or None in line.values():
        raise DataError(f"{path}: case {line[CASE_COLUMN]}: more values than columns, or fewer. Score again.")
    row: Row = {}
    for column, text in line.items():
        if column in (CASE_COLUMN, PATIENT_COLUMN):
            row[column] = text or ""
            continue
        try:
            row[column] = float(text or "nan")
        except ValueError as error:
            raise DataError(
                f"{path}: case {line[CASE_COLUMN]}: expected a number in column {column}, found {text!r}. "
                "Write the table again by scoring the predictions."
            ) from error
    return row


def summarise(rows: Sequence[Row], *, level: float = 0.95, resamples: int = 1000, seed: int = 0) -> Summary:
    """Means with patient-level bootstrap intervals, one for each metric and class.

    Args:
        rows: Rows of the table; cases without a patient id count as patients of their own.
        level: Share of the resampled means inside an interval.
        resamples: Draws of the bootstrap.
        seed: Seed of the draws.

    Returns:
        Number of cases and patients, an interval for each metric and class, and one for the mean over
        classes of Dice.

    Raises:
        DataError: If there are no rows.

    Example:
        >>> rows = [{"case_id": "a", "dice_ET": 0.5}, {"case_id": "b", "dice_ET": float("nan")}]
        >>> summary = summarise(rows)
        >>> summary["metrics"]["dice"]["ET"]["mean"], summary["metrics"]["dice"]["ET"]["n_left_out"]
        (0.5, 1)
    """
    rows = deduplicate(rows)
    patients = [str(row.get(PATIENT_COLUMN) or row[CASE_COLUMN]) for row in rows]
    metrics: dict[str, dict[str, IntervalRow]] = {}
    for column in rows[0]:
        metric = next((name for name in METRIC_TITLES if column.startswith(f"{name}_")), None)
        if metric is None:
            continue
        interval = mean_interval(
            _column(rows, column), groups=patients, level=level, resamples=resamples, seed=seed
        )
        metrics.setdefault(metric, {})[column.removeprefix(f"{metric}_")] = _as_row(interval)
    dice_columns = [_column(rows, f"dice_{name}") for name in metrics.get("dice", {})]
    mean_dice = class_mean_interval(
        np.array(dice_columns).T.reshape(len(rows), -1),
        groups=patients, level=level, resamples=resamples, seed=seed,
    )  # fmt: skip
    return Summary(
        n_cases=len(rows),
        n_patients=len(set(patients)),
        level=level,
        metrics=metrics,
        mean_dice=_as_row(mean_dice),
    )


def _column(rows: Sequence[Row], column: str) -> list[float]:
    return [float(row[column]) for row in rows]


def _as_row(interval: Interval) -> IntervalRow:
    return IntervalRow(
        mean=interval.mean,
        low=interval.low,
        high=interval.high,
        n=interval.n,
        n_left_out=interval.n_left_out,
    )


def write_summary(path: Path, summary: Summary, *, title: str, settings: Mapping[str, Any]) -> None:
    """Write a summary as JSON, with the settings that the numbers depend on.

    Args:
        path: File to write, whole or not at all.
        summary: What ``summarise`` gave; a mean that is not defined is written as ``null``.
        title: What was scored.
        settings: Empty-mask rule, tolerance and the like, plain values only.
    """
    content = {"title": title, "settings": dict(settings), **without_nan(summary)}
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def without_nan(value: Any) -> Any:
    """Plain values with ``None`` for NaN, which JSON does not know.

    Example:
        >>> without_nan({"mean": float("nan"), "interval": (0.5, 1.0)})
        {'mean': None, 'interval': [0.5, 1.0]}
    """
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def format_table(summary: Summary, title: str) -> str:
    """Lay a summary out as text.

    Args:
        summary: What ``summarise`` gave.
        title: First line; says which cases were scored.

    Returns:
        Lines without a final newline.

    Example:
        >>> print(format_table(summarise([{"case_id": "a", "dice_ET": 0.5}]), "Fold 0"))
        Fold 0
        1 case of 1 patient; 95 % interval of each mean, patients resampled
        <BLANKLINE>
        metric   class     mean                interval   cases   left out
        Dice     ET      0.5000        0.5000 to 0.5000       1          0
    """
    lines = [
        _line(METRIC_TITLES[metric], name, row)
        for metric, classes in summary["metrics"].items()
        for name, row in classes.items()
    ]
    n_dice = len(summary["metrics"].get("dice", {}))
    if n_dice > 1:  # Dice stands first
        lines.insert(n_dice, _line(METRIC_TITLES["dice"], "mean over classes", summary["mean_dice"]))
    header = ("metric", "class", "mean", "interval", "cases", "left out")
    widths = [max(len(line[column]) for line in [header, *lines]) for column in range(len(header))]
    text = [
        "   ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)  # words to the left, numbers to the right
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in [header, *lines]
    ]
    counts = f"{_counted(summary['n_cases'], 'case')} of {_counted(summary['n_patients'], 'patient')}"
    level = f"{100 * summary['level']:g} % interval of each mean, patients resampled"
    return "\n".join([title, f"{counts}; {level}", "", *text])


def _line(metric: str, name: str, row: IntervalRow) -> tuple[str, ...]:
    if math.isnan(row["mean"]):
        return metric, name, "-", "-", str(row["n"]), str(row["n_left_out"])
    digits = 2 if metric.endswith((" mm", " px")) else 4
    mean, low, high = (f"{row[key]:.{digits}f}" for key in ("mean", "low", "high"))
    return metric, name, mean, f"{low} to {high}", str(row["n"]), str(row["n_left_out"])


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
