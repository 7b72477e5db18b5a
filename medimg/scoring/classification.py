"""Scores of one label, their mean over labels, and the points of the ROC and precision-recall curves.

One rule holds throughout: a label of which the known cases are all positive or all negative is undefined. It
scores NaN and is left out of means, never 0, which would count a missing label as a failure.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from medimg.scoring.bootstrap import Interval
from medimg.scoring.ranking import BoolArray, FloatArray, IndexArray, cut_counts, rank_scores

THRESHOLD = 0.5  # a case is called positive above it, not at it, as in MedMNIST's accuracy


class Counts(NamedTuple):
    """Numbers of cases by truth and call; each an array of one shape, one entry a resample or label."""

    tp: FloatArray
    fp: FloatArray
    fn: FloatArray
    tn: FloatArray

    @property
    def both(self) -> BoolArray:
        """Whether positives and negatives are there."""
        return np.asarray((self.tp + self.fn > 0) & (self.fp + self.tn > 0))

    def accuracy(self) -> FloatArray:
        """Share of right calls; NaN without cases. The one score here that one class alone defines."""
        return divide(self.tp + self.tn, self.tp + self.fp + self.fn + self.tn)

    def f1(self) -> FloatArray:
        """Harmonic mean of precision and recall; 0 when nothing is found, NaN without both classes."""
        return divide(2 * self.tp, 2 * self.tp + self.fp + self.fn, self.both)

    def balanced_accuracy(self) -> FloatArray:
        """Mean of sensitivity and specificity; NaN without both classes."""
        sensitivity = divide(self.tp, self.tp + self.fn, self.both)
        return (sensitivity + divide(self.tn, self.tn + self.fp, self.both)) / 2

    def kappa(self) -> FloatArray:
        """Cohen's kappa; NaN without both classes."""
        crossed = (self.tp + self.fp) * (self.fp + self.tn) + (self.tp + self.fn) * (self.fn + self.tn)
        return divide(2 * (self.tp * self.tn - self.fn * self.fp), crossed, self.both)


def divide(part: FloatArray, whole: FloatArray, defined: BoolArray | None = None) -> FloatArray:
    """Quotients, NaN where the divisor is 0 or the score is not defined."""
    where = whole > 0 if defined is None else (whole > 0) & defined
    result: FloatArray = np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=where)
    return result


def known_pairs(target: npt.ArrayLike, score: npt.ArrayLike) -> tuple[BoolArray, FloatArray]:
    """The cases of one label whose truth is known.

    Args:
        target: 1, 0, or NaN where unknown, shape (N,).
        score: Score or probability of each case, shape (N,).

    Returns:
        Whether each known case is positive, and its score.

    Raises:
        ValueError: If shapes differ, a target is none of the three, or a known case has no score.

    Example:
        >>> known_pairs([1, float("nan"), 0], [0.5, 0.7, 0.1])
        (array([ True, False]), array([0.5, 0.1]))
    """
    truth, scores = np.asarray(target, np.float64), np.asarray(score, np.float64)
    if truth.ndim != 1 or truth.shape != scores.shape:
        raise ValueError(f"target and score of one shape (N,) expected, found {truth.shape}, {scores.shape}")
    known = ~np.isnan(truth)
    truth, scores = truth[known], scores[known]
    odd = np.setdiff1d(truth, (0.0, 1.0))
    if odd.size:
        raise ValueError(
            f"targets of 0, 1 or NaN (unknown) expected, found {odd[0]:g}. Write unknown labels as NaN."
        )
    if np.isnan(scores).any():
        raise ValueError(f"a score for each case expected, found {int(np.isnan(scores).sum())} times NaN")
    return truth == 1, scores


