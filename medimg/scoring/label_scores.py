"""Official scores of labels: AUROC, probabilistic F1, quadratic kappa, MedMNIST's pair."""

import json
from pathlib import Path

import numpy as np

from medimg.records import Task
from medimg.scoring.label_answers import read_label_answers
from medimg.scoring.label_bootstrap import PatientDraws
from medimg.scoring.label_forms import LABEL_FORMS, LabelForm
from medimg.scoring.label_summary import LabelSummary, count_labels, label_rows, macro_row
from medimg.scoring.label_table import LabelArrays, label_arrays, summarise_labels
from medimg.scoring.label_text import LABEL_METRIC_TITLES
from medimg.scoring.official import LEVEL, Figure, OfficialScore
from medimg.scoring.ranking import rank_scores

_SUM_TOLERANCE = 1e-3  # rows of exclusive classes add up to 1


def score_labels(
    pred: Path, ref: Path | None, metric: str, *, task: Task | None = None, resamples: int = 1000
) -> OfficialScore:
    """Score predictions of labels by a competition's rule.

    Args:
        pred: Predictions in the competition's form, or a ``per_case.csv``.
        ref: Table of the labels; ``None`` takes the targets of the ``per_case.csv``.
        metric: Key of ``LABEL_FORMS``.
        task: Kind of the labels; ``None`` finds out.
        resamples: Draws of the bootstrap over patients.

    Returns:
        The score, for several labels their mean first and then each of them.

    Raises:
        DataError: As for ``read_label_answers``.
    """
    form = LABEL_FORMS[metric]
    rows = read_label_answers(pred, ref, form)
    table = label_arrays(rows)
    task = "multiclass" if form.grades else task or stated_task(pred) or guessed_task(table)
    if form.metrics == ("auroc",) and task != "multiclass":
        figures = _areas(table, form, resamples)
    else:
        summary = summarise_labels(rows, task, level=LEVEL, resamples=resamples, ordinal=bool(form.grades))
        figures = [one for name in form.metrics for one in _figures(summary, name, form)]
    return OfficialScore(
        title=form.title,
        figures=tuple(figures),
        unit=form.unit,
        rows=rows,
        n_patients=len(set(table.patient_ids)),
        n_answers=len(rows),
    )


def _areas(table: LabelArrays, form: LabelForm, resamples: int) -> list[Figure]:
    """AUROC alone, for which ``summarise_labels`` would take four times as long on a table of 30,000 rows."""
    known = ~np.isnan(table.target)
    positive = np.nan_to_num(table.target) >= 0.5
    rankings = [rank_scores(*column) for column in zip(positive.T, table.prob.T, known.T, strict=True)]
    draws = PatientDraws(table.patient_ids, resamples=resamples, seed=0)
    parts = []
    for times in draws.chunks():
        weights = times[draws.patient]  # (N, R)
        parts.append(np.stack([ranking.auroc(weights) for ranking in rankings]))
    values = np.concatenate(parts, axis=1)  # (K, 1 + resamples)
    rows = label_rows({"auroc": values}, count_labels(table.labels, positive, known), LEVEL)["auroc"]
    if len(rows) == 1:
        return [Figure("AUROC", row, form.unit) for row in rows.values()]
    mean = Figure("mean AUROC", macro_row(values, LEVEL), "labels")
    return [mean, *(Figure(f"  {name}", row, form.unit) for name, row in rows.items())]


def stated_task(table: Path) -> Task | None:
    """Kind of the labels that the ``predictions.json`` beside a table names, or ``None``."""
    try:
        task = json.loads((table.parent / "predictions.json").read_text(encoding="utf-8")).get("task")
    except (OSError, ValueError, AttributeError):
        return None
    return task if task in ("binary", "multiclass", "multilabel") else None


def guessed_task(table: LabelArrays) -> Task:
    """Kind of the labels by their values: one is binary; rows that all add up to 1 are exclusive classes.

    Example:
        >>> from medimg.scoring.label_table import label_row
        >>> guessed_task(label_arrays([label_row("a", "p", ["x", "y"], [0.25, 0.75], [0, 1])]))
        'multiclass'
    """
    if len(table.labels) == 1:
        return "binary"
    sums = [*table.prob.sum(axis=1), *table.target.sum(axis=1)]
    return "multiclass" if all(not abs(total - 1) > _SUM_TOLERANCE for total in sums) else "multilabel"


def _figures(summary: LabelSummary, metric: str, form: LabelForm) -> list[Figure]:
    """The number over all labels, then label by label."""
    title = LABEL_METRIC_TITLES[metric]
    if metric in summary["overall"]:
        return [Figure(title, summary["overall"][metric], form.unit)]
    labels = [Figure(f"  {name}", row, form.unit) for name, row in summary["labels"][metric].items()]
    if summary["task"] == "binary":
        return [Figure(title, labels[0].row, form.unit)]
    unit = "classes" if summary["task"] == "multiclass" else "labels"
    return [Figure(f"mean {title}", summary["macro"][metric], unit), *labels]
