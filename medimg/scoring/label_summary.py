"""What a summary of a classification test holds, and its rows from scores and their resamples."""

import math
from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np

from medimg.records import Task
from medimg.scoring.label_bootstrap import interval_of
from medimg.scoring.ranking import BoolArray, FloatArray
from medimg.scoring.table import IntervalRow


class LabelCount(TypedDict):
    """Cases of one label: known ones, positives among them, and those left out as unknown."""

    n: int
    n_positive: int
    n_left_out: int


class LabelSummary(TypedDict):
    """What ``summarise_labels`` makes of a table.

    Keys: ``task``; ``n_cases`` and ``n_patients``; ``level`` of the intervals; ``specificity`` of ``sensitivity``;
    ``thresholds`` by label (empty for exclusive classes); ``counts`` by label; ``labels``, by metric and then by
    label, ``n`` counting cases; ``macro``, by metric, the mean over labels, ``n`` counting the labels in it and
    ``n_left_out`` those undefined; ``overall``, by metric, what exclusive classes score together, ``n`` counting
    cases.
    """

    task: Task
    n_cases: int
    n_patients: int
    level: float
    specificity: float
    thresholds: dict[str, float]
    counts: dict[str, LabelCount]
    labels: dict[str, dict[str, IntervalRow]]
    macro: dict[str, IntervalRow]
    overall: dict[str, IntervalRow]


def count_labels(labels: Sequence[str], positive: BoolArray, known: BoolArray) -> dict[str, LabelCount]:
    """Count the cases of each label.

    Args:
        labels: Names of the K labels.
        positive: Whether each case has the label, shape (N, K); unknown ones do not.
        known: Whether that is known, shape (N, K).

    Example:
        >>> count_labels(["mass"], np.array([[True], [False], [False]]), np.array([[True], [True], [False]]))
        {'mass': {'n': 2, 'n_positive': 1, 'n_left_out': 1}}
    """
    numbers = zip(known.sum(axis=0).tolist(), positive.sum(axis=0).tolist(), strict=True)
    return {
        name: LabelCount(n=n, n_positive=n_positive, n_left_out=len(known) - n)
        for name, (n, n_positive) in zip(labels, numbers, strict=True)
    }


def label_rows(
    by_label: Mapping[str, FloatArray], counts: Mapping[str, LabelCount], level: float
) -> dict[str, dict[str, IntervalRow]]:
    """Rows of single labels, by metric and then by label.

    Args:
        by_label: Values by metric, (K, 1 + resamples), the first column for the cases as they are.
        counts: Cases of the K labels, in the order of the values.
        level: Share of the resampled values inside an interval.
    """
    return {
        metric: {
            name: _row(drawn, level, count["n"], count["n_left_out"])
            for (name, count), drawn in zip(counts.items(), values, strict=True)
        }
        for metric, values in by_label.items()
    }


def overall_rows(
    together: Mapping[str, FloatArray], known: BoolArray, level: float
) -> dict[str, IntervalRow]:
    """Rows of what exclusive classes score together, by metric.

    Args:
        together: Values by metric, (1 + resamples,).
        known: Whether the class of each case is known, shape (N,).
        level: Share of the resampled values inside an interval.
    """
    n = int(known.sum())
    return {metric: _row(values, level, n, len(known) - n) for metric, values in together.items()}


def macro_row(values: FloatArray, level: float) -> IntervalRow:
    """Mean over the labels that are defined.

    Args:
        values: Values of one metric, (K, 1 + resamples); NaN where a label is undefined.
        level: Share of the resampled means inside the interval.

    Example:
        >>> row = macro_row(np.array([[0.5, 0.4, 0.6], [0.7, np.nan, 0.8], [np.nan, 1.0, 1.0]]), 0.5)
        >>> round(row["mean"], 3), row["n"], row["n_left_out"]
        (0.6, 2, 1)
    """
    defined = ~np.isnan(values[:, 0])
    if not defined.any():
        return IntervalRow(mean=math.nan, low=math.nan, high=math.nan, n=0, n_left_out=len(defined))
    kept = values[defined]
    n_there = np.count_nonzero(~np.isnan(kept), axis=0)  # a resample may miss a rare label
    means = np.divide(np.nansum(kept, axis=0), n_there, out=np.full(len(n_there), np.nan), where=n_there > 0)
    return _row(means, level, int(defined.sum()), int((~defined).sum()))


def _row(values: FloatArray, level: float, n: int, n_left_out: int) -> IntervalRow:
    value, low, high = interval_of(values, level)
    return IntervalRow(mean=value, low=low, high=high, n=n, n_left_out=n_left_out)