def counts_at(target: npt.ArrayLike, score: npt.ArrayLike, threshold: float = THRESHOLD) -> Counts:
    """Count the known cases of one label by truth and call.

    Args:
        target: 1, 0, or NaN where unknown, shape (N,).
        score: Score of each case, shape (N,).
        threshold: Cases that score above it are called positive.

    Returns:
        Four counts of shape ().

    Raises:
        ValueError: As for ``known_pairs``.

    Example:
        >>> [int(count) for count in counts_at([1, 1, 0, 0], [0.9, 0.2, 0.5, 0.6])]  # tp, fp, fn, tn
        [1, 1, 1, 1]
    """
    positive, scores = known_pairs(target, score)
    called = scores > threshold
    tp, fp = np.sum(positive & called), np.sum(~positive & called)
    fn, tn = np.sum(positive & ~called), np.sum(~positive & ~called)
    return Counts(*(np.asarray(count, np.float64) for count in (tp, fp, fn, tn)))


def accuracy(target: npt.ArrayLike, score: npt.ArrayLike, threshold: float = THRESHOLD) -> float:
    """Share of the known cases that are called right; arguments as for ``counts_at``.

    Example:
        >>> accuracy([1, 0, 0, float("nan")], [0.9, 0.5, 0.6, 0.9])
        0.6666666666666666
    """
    return float(counts_at(target, score, threshold).accuracy())


def f1(target: npt.ArrayLike, score: npt.ArrayLike, threshold: float = THRESHOLD) -> float:
    """F1 score, NaN for an undefined label; arguments as for ``counts_at``.

    Example:
        >>> f1([1, 1, 0], [0.9, 0.2, 0.1])
        0.6666666666666666
    """
    return float(counts_at(target, score, threshold).f1())


def balanced_accuracy(target: npt.ArrayLike, score: npt.ArrayLike, threshold: float = THRESHOLD) -> float:
    """Mean of sensitivity and specificity, NaN for an undefined label; arguments as for ``counts_at``.

    Example:
        >>> balanced_accuracy([1, 1, 0], [0.9, 0.2, 0.1])
        0.75
    """
    return float(counts_at(target, score, threshold).balanced_accuracy())


def auroc(target: npt.ArrayLike, score: npt.ArrayLike) -> float:
    """Area under the ROC curve of one label, ties counting half.

    Args:
        target: 1, 0, or NaN where unknown, shape (N,).
        score: Score of each case, higher for more likely, shape (N,).

    Returns:
        Area in [0, 1]; NaN for an undefined label.

    Raises:
        ValueError: As for ``known_pairs``.

    Example:
        >>> auroc([1, 0, 1, 0], [0.9, 0.5, 0.5, 0.1])
        0.875
        >>> auroc([0, 0], [0.9, 0.5])
        nan
    """
    positive, scores = known_pairs(target, score)
    return float(rank_scores(positive, scores).auroc(np.ones((len(scores), 1)))[0])


def average_precision(target: npt.ArrayLike, score: npt.ArrayLike) -> float:
    """Average precision of one label: the sum of precision times the step in recall, not interpolated.

    Args:
        target: 1, 0, or NaN where unknown, shape (N,).
        score: Score of each case, higher for more likely, shape (N,).

    Returns:
        Average precision in [0, 1]; NaN for an undefined label.

    Raises:
        ValueError: As for ``known_pairs``.

    Example:
        >>> average_precision([1, 0, 1, 0], [0.9, 0.5, 0.4, 0.1])
        0.8333333333333333
    """
    positive, scores = known_pairs(target, score)
    return float(rank_scores(positive, scores).average_precision(np.ones((len(scores), 1)))[0])


def sensitivity_at_specificity(target: npt.ArrayLike, score: npt.ArrayLike, specificity: float) -> float:
    """Highest sensitivity of one label among all thresholds that keep a specificity.

    Args:
        target: 1, 0, or NaN where unknown, shape (N,).
        score: Score of each case, higher for more likely, shape (N,).
        specificity: Least specificity, in [0, 1].

    Returns:
        Sensitivity in [0, 1], without interpolation between thresholds; NaN for an undefined label.

    Raises:
        ValueError: As for ``known_pairs``, or if the specificity is out of range.

    Example:
        >>> sensitivity_at_specificity([1, 1, 0, 0], [0.9, 0.4, 0.5, 0.1], 0.9)
        0.5
    """
    if not 0 <= specificity <= 1:
        raise ValueError(f"a specificity in [0, 1] expected, found {specificity}")
    positive, scores = known_pairs(target, score)
    ranking = rank_scores(positive, scores)
    return float(ranking.sensitivity_at_specificity(np.ones((len(scores), 1)), specificity)[0])


