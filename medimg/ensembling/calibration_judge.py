"""What a calibration is worth: on the cases it was fitted on, and on patients it never saw."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medimg.ensembling.calibrators import Calibrator, Method, apply_labels, fit_labels
from medimg.ensembling.unseen import UnseenTable
from medimg.errors import DataError
from medimg.records import Task
from medimg.scoring.calibration import (
    brier_score,
    expected_calibration_error,
    log_loss,
    multiclass_brier_score,
    multiclass_calibration_error,
    multiclass_log_loss,
)
from medimg.scoring.nested import nested_fit
from medimg.scoring.ranking import FloatArray, IndexArray
from medimg.scoring.thresholds import ThresholdRule

FOLDS = 5

Reliability = dict[str, tuple[float, float, float]]
"""ECE, Brier score and log loss by label; at the end ``mean``, or ``all classes`` if they are exclusive."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A calibration fitted on all cases, and what it says of each case when fitted without its fold.

    Attributes:
        maps: The map of each label that has one.
        reasons: Why each other label stays as it is.
        thresholds: Calibrated probability by label above which it is called positive.
        inside: Calibrated probabilities of the cases it was fitted on, shape (N, K).
        outside: The same by calibrations fitted on other patients, shape (N, K).
        called_inside: Calls by the thresholds, 1 or 0, NaN for a label without one, shape (N, K).
        called_outside: The same by thresholds chosen on other patients.
    """

    maps: dict[str, Calibrator]
    reasons: dict[str, str]
    thresholds: dict[str, float]
    inside: FloatArray
    outside: FloatArray
    called_inside: FloatArray
    called_outside: FloatArray


@dataclass(frozen=True, slots=True)
class _Fit:
    maps: dict[str, Calibrator]
    reasons: dict[str, str]
    cuts: FloatArray  # (K,), NaN without a threshold


def judge(unseen: UnseenTable, method: Method, rule: ThresholdRule | None = None) -> Judged:
    """Fit a calibration, and thresholds, to all cases and five times to four fifths of the patients.

    Args:
        unseen: Targets and probabilities.
        method: The kind of map.
        rule: What thresholds are chosen for; ``None`` chooses none.

    Raises:
        DataError: If there are fewer than two patients, or no label can be calibrated.
    """
    table, task, truth = unseen.table, unseen.task, unseen.truth
    labels = table.labels

    def fit(cases: IndexArray) -> _Fit:
        maps, reasons = fit_labels(method, task, labels, truth[cases], table.prob[cases])
        calibrated = apply_labels(maps, task, labels, table.prob[cases])
        return _Fit(maps, reasons, _cuts(rule, truth[cases], calibrated))

    fitted = nested_fit(fit, table.patient_ids, folds=FOLDS)
    final = fitted.final
    if not final.maps:
        lines = [f"  {name}: {reason}" for name, reason in final.reasons.items()]
        raise DataError("\n".join(["no label can be calibrated with these cases.", *lines, "Add cases."]))
    inside = apply_labels(final.maps, task, labels, table.prob)
    outside, called_outside = np.empty_like(inside), np.empty_like(inside)
    for number, part in enumerate(fitted.without):
        held = fitted.fold == number
        outside[held] = apply_labels(part.maps, task, labels, table.prob[held])
        called_outside[held] = _calls(outside[held], part.cuts)
    return Judged(
        final.maps,
        final.reasons,
        {name: float(cut) for name, cut in zip(labels, final.cuts, strict=True) if not math.isnan(cut)},
        inside,
        outside,
        _calls(inside, final.cuts),
        called_outside,
    )


def _cuts(rule: ThresholdRule | None, truth: FloatArray, prob: FloatArray) -> FloatArray:
    cuts = np.full(prob.shape[1], np.nan)
    for column in range(prob.shape[1] if rule is not None else 0):
        try:
            cuts[column] = rule.choose(truth[:, column], prob[:, column]) if rule else np.nan
        except DataError:
            continue  # a label without both classes gets no threshold
    return cuts


def _calls(prob: FloatArray, cuts: FloatArray) -> FloatArray:
    return np.where(np.isnan(cuts), np.nan, prob > cuts)


def reliability(task: Task, labels: Sequence[str], truth: FloatArray, prob: FloatArray) -> Reliability:
    """How far probabilities can be taken at their word.

    Args:
        task: Kind of the labels.
        labels: Names of the K labels.
        truth: 1, 0, or NaN where unknown, shape (N, K).
        prob: Probabilities, shape (N, K).

    Returns:
        Of each label, NaN without both classes; and, of several, the mean over labels that are defined, or the
        figures of all exclusive classes together.

    Example:
        >>> truth, prob = np.array([[1.0], [0.0]]), np.array([[0.9], [0.2]])
        >>> {name: np.round(found, 3).tolist() for name, found in reliability("binary", ["x"], truth, prob).items()}
        {'x': [0.15, 0.025, 0.164]}
    """
    found: Reliability = {}
    for name, target, column in zip(labels, truth.T, prob.T, strict=True):
        found[name] = (
            expected_calibration_error(target, column),
            brier_score(target, column),
            log_loss(target, column),
        )
        if math.isnan(found[name][0]):  # one class alone: the other two say nothing either
            found[name] = (math.nan, math.nan, math.nan)
    if task == "multiclass":
        found["all classes"] = (
            multiclass_calibration_error(truth, prob),
            multiclass_brier_score(truth, prob),
            multiclass_log_loss(truth, prob),
        )
    elif len(labels) > 1:
        columns = np.array(list(found.values())).T  # (3, K)
        means = [float(np.mean(v[~np.isnan(v)])) if (~np.isnan(v)).any() else math.nan for v in columns]
        found["mean"] = (means[0], means[1], means[2])
    return found
