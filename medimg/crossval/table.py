"""``crossval.csv``: a row a fold with every score, then mean and standard deviation over folds."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from medimg.io.files import atomic_write
from medimg.records import Task
from medimg.scoring.label_table import summarise_labels
from medimg.scoring.label_text import LABEL_METRIC_TITLES
from medimg.scoring.regression import VALUE_METRIC_TITLES
from medimg.scoring.table import Row, summarise
from medimg.scoring.targets import Target, summarise_targets

Scores = dict[str, float]
Scored = Task | tuple[Target, ...] | None
"""What a table holds: a classification, several targets of a case, or scores of masks (``None``)."""


def scores_of(rows: Sequence[Row], task: Scored) -> Scores:
    """Every score of a table by name.

    Args:
        rows: Rows of a ``per_case.csv``.
        task: What the table holds.

    Returns:
        Means over cases ``<metric>_<class>`` and ``mean_dice`` of masks; of a classification what the labels score
        together, ``<metric>``, and one by one, ``<metric>_<label>``; of targets ``<metric>_<target>``, where numbers
        go by their columns.

    Example:
        >>> scores_of([{"case_id": "a", "dice_ET": 0.5}, {"case_id": "b", "dice_ET": 0.7}], None)
        {'mean_dice': 0.6, 'dice_ET': 0.6}
    """
    if task is None:
        summary = summarise(rows, resamples=1)
        means = {"mean_dice": summary["mean_dice"]["mean"]} if "dice" in summary["metrics"] else {}
        return means | {
            f"{metric}_{name}": row["mean"]
            for metric, classes in summary["metrics"].items()
            for name, row in classes.items()
        }
    if isinstance(task, tuple):
        return _of_targets(rows, task)
    found = summarise_labels(rows, task, resamples=1)
    together = {metric: row["mean"] for metric, row in {**found["macro"], **found["overall"]}.items()}
    return together | {
        f"{metric}_{name}": row["mean"]
        for metric, labels in found["labels"].items()
        if len(labels) > 1
        for name, row in labels.items()
    }


def _of_targets(rows: Sequence[Row], targets: Sequence[Target]) -> Scores:
    scores: Scores = {}
    for name, found in summarise_targets(rows, targets, resamples=1)["targets"].items():
        if labels := found["labels"]:
            together = {**labels["macro"], **labels["overall"]}
            scores |= {f"{metric}_{name}": row["mean"] for metric, row in together.items()}
        for metric, columns in found["values"].items():
            scores |= {f"{metric}_{column}": row["mean"] for column, row in columns.items()}
    return scores


def shown_scores(task: Scored) -> dict[str, str]:
    """Scores of targets that are printed, one each, with their titles; of other tables ``format_lines`` knows them.

    Example:
        >>> shown_scores((Target("malignant", "binary"), Target("place", "regression", columns=("z", "y"), unit="mm")))
        {'auroc_malignant': 'AUROC malignant', 'mae_z': 'MAE z, mm', 'mae_y': 'MAE y, mm'}
    """
    main = {"binary": "auroc", "multiclass": "auroc", "ordinal": "quadratic_kappa", "regression": "mae"}
    titles = {**LABEL_METRIC_TITLES, **VALUE_METRIC_TITLES}
    return {
        f"{main[target.kind]}_{name}": f"{titles[main[target.kind]]} {name}"
        + f", {target.unit}" * bool(target.unit)
        for target in (task if isinstance(task, tuple) else ())
        for name in (target.columns if target.kind == "regression" else (target.name,))
    }


def with_spread(folds: Mapping[int, Scores]) -> dict[str, Scores]:
    """Add the mean and the standard deviation over folds.

    Args:
        folds: Scores of each fold.

    Returns:
        A line a fold, then ``mean`` and ``std``, with N - 1 in its denominator; folds in which a score is not
        defined take no part, and one fold has no standard deviation.

    Example:
        >>> with_spread({0: {"auroc": 0.8}, 2: {"auroc": 0.6}})["mean"]
        {'auroc': 0.7}
    """
    lines = {str(number): dict(scores) for number, scores in folds.items()}
    mean: Scores = {}
    std: Scores = {}
    for name in dict.fromkeys(name for scores in folds.values() for name in scores):
        values = np.array([scores.get(name, np.nan) for scores in folds.values()])
        values = values[~np.isnan(values)]
        mean[name] = float(values.mean()) if values.size else float("nan")
        std[name] = float(values.std(ddof=1)) if values.size > 1 else float("nan")
    return {**lines, "mean": mean, "std": std}


def write_lines(path: Path, lines: Mapping[str, Scores]) -> None:
    """Write the table, whole or not at all; a score that is not defined stays blank."""
    columns = list(lines["mean"])  # of all folds
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["fold", *columns])
        for name, scores in lines.items():
            values = [scores.get(column, float("nan")) for column in columns]
            writer.writerow([name, *("" if np.isnan(value) else value for value in values)])


def format_lines(lines: Mapping[str, Scores], title: str, shown: Mapping[str, str] | None = None) -> str:
    """The scores over all labels, or the Dice of each class: mean and standard deviation over folds, and each fold.

    Args:
        lines: What ``with_spread`` gave.
        title: First line.
        shown: Further scores to print, with their titles.

    Example:
        >>> print(format_lines(with_spread({0: {"auroc": 0.8}, 2: {"auroc": 0.6}}), "folds 0, 2 of 5"))
        folds 0, 2 of 5
        AUROC   0.7000 +- 0.1414   (0.8000, 0.6000)
    """
    mean, std = lines["mean"], lines["std"]
    titles = {name: found for name in mean if (found := _title(name, shown or {}))}
    width = max(map(len, titles.values()), default=0)
    folds = [scores for name, scores in lines.items() if name not in ("mean", "std")]
    text = [
        f"{found.ljust(width)}   {mean[name]:.4f} +- {std[name]:.4f}   "
        f"({', '.join(f'{scores.get(name, np.nan):.4f}' for scores in folds)})"
        for name, found in titles.items()
    ]
    return "\n".join([title, *text])


def _title(name: str, more: Mapping[str, str]) -> str:
    """What a score is called in print; empty for those that stand in the file alone."""
    if name.startswith("test_"):
        found = _title(name.removeprefix("test_"), more)
        return f"{found}, test cases" if found else ""
    if name == "mean_dice":
        return "mean Dice"
    dice = f"Dice {name.removeprefix('dice_')}" if name.startswith("dice_") else ""
    return more.get(name) or LABEL_METRIC_TITLES.get(name, dice)
