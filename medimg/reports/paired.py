"""Runs compared on the same cases: scores on the same resamples of patients, and a test of each difference.

Reference:
    Efron and Tibshirani, "An introduction to the bootstrap", 1993, chapters 13 and 15; Holm, "A simple sequentially
    rejective multiple test procedure", Scandinavian Journal of Statistics 1979.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medimg.errors import ConfigError
from medimg.reports.entries import Entry, Kind
from medimg.scoring.confusion import known_classes
from medimg.scoring.label_bootstrap import (
    ClassScores,
    LabelScores,
    PatientDraws,
    interval_of,
    resample_scores,
)
from medimg.scoring.label_scores import guessed_task
from medimg.scoring.table import METRIC_TITLES

FloatArray = NDArray[np.float64]

LOWER_IS_BETTER = ("brier", "ece", "hd95", "lesion_hd95")
DEFAULTS = {"labels": ("auroc", "average_precision"), "volumes": ("dice",)}
_SPECIFICITY = 0.9
_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class Difference:
    """How far a run is from the best one.

    Attributes:
        value: Score of the run less that of the best.
        low: Lower end of the interval.
        high: Upper end.
        p: Two-sided p value of no difference, by the resamples.
        p_holm: The same, for all comparisons of the group together.
    """

    value: float
    low: float
    high: float
    p: float
    p_holm: float


def kind_of_metric(metric: str) -> Kind:
    """What has such a metric: classifications or volumes.

    Example:
        >>> kind_of_metric("dice_ET"), kind_of_metric("auroc")
        ('volumes', 'labels')
    """
    return "volumes" if metric.startswith(tuple(METRIC_TITLES)) else "labels"


def better(metric: str, one: float, other: float) -> bool:
    """Whether a score is better than another; NaN is worse than anything.

    Example:
        >>> better("auroc", 0.9, 0.8), better("hd95_ET", 3.0, 5.0), better("dice", 0.1, float("nan"))
        (True, True, True)
    """
    if np.isnan(one) or np.isnan(other):
        return not np.isnan(one)
    return one < other if metric.startswith(LOWER_IS_BETTER) else one > other


def resampled(entry: Entry, metrics: Sequence[str], draws: PatientDraws) -> dict[str, FloatArray]:
    """Scores of a run on its cases as they are, and on every resample of patients.

    Args:
        entry: The run.
        metrics: Names such as ``auroc``, the mean over labels, or ``auroc_mass``; for volumes ``dice``, the mean over
            classes of their means, or ``dice_ET``.
        draws: Patients and resamples, the same for all runs that are compared.

    Returns:
        By metric (1 + resamples,), NaN where a resample leaves it undefined.

    Raises:
        ConfigError: If a metric is none of this run.
    """
    table = _label_scores(entry, draws) if entry.kind == "labels" else _volume_scores(entry, draws)
    if unknown := [name for name in metrics if name not in table]:
        raise ConfigError(
            f"--metric {unknown[0]}: expected one of {', '.join(table)}, which {entry.name} has."
        )
    return {name: table[name] for name in metrics}


def _label_scores(entry: Entry, draws: PatientDraws) -> dict[str, FloatArray]:
    arrays = entry.arrays()
    exclusive = (entry.task or guessed_task(arrays)) == "multiclass"
    known, positive = ~np.isnan(arrays.target), np.nan_to_num(arrays.target) >= _THRESHOLD
    called = arrays.prob > _THRESHOLD
    classes = None
    if exclusive:
        has_class, index = known_classes(arrays.target)
        hot = np.eye(len(arrays.labels), dtype=bool)
        whole = np.zeros(len(arrays.prob), np.intp)
        whole[has_class] = index
        known, positive = np.repeat(has_class[:, None], len(hot), axis=1), hot[whole] & has_class[:, None]
        called = hot[arrays.prob.argmax(axis=1)]
        classes = ClassScores(draws, whole, arrays.prob, has_class, ordinal=False)
    columns = zip(positive.T, arrays.prob.T, called.T, known.T, strict=True)
    labels = [LabelScores(draws, *column, specificity=_SPECIFICITY) for column in columns]
    by_label, together = resample_scores(draws, labels, classes)
    found: dict[str, FloatArray] = {}
    for metric, values in by_label.items():
        # A label without both classes has no score on the cases as they are, and takes no part anywhere.
        defined = values[~np.isnan(values[:, 0])]
        found[metric] = _mean(defined) if len(defined) else values[0]
        found |= {f"{metric}_{name}": one for name, one in zip(arrays.labels, values, strict=True)}
    return found | together


def _volume_scores(entry: Entry, draws: PatientDraws) -> dict[str, FloatArray]:
    names = [
        name for name in entry.rows[0] if name.startswith(tuple(f"{metric}_" for metric in METRIC_TITLES))
    ]
    values = np.array([[float(row[name]) for name in names] for row in entry.rows])  # (N, columns)
    parts = []
    for times in draws.chunks():
        weights = times[draws.patient]  # (N, R)
        total = np.nan_to_num(values).T @ weights
        number = (~np.isnan(values)).astype(np.float64).T @ weights
        parts.append(np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0))
    means = np.concatenate(parts, axis=1)  # (columns, 1 + resamples)
    columns = dict(zip(names, means, strict=True))
    found = {}
    for metric in METRIC_TITLES:
        own = np.array([column for name, column in columns.items() if name.startswith(f"{metric}_")])
        own = own[~np.isnan(own[:, 0])] if len(own) else own
        if len(own):
            found[metric] = _mean(own)
    return found | columns


def _mean(rows: FloatArray) -> FloatArray:
    """Mean over the rows (K, R) that are defined, NaN where none is."""
    known = ~np.isnan(rows)
    number = known.sum(axis=0)
    mean: FloatArray = np.full(rows.shape[1], np.nan)
    np.divide(np.nan_to_num(rows).sum(axis=0), number, out=mean, where=number > 0)
    return mean


def differences(values: Sequence[FloatArray], best: int, level: float) -> list[Difference | None]:
    """Compare every run with the best one, resample by resample.

    Args:
        values: Score and resampled scores of each run, (1 + resamples,), of the same draws.
        best: Position of the best run.
        level: Share of the resampled differences inside the interval.

    Returns:
        A difference for each run but the best.
    """
    gaps = [one - values[best] for one in values]
    others = [n for n in range(len(values)) if n != best]
    p_values = [p_value(gaps[n][1:]) for n in others]
    holm = dict(zip(others, zip(p_values, holm_adjusted(p_values), strict=True), strict=True))
    return [
        None if n == best else Difference(*interval_of(gap, level), *holm[n]) for n, gap in enumerate(gaps)
    ]


def p_value(drawn: FloatArray) -> float:
    """Two-sided p value of no difference: twice the smaller share of resamples on one side of 0.

    One is added to the numbers of both, so that no finite number of resamples gives a p of 0.

    Args:
        drawn: Resampled differences; NaN is left out.

    Example:
        >>> p_value(np.array([0.1, 0.2, 0.3, -0.1])), p_value(np.zeros(9))
        (0.8, 1.0)
    """
    known = drawn[~np.isnan(drawn)]
    if not len(known):
        return np.nan
    smaller = min((known <= 0).sum(), (known >= 0).sum())
    return float(min(1.0, 2 * (smaller + 1) / (len(known) + 1)))


def holm_adjusted(p_values: Sequence[float]) -> list[float]:
    """P values adjusted for having made all of these comparisons, by Holm's step-down rule.

    Args:
        p_values: One a comparison; NaN stays and takes no part.

    Example:
        >>> [round(p, 3) for p in holm_adjusted([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    adjusted = [np.nan] * len(p_values)
    order = sorted((n for n, p in enumerate(p_values) if not np.isnan(p)), key=lambda n: p_values[n])
    highest = 0.0
    for place, number in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - place) * p_values[number]))
        adjusted[number] = highest
    return adjusted