def per_label(
    metric: Callable[[FloatArray, FloatArray], float], target: npt.ArrayLike, score: npt.ArrayLike
) -> FloatArray:
    """Apply a score of one label to each of K labels.

    Args:
        metric: Such as ``auroc``: takes target and score of shape (N,).
        target: 1, 0 or NaN, shape (N, K).
        score: Scores of shape (N, K).

    Returns:
        One value a label, shape (K,).

    Raises:
        ValueError: If the shapes are not one (N, K), or as the metric says.

    Example:
        >>> per_label(auroc, [[1, 0], [0, 0]], [[0.9, 0.5], [0.2, 0.1]])
        array([ 1., nan])
    """
    truth, scores = np.asarray(target, np.float64), np.asarray(score, np.float64)
    if truth.ndim != 2 or truth.shape != scores.shape:
        raise ValueError(
            f"target and score of one shape (N, K) expected, found {truth.shape}, {scores.shape}"
        )
    return np.array([metric(truth[:, k], scores[:, k]) for k in range(truth.shape[1])], np.float64)


def label_mean(values: npt.ArrayLike) -> Interval:
    """Mean of the labels that are defined; its ends are not estimated and NaN.

    Args:
        values: One value a label, shape (K,), NaN where undefined.

    Returns:
        The mean with ``n`` labels in it and ``n_left_out`` without a value; NaN if there are none.

    Example:
        >>> found = label_mean([0.8, float("nan"), 0.6])
        >>> round(found.mean, 3), found.n, found.n_left_out
        (0.7, 2, 1)
    """
    column = np.asarray(values, np.float64)
    defined = column[~np.isnan(column)]
    mean = float(defined.mean()) if defined.size else np.nan
    return Interval(mean, np.nan, np.nan, len(defined), len(column) - len(defined))


def roc_points(target: npt.ArrayLike, score: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """The ROC curve of one label, one point a distinct score.

    Returns:
        False and true positive rate, rising from 0 to 1, both of shape (S + 1,); both empty for an undefined
        label.

    Raises:
        ValueError: As for ``known_pairs``.

    Example:
        >>> roc_points([1, 0, 1], [0.9, 0.5, 0.4])
        (array([0., 0., 1., 1.]), array([0. , 0.5, 0.5, 1. ]))
    """
    positive, scores = known_pairs(target, score)
    if positive.all() or not positive.any():
        return np.empty(0), np.empty(0)
    _, true, false = cut_counts(positive, scores)
    return _from_zero(false), _from_zero(true)


def precision_recall_points(target: npt.ArrayLike, score: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """The precision-recall curve of one label, one point a distinct score, to be drawn in steps.

    Returns:
        Recall, rising from 0 to 1, and precision, which starts at 1 by convention; both of shape (S + 1,),
        both empty for an undefined label.

    Raises:
        ValueError: As for ``known_pairs``.

    Example:
        >>> precision_recall_points([1, 0, 1, 0], [0.9, 0.5, 0.5, 0.1])[0]
        array([0. , 0.5, 1. , 1. ])
    """
    positive, scores = known_pairs(target, score)
    if positive.all() or not positive.any():
        return np.empty(0), np.empty(0)
    _, true, false = cut_counts(positive, scores)
    return _from_zero(true), np.concatenate([[1.0], true / (true + false)])


def _from_zero(counts: IndexArray) -> FloatArray:
    return np.concatenate([[0.0], counts / counts[-1]])
